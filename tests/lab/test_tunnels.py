"""STUN into a tunnel that does not encrypt is judged where it enters the tunnel, not where it leaves in the clear.

VXLAN stands for all of them: to the rules, each is an interface.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from lab.addresses import FAMILIES, PHYSICAL, STUN_PORT, STUN_SERVER, family_name
from lab.agent import Agent
from lab.messages import binding_request
from lab.observe import assert_leaks, on_wire
from lab.probe import connect, send
from lab.topology import Lab

pytestmark = pytest.mark.usefixtures("vpn")

TUNNEL = "vxlan0"
ADDRESS = dict(zip(FAMILIES, ("10.79.0.1", "fd00:79::1"), strict=True))
OTHER_END = dict(zip(FAMILIES, ("10.79.0.2", "fd00:79::2"), strict=True))


@contextmanager
def tunnel(lab: Lab, family: int) -> Iterator[None]:
    """A VXLAN to the STUN server, outside the VPN, with an address of its own."""
    lab.client.ip(f"""
        link add {TUNNEL} type vxlan id 79 remote {STUN_SERVER[family]} dstport 4789 dev {PHYSICAL}
        link set {TUNNEL} up
    """)
    try:
        for each in FAMILIES:
            size = 24 if family_name(each) == "IPv4" else 64
            nodad = "" if size == 24 else "nodad"
            lab.client.ip(f"addr add {ADDRESS[each]}/{size} dev {TUNNEL} {nodad}", each)
            lab.client.ip(f"neigh add {OTHER_END[each]} lladdr 02:00:00:00:00:79 dev {TUNNEL}", each)
        yield
    finally:
        lab.client.ip(f"link delete {TUNNEL}")


def ask(lab: Lab, family: int, nonce: bytes) -> None:
    with connect(lab.client, (OTHER_END[family], STUN_PORT)) as sock:
        send(sock, binding_request(nonce))


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_stun_leaves_in_a_clear_tunnel_only_if_the_user_has_named_it(lab: Lab, family: int) -> None:
    with tunnel(lab, family):
        for inner in FAMILIES:
            assert_leaks(lab, partial(ask, lab, inner))
        with Agent(lab):
            for inner in FAMILIES:
                assert not on_wire(lab, partial(ask, lab, inner))
        for named in ("interfaces", "inside"):
            with Agent(lab, **{named: [TUNNEL]}):
                assert on_wire(lab, partial(ask, lab, family))

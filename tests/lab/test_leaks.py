"""No STUN leaves outside the VPN, however it is sent (SECURITY.md, 'Sealed')."""

from functools import partial

import pytest

from lab.addresses import VPN_SERVER, family_name
from lab.agent import Agent
from lab.leaks import LEAKS, Leak, Tunnel
from lab.observe import NO_LEAK, address_seen, leaves
from lab.probe import transport_name
from lab.topology import Lab

CASES = [
    pytest.param(leak, family, kind, id=f"{leak.name}-{family_name(family)}-{transport_name(kind)}")
    for leak in LEAKS
    for family in leak.families
    for kind in leak.kinds
]


@pytest.mark.parametrize(("leak", "family", "kind"), CASES)
def test_leak_is_seen_without_stunwall_and_blocked_with_it(
    lab: Lab, leak: Leak, family: int, kind: int
) -> None:
    ask = partial(leak.ask, lab, family, kind)
    with leak.made(lab, family):
        assert leaves(lab, family, ask), NO_LEAK
        with Agent(lab):
            assert not leaves(lab, family, ask)
            if leak.tunnel is Tunnel.BOTH:
                assert address_seen(lab, family, kind=kind) == VPN_SERVER[family]
        assert leaves(lab, family, ask), "stunwall is gone, but something still blocks"

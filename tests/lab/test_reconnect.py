"""A VPN that comes and goes: nothing leaves in between, and STUN goes through it again each time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from socket import AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, SOCK_DGRAM, AddressFamily

import pytest

from lab.addresses import CLIENT, FAMILIES, REAL, STUN_PORT, STUN_SERVER, VPN, VPN_SERVER
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import CONTAINER_VPN_DOWN, SOURCE_RULE, VPN_DOWN, Leak
from lab.messages import binding_request, reflexive_address
from lab.probe import UNBOUND, Binding, ask
from lab.senders import Senders
from lab.topology import Lab
from lab.tunnel import Proxy
from lab.wire import Wire
from lab.wireguard import TABLE

CYCLES = 200
RECOVERY = 5  # seconds for STUN to pass after the VPN is back; it takes milliseconds

SOURCE_BOUND = Binding(source=CLIENT[AF_INET])


@dataclass(frozen=True, slots=True)
class Toggle:
    """A VPN's interface that goes up and down fast, with its routes; the rules stay."""

    up: Callable[[], None]
    down: Callable[[], None]


@contextmanager
def proxy(lab: Lab) -> Iterator[Toggle]:
    """The device is made anew each time, with sing-box's rules."""
    lab.vpn.down()
    tunnel = Proxy(lab.client, lab.server)
    try:
        tunnel.up()
        yield Toggle(tunnel.plug, tunnel.unplug)
    finally:
        tunnel.close()


@contextmanager
def wireguard(lab: Lab) -> Iterator[Toggle]:
    """The device stays and is set down, which takes its routes away."""
    with SOURCE_RULE.made(lab, AF_INET):
        yield Toggle(
            lambda: lab.client.ip(f"link set {VPN} up\nroute add default dev {VPN} table {TABLE}"),
            lambda: lab.client.ip(f"link set {VPN} down"),
        )


@pytest.mark.parametrize(
    ("vpn", "mode"), [(proxy, "block"), (proxy, "redirect"), (wireguard, "block"), (wireguard, "redirect")]
)
def test_two_hundred_reconnects_let_no_packet_out_and_recover_each_time(
    lab: Lab, vpn: Callable[[Lab], AbstractContextManager[Toggle]], mode: str
) -> None:
    recovering = (UNBOUND, SOURCE_BOUND) if mode == "redirect" else (UNBOUND,)
    with vpn(lab) as toggle:
        with Wire(lab) as wire, Senders(lab, SOURCE_BOUND, UNBOUND) as senders:
            toggle.down()
            senders.wait()
            toggle.up()
            assert wire.stun(), "the wire shows nothing without stunwall, so it proves nothing below"
        with Agent(lab, mode=mode), Wire(lab) as wire, Senders(lab, SOURCE_BOUND, UNBOUND) as senders:
            for _ in range(CYCLES):
                toggle.down()
                senders.wait()
                toggle.up()
                for binding in recovering:
                    until(partial(goes_through, lab, binding), RECOVERY, f"STUN through the VPN, {binding}")
                senders.wait()
            assert not wire.stun()


def goes_through(lab: Lab, binding: Binding) -> bool:
    reply = ask(lab.client, (STUN_SERVER[AF_INET], STUN_PORT), binding_request(), binding, seconds=0.1)
    seen = reflexive_address(reply)
    assert seen != REAL[AF_INET]
    return seen == VPN_SERVER[AF_INET]


# linux/in.h, linux/in6.h: sending from an address that the machine doesn't have.
TRANSPARENT: dict[int, tuple[int, int]] = {AF_INET: (IPPROTO_IP, 19), AF_INET6: (IPPROTO_IPV6, 75)}
GONE: dict[int, str] = {AF_INET: "203.0.113.77", AF_INET6: "2001:db8:2::77"}


@pytest.mark.parametrize("leak", [VPN_DOWN, CONTAINER_VPN_DOWN], ids=lambda leak: leak.name)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: AddressFamily(family).name)
def test_refusal_to_an_address_that_is_gone_never_leaves(lab: Lab, leak: Leak, family: int) -> None:
    """An address can go with its VPN before it is answered, and a container may use a stranger's."""
    with leak.made(lab, family), leak.sender(lab).socket(family, SOCK_DGRAM) as sock:
        leak.binding[family].apply(sock)
        sock.setsockopt(*TRANSPARENT[family], 1)
        sock.bind((GONE[family], 0))
        for on_block in ("drop", "answer"):
            with Agent(lab, on_block=on_block) as agent, Wire(lab) as wire:
                for _ in range(5):
                    with suppress(PermissionError):
                        sock.sendto(binding_request(), (STUN_SERVER[family], STUN_PORT))
                agent.wait_line("blocked stun Binding")
                assert not wire.stun(), on_block

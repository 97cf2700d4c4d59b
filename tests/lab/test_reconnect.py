"""A VPN that goes down and comes back: nothing leaves in between, and STUN goes through it again each time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from socket import AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, SOCK_DGRAM

import pytest

from lab.addresses import COTURN, FAMILIES, REAL, VPN, VPN_SERVER, family_name
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import CONTAINER_VPN_DOWN, SOURCE_RULE, VPN_DOWN, Leak
from lab.messages import binding_request
from lab.observe import NO_LEAK, NOTICED, address_seen
from lab.probe import SOURCE_BOUND, UNBOUND, Binding
from lab.senders import Senders
from lab.topology import Lab
from lab.tunnel import proxy
from lab.wire import Wire
from lab.wireguard import TABLE

CYCLES = 100


@dataclass(frozen=True, slots=True)
class Toggle:
    """A VPN's interface that goes up and down quickly, with its routes; the rules stay."""

    up: Callable[[], None]
    down: Callable[[], None]


@contextmanager
def recreated(lab: Lab) -> Iterator[Toggle]:
    """The proxy's tun device, which is made anew each time, with sing-box's rules."""
    lab.vpn.down()
    with proxy(lab) as tunnel:
        yield Toggle(tunnel.plug, tunnel.unplug)


@contextmanager
def set_down(lab: Lab) -> Iterator[Toggle]:
    """WireGuard's device, which stays and is set down; that removes its routes."""
    with SOURCE_RULE.made(lab, AF_INET):
        yield Toggle(
            lambda: lab.client.ip(f"link set {VPN} up\nroute add default dev {VPN} table {TABLE}"),
            lambda: lab.client.ip(f"link set {VPN} down"),
        )


@pytest.mark.parametrize(("device", "mode"), [(recreated, "block"), (set_down, "redirect")])
def test_no_packet_leaves_during_a_hundred_reconnects_and_each_one_recovers(
    lab: Lab, device: Callable[[Lab], AbstractContextManager[Toggle]], mode: str
) -> None:
    source_bound = SOURCE_BOUND[AF_INET]
    recovering = (UNBOUND, source_bound) if mode == "redirect" else (UNBOUND,)
    with device(lab) as toggle:
        with Wire(lab) as wire, Senders(lab, source_bound, UNBOUND) as senders:
            toggle.down()
            senders.wait()
            toggle.up()
            assert wire.stun(), NO_LEAK
        with Agent(lab, mode=mode), Wire(lab) as wire, Senders(lab, source_bound, UNBOUND) as senders:
            for _ in range(CYCLES):
                toggle.down()
                senders.wait()
                toggle.up()
                for binding in recovering:
                    until(partial(through_vpn, lab, binding), NOTICED, f"STUN through the VPN, {binding}")
                senders.wait()
            assert not wire.stun()


def through_vpn(lab: Lab, binding: Binding) -> bool:
    seen = address_seen(lab, binding=binding, seconds=0.1)
    assert seen != REAL[AF_INET]
    return seen == VPN_SERVER[AF_INET]


# linux/in.h, linux/in6.h: allows sending from an address that the machine doesn't have.
TRANSPARENT: dict[int, tuple[int, int]] = {AF_INET: (IPPROTO_IP, 19), AF_INET6: (IPPROTO_IPV6, 75)}
GONE: dict[int, str] = {AF_INET: "203.0.113.77", AF_INET6: "2001:db8:2::77"}


@pytest.mark.parametrize("leak", [VPN_DOWN, CONTAINER_VPN_DOWN], ids=lambda leak: leak.name)
@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_refusal_to_an_address_that_is_gone_never_leaves(lab: Lab, leak: Leak, family: int) -> None:
    """An address can disappear with its VPN before the answer is sent, and a container can forge one."""
    with leak.made(lab, family), leak.sender(lab).socket(family, SOCK_DGRAM) as sock:
        leak.binding[family].apply(sock)
        sock.setsockopt(*TRANSPARENT[family], 1)
        sock.bind((GONE[family], 0))
        for on_block in ("drop", "answer"):
            with Agent(lab, on_block=on_block) as agent, Wire(lab) as wire:
                for _ in range(5):
                    with suppress(PermissionError):
                        sock.sendto(binding_request(), COTURN[family])
                agent.wait_line("blocked stun Binding")
                assert not wire.stun(), on_block

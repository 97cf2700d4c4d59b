"""No STUN leaves outside the VPN, however it is sent (SECURITY.md, 'Sealed')."""

from socket import SOCK_DGRAM, AddressFamily, SocketKind

import pytest

from lab.addresses import REAL, STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.agent import Agent
from lab.leaks import LEAKS, Leak, Tunnel
from lab.messages import binding_request, reflexive_address, transaction_of
from lab.probe import ask
from lab.topology import Lab
from lab.wire import Wire

CASES = [
    pytest.param(leak, family, kind, id=f"{leak.name}-{AddressFamily(family).name}-{SocketKind(kind).name}")
    for leak in LEAKS
    for family in leak.families
    for kind in leak.kinds
]


@pytest.mark.parametrize(("leak", "family", "kind"), CASES)
def test_leak_is_seen_without_stunwall_and_sealed_with_it(
    lab: Lab, leak: Leak, family: int, kind: int
) -> None:
    with leak.made(lab, family):
        assert leaves(lab, leak, family, kind), "the wire doesn't show the leak, so it proves nothing below"
        with Agent(lab):
            assert not leaves(lab, leak, family, kind)
            if leak.tunnel is Tunnel.BOTH:
                assert address_through_vpn(lab, family, kind) == VPN_SERVER[family]
        assert leaves(lab, leak, family, kind), "stunwall is gone, but something still blocks"


def leaves(lab: Lab, leak: Leak, family: int, kind: int) -> bool:
    """Whether a Binding Request gets out of the client by this leak. Wire and server must agree on it."""
    request = binding_request()
    with Wire(lab) as wire:
        reply = leak.ask(lab, family, kind, request)
        seen = bool(wire.leaks(transaction_of(request)))
        assert seen == bool(wire.stun())
    assert seen == (reflexive_address(reply) == REAL[family])
    return seen


def address_through_vpn(lab: Lab, family: int, kind: int = SOCK_DGRAM) -> str | None:
    reply = ask(lab.client, (STUN_SERVER[family], STUN_PORT), binding_request(), kind=kind)
    return reflexive_address(reply)

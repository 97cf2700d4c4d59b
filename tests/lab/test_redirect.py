"""mode = "redirect": STUN that would leave outside the VPN goes through it, or not at all (SECURITY.md)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM

import pytest

from lab.addresses import ECHO_SERVER, FAMILIES, REAL, STUN_SERVER, VPN_SERVER, family_name
from lab.agent import Agent
from lab.kinds import PROXY_BY_MARK
from lab.leaks import (
    CONTAINER,
    DEVICE,
    FWMARK,
    IPV6_OUTSIDE,
    REMARKED,
    SOURCE_RULE,
    UNICAST_IF,
    USER_RULE,
    VPN_DOWN,
    Leak,
)
from lab.messages import binding_request, reflexive_address
from lab.observe import address_seen, events, wait_event
from lab.probe import DEVICE_BOUND, SOURCE_BOUND, UNBOUND, connect, exchange
from lab.programs import RELAYED, STUN_CLIENT, maps_to, turn_client
from lab.redirected import MEDIA_PORT, redirected_flow, refused, rtp, stays_inside
from lab.topology import Lab
from lab.tunnel import proxy
from lab.wire import Wire

STRICT = 1  # rp_filter

REDIRECTED = [
    pytest.param(leak, family, id=f"{leak.name}-{family_name(family)}")
    for leak in (SOURCE_RULE, UNICAST_IF, FWMARK, USER_RULE)
    for family in leak.families
]


@pytest.mark.parametrize(("leak", "family"), REDIRECTED)
def test_request_that_bypasses_the_vpn_is_redirected_into_it_and_answered(
    lab: Lab, leak: Leak, family: int
) -> None:
    with leak.made(lab, family):
        assert reflexive_address(leak.ask(lab, family, SOCK_DGRAM, binding_request())) == REAL[family]
        with Agent(lab, mode="redirect") as agent, Wire(lab) as wire:
            reply = leak.ask(lab, family, SOCK_DGRAM, binding_request())
            assert reflexive_address(reply) == VPN_SERVER[family]
            assert not wire.stun()
            event = wait_event(agent, verdict="redirected", destination=STUN_SERVER[family])
            assert (event["reason"], event["transport"]) == ("redirected", "udp")


BLOCKED = [
    pytest.param(DEVICE, SOCK_DGRAM, FAMILIES, "device-bound", id="device_bound"),
    pytest.param(SOURCE_RULE, SOCK_STREAM, FAMILIES, "tcp", id="tcp"),
    pytest.param(CONTAINER, SOCK_DGRAM, FAMILIES, "forwarded", id="forwarded"),
    # Another program's mark makes the kernel route it again: at the output hook it seems to go through the VPN.
    pytest.param(REMARKED, SOCK_DGRAM, FAMILIES, "known-flow", id="remarked"),
    pytest.param(IPV6_OUTSIDE, SOCK_DGRAM, (AF_INET6,), "no-family", id="no_family"),
    pytest.param(VPN_DOWN, SOCK_DGRAM, FAMILIES, "no-vpn", id="no_vpn"),
]


@pytest.mark.parametrize(("leak", "kind", "families", "reason"), BLOCKED)
def test_what_cannot_be_redirected_is_refused_and_the_record_has_the_reason(
    lab: Lab, leak: Leak, kind: int, families: tuple[int, ...], reason: str
) -> None:
    with leak.made(lab, *families):
        for family in families:
            assert reflexive_address(leak.ask(lab, family, kind, binding_request())) == REAL[family]
        with Agent(lab, mode="redirect") as agent:
            for family in families:
                with Wire(lab) as wire:
                    assert refused(leak.ask(lab, family, kind, binding_request()))
                    assert not wire.stun()
                wait_event(agent, verdict="blocked", reason=reason, destination=STUN_SERVER[family])
            assert {event["verdict"] for event in events(agent)} == {"blocked"}


def test_stun_in_a_flow_that_began_outside_the_vpn_is_refused(lab: Lab) -> None:
    """The flow's address translation was fixed with its first packet, so it can't be redirected any more."""
    media = rtp()
    with (
        SOURCE_RULE.made(lab, AF_INET),
        Agent(lab, mode="redirect") as agent,
        connect(lab.client, (ECHO_SERVER[AF_INET], MEDIA_PORT), SOURCE_BOUND[AF_INET]) as sock,
        Wire(lab) as wire,
    ):
        assert exchange(sock, media) == media
        assert wire.leaks(media), "the flow should begin outside the VPN"
        assert refused(exchange(sock, binding_request()))
        assert not wire.stun()
        event = wait_event(agent, destination=ECHO_SERVER[AF_INET])
        assert (event["verdict"], event["reason"]) == ("blocked", "known-flow")


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_media_of_a_redirected_flow_stays_inside_even_when_the_daemon_is_killed(
    lab: Lab, family: int
) -> None:
    media = [rtp() for _ in range(10)]
    with SOURCE_RULE.made(lab, family), Agent(lab, mode="redirect") as agent:
        with redirected_flow(lab, family) as sock:
            assert all(stays_inside(lab, sock, payload) for payload in media)
            agent.kill()
            assert all(stays_inside(lab, sock, payload) for payload in media)
        with Wire(lab) as wire:
            assert SOURCE_RULE.ask(lab, family, SOCK_DGRAM, binding_request(), 1) is None
            assert not wire.stun()


def test_flow_without_stun_is_left_alone(lab: Lab) -> None:
    media = rtp()
    with (
        SOURCE_RULE.made(lab, AF_INET),
        Agent(lab, mode="redirect"),
        connect(lab.client, (ECHO_SERVER[AF_INET], MEDIA_PORT), SOURCE_BOUND[AF_INET]) as sock,
        Wire(lab) as wire,
    ):
        assert exchange(sock, media) == media
        assert wire.leaks(media)


def test_stun_that_uses_the_vpn_anyway_is_not_recorded(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES), Agent(lab, mode="redirect") as agent:
        for family in FAMILIES:
            for kind in (SOCK_DGRAM, SOCK_STREAM):
                assert address_seen(lab, family, kind=kind) == VPN_SERVER[family]
        assert address_seen(lab, binding=SOURCE_BOUND[AF_INET]) == VPN_SERVER[AF_INET]
        wait_event(agent, verdict="redirected")
        assert len(events(agent)) == 1


def test_stun_that_a_proxy_marks_for_its_own_tunnel_is_left_to_the_proxy(lab: Lab) -> None:
    """At the output hook its interface is still the physical one."""
    with PROXY_BY_MARK.made(lab) as connection:
        connection.up()
        with Agent(lab, mode="redirect") as agent:
            for family in FAMILIES:
                for binding in (UNBOUND, SOURCE_BOUND[family]):
                    assert address_seen(lab, family, binding) == VPN_SERVER[family]
            assert address_seen(lab, binding=DEVICE_BOUND, seconds=0.5) is None
            wait_event(agent, verdict="blocked", reason="device-bound")


def test_real_stun_client_learns_the_vpns_address(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab, mode="redirect"), Wire(lab) as wire:
        assert maps_to(VPN_SERVER[AF_INET]) in lab.client.printed(*STUN_CLIENT)
        assert not wire.stun()


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_real_turn_client_relays_through_the_vpn(lab: Lab, family: int) -> None:
    with SOURCE_RULE.made(lab, family), Agent(lab, mode="redirect"), Wire(lab) as wire:
        assert RELAYED in lab.client.printed(*turn_client(family, "-n", "20"))
        assert not wire.stun()
        # ChannelData has no cookie, so all packets to the server count.
        assert not [packet for packet in wire.packets() if packet.destination == STUN_SERVER[family]]


# Reverse path filtering


def reverse_path_sysctls(lab: Lab) -> dict[str, int]:
    """rp_filter and src_valid_mark of each of the client's interfaces, and of `all` and `default`."""
    folder = Path("/proc/sys/net")
    names = ("rp_filter", "src_valid_mark")

    def read() -> dict[str, int]:
        files = [file for name in names for file in (folder / "ipv4/conf").glob(f"*/{name}")]
        return {str(file.relative_to(folder)): int(file.read_text()) for file in files}

    return lab.client.call(read)


@contextmanager
def reverse_path(lab: Lab, value: int) -> Iterator[None]:
    """rp_filter is `value` everywhere on the client, and src_valid_mark is 0, which is Linux's default."""
    before = reverse_path_sysctls(lab)
    for name in before:
        lab.client.sysctl(name, value if name.endswith("rp_filter") else 0)
    try:
        yield
    finally:
        for name, old in before.items():
            lab.client.sysctl(name, old)


@pytest.mark.parametrize("value", [0, 1, 2], ids=["off", "strict", "loose"])
def test_redirect_works_with_every_reverse_path_filter_and_restores_the_sysctls(lab: Lab, value: int) -> None:
    lab.vpn.down()
    with reverse_path(lab, value), proxy(lab):
        before = reverse_path_sysctls(lab)
        assert address_seen(lab) == VPN_SERVER[AF_INET]
        assert address_seen(lab, binding=SOURCE_BOUND[AF_INET]) == REAL[AF_INET]
        with Agent(lab, mode="redirect") as agent:
            assert address_seen(lab, binding=SOURCE_BOUND[AF_INET]) == VPN_SERVER[AF_INET]
            with redirected_flow(lab) as sock:
                assert stays_inside(lab, sock, rtp())
            changed = [name for name, now in reverse_path_sysctls(lab).items() if before[name] != now]
            assert not [name for name in changed if name.endswith("rp_filter") or "/all/" in name]
            assert value == STRICT or not changed
            for name in changed:
                assert any("net." + name.replace("/", ".") in line for line in agent.lines), agent.lines
            agent.stop()
            assert reverse_path_sysctls(lab) == before

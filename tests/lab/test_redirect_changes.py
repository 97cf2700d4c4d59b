"""Redirected flows while the VPN, the routing or stunwalld itself changes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import AF_INET, SOCK_DGRAM

import pytest

from lab.addresses import FAMILIES, REAL, STUN_SERVER, VPN, VPN_PORT, VPN_SERVER
from lab.agent import Agent
from lab.deadline import until
from lab.frame import Packet
from lab.leaks import SOURCE_RULE
from lab.messages import binding_request, reflexive_address
from lab.observe import NOTICED, address_seen, wait_event, wait_passes
from lab.redirected import (
    SOURCE_BOUND,
    exchange,
    proxy,
    redirected_flow,
    refused,
    remove_detour,
    rtp,
    stays_inside,
)
from lab.topology import Lab
from lab.tunnel import INTERFACE, Proxy, Routing, inside
from lab.tunnel import PORT as PROXY_PORT
from lab.tunnel import TABLE as PROXY_TABLE
from lab.wire import Wire
from lab.wireguard import TABLE


@pytest.fixture(autouse=True)
def detour(lab: Lab) -> Iterator[None]:
    yield
    remove_detour(lab)


# Whose way is it? The rule and the route


def test_packet_with_the_mark_that_would_leave_elsewhere_is_blocked(lab: Lab) -> None:
    """As when another program takes stunwall's routing rule or route away."""
    for damage in ("rule del pref 50", "route flush table 4780"):
        with SOURCE_RULE.made(lab, AF_INET), Agent(lab, mode="redirect") as agent:
            with redirected_flow(lab) as sock:
                lab.client.ip(damage)
                media = rtp()
                with Wire(lab) as wire:
                    reply = SOURCE_RULE.ask(lab, AF_INET, SOCK_DGRAM, binding_request())
                    assert reflexive_address(reply) != REAL[AF_INET]
                    exchange(sock, media)
                    assert not wire.stun()
                    assert not wire.leaks(media)
            if reply is not None and refused(reply):
                assert wait_event(agent, verdict="blocked", destination=STUN_SERVER[AF_INET])


def test_stopping_leaves_no_rule_route_or_table_behind(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES):
        before = state_of_client(lab)
        with Agent(lab, mode="redirect") as agent:
            for family in FAMILIES:
                assert address_seen(lab, family, SOURCE_BOUND[family]) == VPN_SERVER[family]
            assert state_of_client(lab) != before
            assert agent.stop() == 0
            assert state_of_client(lab) == before


def test_daemon_that_was_killed_starts_again_and_stops_without_leaving_anything(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES):
        before = state_of_client(lab)
        with Agent(lab, mode="redirect") as agent:
            agent.kill()
            agent.start()
            for family in FAMILIES:
                assert address_seen(lab, family, SOURCE_BOUND[family]) == VPN_SERVER[family]
            assert agent.stop() == 0
            assert state_of_client(lab) == before


def test_redirect_left_by_a_killed_daemon_is_undone_by_one_in_block_mode(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET):
        before = state_of_client(lab)
        with Agent(lab, mode="redirect") as killed:
            killed.kill()
            with Agent(lab) as agent, Wire(lab) as wire:
                assert refused(SOURCE_RULE.ask(lab, AF_INET, SOCK_DGRAM, binding_request()))
                assert not wire.stun()
                assert agent.stop() == 0
            assert state_of_client(lab) == before


def state_of_client(lab: Lab) -> list[str]:
    """The client's rules, routes and nft tables."""
    commands = ("ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all",
                "nft list ruleset")  # fmt: skip
    return [lab.client.run(*command.split()).stdout for command in commands]


# Several VPNs, and VPNs that go


# WireGuard's protocol, §5.4.6: type 4, a header of 16 bytes and a tag of 16; with nothing between it is a keepalive.
TRANSPORT, EMPTY = 4, 32


def carries(packet: Packet) -> bool:
    """Whether it has a packet of the client's in it: tunnels speak by themselves, too."""
    if packet.destination_port == VPN_PORT:
        return packet.payload[0] == TRANSPORT and len(packet.payload) > EMPTY
    # The kernel reports its IPv6 multicast groups into a new tunnel by itself (RFC 3810 §6.1).
    return packet.destination_port == PROXY_PORT and inside(packet.payload)[0] >> 4 == 4


def carried_by(lab: Lab, work: Callable[[], object]) -> dict[int, int]:
    """How many packets to the VPN server left for each of its ports during `work()`, which speaks IPv4."""
    with Wire(lab) as wire:
        work()
        wire.settle()
        assert not wire.stun()
        sent = [p for p in wire.packets() if p.destination == VPN_SERVER[AF_INET]]
    counted = [p.destination_port for p in sent if carries(p)]
    return {port: counted.count(port) for port in (VPN_PORT, PROXY_PORT)}


def ask_bound(lab: Lab) -> None:
    """Ten source-bound requests, each moved into a VPN."""
    for _ in range(10):
        assert address_seen(lab, binding=SOURCE_BOUND[AF_INET]) == VPN_SERVER[AF_INET]


@contextmanager
def unrouted_proxy(lab: Lab) -> Iterator[Proxy]:
    """A second VPN, up, to which no default route leads."""
    tunnel = Proxy(lab.client, lab.server)
    try:
        tunnel.up(Routing("unrouted", dict.fromkeys(FAMILIES, ())))
        yield tunnel
    finally:
        tunnel.close()


@pytest.mark.parametrize("names", [[VPN, INTERFACE], [INTERFACE, VPN]], ids=["first", "last"])
def test_of_several_vpns_the_one_with_the_default_route_is_taken(lab: Lab, names: list[str]) -> None:
    with SOURCE_RULE.made(lab, AF_INET), unrouted_proxy(lab), Agent(lab, mode="redirect", interfaces=names):
        used = carried_by(lab, lambda: ask_bound(lab))
        assert used[VPN_PORT] >= 10
        assert used[PROXY_PORT] == 0


@pytest.mark.parametrize("first", [VPN, INTERFACE])
def test_of_several_vpns_without_a_default_route_the_first_in_the_configuration_is_taken(
    lab: Lab, first: str
) -> None:
    names = sorted([VPN, INTERFACE], key=lambda name: name != first)
    with SOURCE_RULE.made(lab, AF_INET), unrouted_proxy(lab):
        for family in FAMILIES:
            lab.client.ip(f"route flush table {TABLE}", family)
        with Agent(lab, mode="redirect", interfaces=names):
            used = carried_by(lab, lambda: ask_bound(lab))
            taken, other = (VPN_PORT, PROXY_PORT) if first == VPN else (PROXY_PORT, VPN_PORT)
            assert used[taken] >= 10
            assert used[other] == 0


@pytest.mark.parametrize("how", ["unplugged", "set_down", "route_lost"])
def test_flow_whose_vpn_goes_is_blocked_with_its_media_and_new_flows_take_the_new_vpn(
    lab: Lab, how: str
) -> None:
    media = [rtp() for _ in range(3)]
    with proxy(lab) as tunnel, Agent(lab, mode="redirect"), redirected_flow(lab) as sock:
        assert stays_inside(lab, sock, media[0])
        with Wire(lab) as wire:
            match how:
                case "unplugged":
                    tunnel.unplug()
                case "set_down":
                    lab.client.ip(f"link set {INTERFACE} down")
                case "route_lost":
                    lab.client.ip(f"route flush table {PROXY_TABLE}")
            # At once, and once the daemon has noticed.
            for wait in (False, True):
                if wait:
                    until(lambda: sealed(lab), NOTICED, "the wall to close")
                for payload in media:
                    exchange(sock, payload, 0.05)
                exchange(sock, binding_request(), 0.2)
            assert not wire.stun()
            assert not any(wire.leaks(payload) for payload in media)
        lab.vpn.up()
        wait_passes(lab)
        with SOURCE_RULE.made(lab, AF_INET), Wire(lab) as wire:
            until(lambda: address_seen(lab, binding=SOURCE_BOUND[AF_INET]) == VPN_SERVER[AF_INET],
                  NOTICED, "a new flow through the new VPN")  # fmt: skip
            for payload in media:
                exchange(sock, payload, 0.05)
            assert not wire.stun()
            assert not any(wire.leaks(payload) for payload in media)


def sealed(lab: Lab) -> bool:
    return refused(SOURCE_RULE.ask(lab, AF_INET, SOCK_DGRAM, binding_request(), 0.3))


def test_redirected_flow_survives_what_changes_elsewhere(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab, mode="redirect"), redirected_flow(lab) as sock:
        for script in ("link add other9 type veth", "link set other9 up", "link del other9"):
            lab.client.ip(script)
            assert stays_inside(lab, sock, rtp())

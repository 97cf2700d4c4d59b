"""Redirected flows while the VPN, the routing or stunwalld itself changes."""

import re
from collections.abc import Callable, Iterator
from socket import AF_INET, SOCK_DGRAM, socket

import pytest

from lab.addresses import FAMILIES, REAL, STUN_SERVER, VPN, VPN_PORT, VPN_SERVER
from lab.agent import ROUTING_TABLE, Agent
from lab.deadline import until
from lab.frame import Packet
from lab.leaks import SOURCE_RULE
from lab.messages import binding_request, reflexive_address
from lab.observe import NO_LEAK, NOTICED, address_seen, network_state, wait_event, wait_passes
from lab.probe import ANSWER_SECONDS, SOURCE_BOUND, exchange
from lab.redirected import redirected_flow, refused, rtp, stays_inside
from lab.topology import Lab
from lab.tunnel import INTERFACE, UNROUTED, inside, proxy
from lab.tunnel import PORT as PROXY_PORT
from lab.tunnel import TABLE as PROXY_TABLE
from lab.wire import Wire
from lab.wireguard import TABLE


def redirected_address(lab: Lab, family: int = AF_INET, seconds: float = ANSWER_SECONDS) -> str | None:
    """The address that the server sees of a source-bound socket."""
    return address_seen(lab, family, SOURCE_BOUND[family], seconds=seconds)


# stunwall's routing rule and route


@pytest.mark.parametrize("damage", ["rule del pref 50", f"route flush table {ROUTING_TABLE}"])
def test_redirected_packet_that_would_leave_outside_the_vpn_is_blocked(lab: Lab, damage: str) -> None:
    """For example because another program removed stunwall's routing rule or route."""
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
        before = network_state(lab)
        with Agent(lab, mode="redirect") as agent:
            for family in FAMILIES:
                assert redirected_address(lab, family) == VPN_SERVER[family]
            assert network_state(lab) != before
            assert agent.stop() == 0
            assert network_state(lab) == before


def test_daemon_that_starts_again_after_a_kill_leaves_nothing_behind(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES):
        before = network_state(lab)
        with Agent(lab, mode="redirect") as agent:
            agent.kill()
            agent.start()
            for family in FAMILIES:
                assert redirected_address(lab, family) == VPN_SERVER[family]
            assert agent.stop() == 0
            assert network_state(lab) == before


def test_daemon_in_block_mode_removes_the_redirect_of_a_killed_one(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET):
        before = network_state(lab)
        with Agent(lab, mode="redirect") as killed:
            killed.kill()
            with Agent(lab) as agent, Wire(lab) as wire:
                assert refused(SOURCE_RULE.ask(lab, AF_INET, SOCK_DGRAM, binding_request()))
                assert not wire.stun()
                assert agent.stop() == 0
            assert network_state(lab) == before


# Several VPNs, and VPNs that go down


# WireGuard's protocol, §5.4.6: type 4, a header of 16 bytes, the packet padded to a multiple of 16, and a tag of 16.
# A request over IPv4 has 20 + 8 + 20 bytes, which is such a multiple.
TRANSPORT, CARRIED_REQUEST_BYTES = 4, 16 + 48 + 16


def carries_request(packet: Packet) -> bool:
    """Whether a tunnel's packet contains a Binding Request over IPv4, without attributes.

    Tunnels also send packets of their own, and the kernel reports its IPv6 multicast groups into a new one for some
    seconds (RFC 3810 §6.1: 76 bytes or more).
    """
    if packet.destination_port == VPN_PORT:
        return packet.payload[0] == TRANSPORT and len(packet.payload) == CARRIED_REQUEST_BYTES
    return packet.destination_port == PROXY_PORT and inside(packet.payload)[0] >> 4 == 4


def carried(lab: Lab, work: Callable[[], object]) -> dict[int, int]:
    """How many requests each VPN carries during `work()`, by port; `work` sends them over IPv4."""
    with Wire(lab) as wire:
        work()
        assert not wire.stun()
        sent = [packet for packet in wire.packets() if packet.destination == VPN_SERVER[AF_INET]]
    ports = [packet.destination_port for packet in sent if carries_request(packet)]
    return {port: ports.count(port) for port in (VPN_PORT, PROXY_PORT)}


def ask_ten_times(lab: Lab) -> None:
    """Ten source-bound requests, each redirected into a VPN."""
    for _ in range(10):
        assert redirected_address(lab) == VPN_SERVER[AF_INET]


@pytest.mark.parametrize("names", [[VPN, INTERFACE], [INTERFACE, VPN]], ids=["first", "last"])
def test_of_several_vpns_the_one_with_the_default_route_is_used(lab: Lab, names: list[str]) -> None:
    with (
        SOURCE_RULE.made(lab, AF_INET),
        proxy(lab, UNROUTED),
        Agent(lab, mode="redirect", interfaces=names),
    ):
        used = carried(lab, lambda: ask_ten_times(lab))
        assert used[VPN_PORT] >= 10
        assert used[PROXY_PORT] == 0


@pytest.mark.parametrize("first", [VPN, INTERFACE])
def test_of_several_vpns_without_a_default_route_the_first_in_the_configuration_is_used(
    lab: Lab, first: str
) -> None:
    names = sorted([VPN, INTERFACE], key=lambda name: name != first)
    with SOURCE_RULE.made(lab, AF_INET), proxy(lab, UNROUTED):
        for family in FAMILIES:
            lab.client.ip(f"route flush table {TABLE}", family)
        with Agent(lab, mode="redirect", interfaces=names):
            used = carried(lab, lambda: ask_ten_times(lab))
            expected, other = (VPN_PORT, PROXY_PORT) if first == VPN else (PROXY_PORT, VPN_PORT)
            assert used[expected] >= 10
            assert used[other] == 0


@pytest.mark.parametrize("how", ["unplugged", "set_down", "route_lost"])
def test_flow_whose_vpn_goes_down_is_blocked_with_its_media_and_new_flows_use_the_new_vpn(
    lab: Lab, how: str
) -> None:
    media = [rtp() for _ in range(3)]

    def send_media(sock: socket) -> None:
        for payload in media:
            exchange(sock, payload, 0.05)

    def assert_sealed(wire: Wire) -> None:
        assert not wire.stun()
        assert not any(wire.leaks(payload) for payload in media)

    lab.vpn.down()
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
            # At once, and again when the daemon has noticed.
            send_media(sock)
            exchange(sock, binding_request(), 0.2)
            until(lambda: refuses(lab), NOTICED, "the daemon to block")
            send_media(sock)
            exchange(sock, binding_request(), 0.2)
            assert_sealed(wire)
        lab.vpn.up()
        wait_passes(lab)
        with SOURCE_RULE.made(lab, AF_INET), Wire(lab) as wire:
            until(
                lambda: redirected_address(lab, seconds=0.5) == VPN_SERVER[AF_INET],
                NOTICED,
                "a new flow through the new VPN",
            )
            send_media(sock)
            assert_sealed(wire)


def refuses(lab: Lab) -> bool:
    return refused(SOURCE_RULE.ask(lab, AF_INET, SOCK_DGRAM, binding_request(), 0.3))


def test_redirected_flow_survives_changes_of_other_interfaces(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab, mode="redirect"), redirected_flow(lab) as sock:
        for script in ("link add other9 type veth", "link set other9 up", "link del other9"):
            lab.client.ip(script)
            assert stays_inside(lab, sock, rtp())


def errors_sent(lab: Lab) -> int:
    """How many ICMP errors 'destination unreachable' the client's kernel has made, dropped ones included."""
    names, values = re.findall("^Icmp: (.*)", lab.client.run("cat", "/proc/net/snmp").stdout, re.M)
    return int(dict(zip(names.split(), values.split(), strict=True))["OutDestUnreachs"])


def errors_leave(lab: Lab, before_closing: Callable[[], object] = lambda: None) -> bool:
    """Whether ICMP errors about late media leave outside the VPN: the kernel sends them once the socket is closed."""
    with redirected_flow(lab) as sock, Wire(lab) as wire:
        media, sent = rtp(), errors_sent(lab)
        before_closing()
        for _ in range(50):
            sock.send(media)
        sock.close()
        until(lambda: errors_sent(lab) > sent, NOTICED, "an ICMP error")
        return bool(wire.leaks(media))


@pytest.fixture
def errors_without_limit(lab: Lab) -> Iterator[None]:
    """The kernel sends an ICMP error about every packet, not six and then one a second (icmp(7))."""
    lab.client.sysctl("ipv4/icmp_ratelimit", 0)
    yield
    lab.client.sysctl("ipv4/icmp_ratelimit", 1000)


@pytest.mark.usefixtures("errors_without_limit")
def test_icmp_errors_about_a_redirected_flow_do_not_leave_outside_the_vpn(lab: Lab) -> None:
    """They would show the peer the real address, and the media that they quote."""
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab, mode="redirect") as agent:
        assert not errors_leave(lab)

        def without_the_rule() -> None:
            agent.kill()
            lab.client.nft("flush chain inet stunwall keep_redirected")

        assert errors_leave(lab, without_the_rule), NO_LEAK

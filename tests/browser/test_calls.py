"""Real calls between two browsers: outside the VPN without stunwall, inside it with stunwall."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6

import pytest

from browser.call import CallReport, End, call
from browser.peer import OTHERS, Crossing, Peer
from browser.program import BROWSERS, Browser
from lab.addresses import CLIENT, FAMILIES, REAL, STUN_SERVER, STUN_SERVER_ALTERNATE, VPN_PORT, VPN_SERVER
from lab.agent import Agent
from lab.frame import Packet
from lab.leaks import SOURCE_RULE
from lab.namespace import Namespace
from lab.observe import NO_LEAK
from lab.topology import Lab
from lab.wire import MARKER_PORT, Wire

SECONDS = 10
BYTES = 10_000 * SECONDS  # each side offers 50,000 a second; a busy machine moves fewer
GAP = 5000  # milliseconds without a message
FRAMES = 2 * SECONDS  # each side offers 15 a second

PROTECTED = pytest.mark.parametrize("protected", BROWSERS)
RELAY = pytest.mark.parametrize("relay", [False, True], ids=["direct", "relayed"])


@pytest.fixture(scope="module")
def peer(lab: Lab) -> Iterator[Peer]:
    """The other end; on the client a VPN carries both families, and the leaking source rule exists.

    Like any VPN server, the lab's takes no new flows from outside: a connectivity check from the peer would
    otherwise take the port that the client's check needs.
    """
    with Peer(lab) as peer, SOURCE_RULE.made(lab, *FAMILIES), closed(lab.server, "input", "eth0"):
        yield peer


@dataclass(frozen=True, slots=True)
class Seen:
    """A call, and what left the client from before its browsers started until after they ended."""

    report: CallReport
    outside: list[Packet]
    """The packets from its physical interface to the STUN and TURN server or the peer."""
    stun: list[Packet]
    """The packets from that interface that contain STUN's cookie."""
    beyond: int
    """How many packets there are in `outside`, counted beyond the provider's NAT."""
    inwards: int
    """How many came back to the client's real address. The peer tries the IPv6 one, which is a host candidate."""
    total: int
    """How many packets left by that interface in all, the VPN's own included."""

    def __str__(self) -> str:
        return (
            f"{self.report}\noutside the VPN: {len(self.outside)} packets from the client to server or peer"
            f" ({self.beyond} beyond the NAT, {self.inwards} in the other direction), {self.total} in all"
        )


def watched(
    lab: Lab, peer: Peer, protected: Browser, relay: bool, seconds: float = SECONDS, gather_first: bool = True
) -> Seen:
    """Makes a call, and captures packets throughout."""
    with Wire(lab) as wire, Crossing(lab) as crossing:
        report = call(lab, peer, protected, relay, seconds, gather_first)
        stun = wire.stun()
        packets = wire.packets()
    outside = [packet for packet in packets if packet.destination in OTHERS]
    seen = Seen(report, outside, stun, crossing.from_client, crossing.to_client, len(packets))
    print(f"\n{protected}, {'relayed' if relay else 'direct'}\n{seen}")
    return seen


def sending_only_from(lab: Lab, address: str) -> AbstractContextManager[None]:
    """Only sockets bound to `address` can send UDP, so that a call has no other way."""
    family = "ip6" if ip_address(address).version == 6 else "ip"
    chain = f"""
        chain output {{
            type filter hook output priority filter
            meta l4proto != udp accept
            oifname "lo" accept
            udp dport {{ {MARKER_PORT}, {VPN_PORT} }} accept comment "the wire's marker and the VPN's own"
            {family} saddr {address} accept
            drop
        }}
    """
    return lab.client.table("inet lab_call", chain)


def closed(namespace: Namespace, hook: str, interface: str) -> AbstractContextManager[None]:
    """New flows that come in by `interface` are dropped, except WireGuard's. `hook`: input or forward."""
    chain = f"""
        chain {hook} {{
            type filter hook {hook} priority filter
            iifname "{interface}" udp dport != {VPN_PORT} ct state new drop
        }}
    """
    return namespace.table("inet lab_closed", chain)


def assert_connected(report: CallReport) -> None:
    """Data and video went in both directions for the whole call."""
    for side in (report.client, report.peer):
        assert side.seconds >= SECONDS
        assert side.longest_gap <= GAP
        assert side.received >= BYTES
        assert side.frames >= FRAMES


def assert_sealed(seen: Seen) -> None:
    """No packet and no candidate shows the client's real address, from the first packet to the last."""
    assert [str(packet) for packet in seen.outside] == []
    assert [str(packet) for packet in seen.stun] == []
    assert seen.beyond == 0
    candidates = seen.report.client.candidates
    assert not {each.address for each in candidates if each.type != "host"} & set(REAL.values())


def assert_through_vpn(end: End, relay: bool) -> None:
    """The address of the client's end of the selected pair is the VPN's or the relay's."""
    if relay:
        assert end.type == "relay"
        assert end.address in (*STUN_SERVER.values(), STUN_SERVER_ALTERNATE)
    else:
        assert end.type in ("srflx", "prflx")
        assert end.address in VPN_SERVER.values()


@PROTECTED
@RELAY
def test_without_stunwall_a_call_leaks_outside_the_vpn(
    lab: Lab, peer: Peer, protected: Browser, relay: bool
) -> None:
    """Shows that the call works and that a leak is visible."""
    seen = watched(lab, peer, protected, relay, seconds=5)
    assert seen.outside, NO_LEAK
    assert seen.beyond
    assert seen.stun
    assert {packet.source for packet in seen.outside} == set(CLIENT.values())
    if not relay:
        assert REAL[AF_INET] in {each.address for each in seen.report.client.candidates}


@PROTECTED
def test_in_block_mode_a_call_uses_only_the_vpns_candidates(lab: Lab, peer: Peer, protected: Browser) -> None:
    with Agent(lab, mode="block"):
        seen = watched(lab, peer, protected, relay=False)
    assert_sealed(seen)
    assert_connected(seen.report)
    client = seen.report.client
    assert_through_vpn(client.selected.local, relay=False)
    reflexive = [each for each in client.candidates if each.type == "srflx"]
    assert {each.address for each in reflexive} == set(VPN_SERVER.values())
    assert not {each.related_address for each in reflexive} & set(CLIENT.values())


@PROTECTED
@RELAY
@pytest.mark.parametrize(
    "family", [None, AF_INET, AF_INET6], ids=["any", "only-redirected-ipv4", "only-redirected-ipv6"]
)
def test_in_redirect_mode_a_call_is_redirected_into_the_vpn(
    lab: Lab, peer: Peer, protected: Browser, relay: bool, family: int | None
) -> None:
    """With `family` only the sockets bound to the client's physical address can send.

    For IPv6 the provider drops new flows from outside, as home routers do (RFC 6092 §3.1): a flow that the peer
    begins outside the VPN can't be redirected into it.
    """
    with ExitStack() as stack:
        stack.enter_context(Agent(lab, mode="redirect"))
        if family is not None:
            stack.enter_context(sending_only_from(lab, CLIENT[family]))
        if family == AF_INET6:
            stack.enter_context(closed(lab.isp, "forward", "wan"))
        seen = watched(lab, peer, protected, relay, gather_first=family is None)
    assert_sealed(seen)
    assert_connected(seen.report)
    client = seen.report.client
    assert_through_vpn(client.selected.local, relay)
    if not relay:
        redirected = {
            (each.address, each.related_address) for each in client.candidates if each.type == "srflx"
        }
        wanted = FAMILIES if family is None else (family,)
        assert {(VPN_SERVER[each], CLIENT[each]) for each in wanted} <= redirected
    if family is not None and not relay:
        assert client.base(client.selected.local) == CLIENT[family]

"""Real calls between two browsers: outside the VPN without stunwall, and inside it with stunwall."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6

import pytest

from browser.call import CallReport, End, call
from browser.gather import Browser
from browser.peer import OTHERS, Crossing, Peer
from lab.addresses import CLIENT, FAMILIES, REAL, STUN_SERVER, STUN_SERVER_ALTERNATE, VPN_PORT, VPN_SERVER
from lab.agent import Agent
from lab.frame import Packet
from lab.leaks import SOURCE_RULE
from lab.namespace import Namespace
from lab.topology import Lab
from lab.wire import MARKER_PORT, Wire

SECONDS = 20
BYTES = 10_000 * SECONDS  # each side offers 50,000 a second; what two busy cores leave of that
GAP = 5000  # milliseconds without a message
FRAMES = 2 * SECONDS  # of 15 a second

PROTECTED = pytest.mark.parametrize("protected", ["chromium", "firefox"])
RELAY = pytest.mark.parametrize("relay", [False, True], ids=["direct", "relayed"])


@pytest.fixture(scope="module")
def peer(lab: Lab) -> Iterator[Peer]:
    """The other end, with a VPN for both families and the leaking source rule on the client's side.

    The VPN's server is closed, as any is: else a check from the peer takes the port that the client's needs.
    """
    with Peer(lab) as peer, SOURCE_RULE.made(lab, *FAMILIES), closed(lab.server, "input", "eth0"):
        yield peer


@dataclass(frozen=True, slots=True)
class Seen:
    """A call, and what the wires showed from before its browsers started until after they ended."""

    report: CallReport
    outside: list[Packet]
    """What left the client on its physical interface for the STUN and TURN server or the peer."""
    stun: list[Packet]
    """What left it there with STUN's cookie anywhere in it."""
    beyond: int
    """The same as `outside`, counted behind the provider's NAT."""
    inwards: int
    """What came from those to the client's real address: the peer tries the IPv6 one, a host candidate."""
    total: int
    """All that left the client on that interface, the VPN's own packets included."""

    def __str__(self) -> str:
        return (
            f"{self.report}\nwire: {len(self.outside)} packets from the client to server or peer"
            f" ({self.beyond} behind the NAT, {self.inwards} the other way), {self.total} in all"
        )


def watched(lab: Lab, peer: Peer, protected: Browser, relay: bool, seconds: float = SECONDS) -> Seen:
    """Makes a call and watches the wires all the while."""
    with Wire(lab) as wire, Crossing(lab) as crossing:
        report = call(lab, peer, protected, relay, seconds)
        stun = wire.stun()
        packets = wire.packets()
    outside = [packet for packet in packets if packet.destination in OTHERS]
    seen = Seen(report, outside, stun, crossing.from_client, crossing.to_client, len(packets))
    print(f"\n{protected}, {'relayed' if relay else 'direct'}\n{seen}")
    return seen


@contextmanager
def sending_only_from(lab: Lab, address: str) -> Iterator[None]:
    """Nothing but the sockets bound to `address` can send UDP, so that a call has no other way."""
    family = "ip6" if ip_address(address).version == 6 else "ip"
    lab.client.nft(f"""
        table inet lab_call {{
            chain output {{
                type filter hook output priority filter
                meta l4proto != udp accept
                oifname "lo" accept
                udp dport {{ {MARKER_PORT}, {VPN_PORT} }} accept comment "the wire's marker and the VPN's own"
                {family} saddr {address} accept
                drop
            }}
        }}
    """)
    try:
        yield
    finally:
        lab.client.nft("delete table inet lab_call")


@contextmanager
def closed(namespace: Namespace, chain: str, interface: str) -> Iterator[None]:
    """What comes in by `interface` unasked is dropped, except for WireGuard; `chain`: input or forward."""
    namespace.nft(f"""
        table inet lab_closed {{
            chain {chain} {{
                type filter hook {chain} priority filter
                iifname "{interface}" udp dport != {VPN_PORT} ct state new drop
            }}
        }}
    """)
    try:
        yield
    finally:
        namespace.nft("delete table inet lab_closed")


def assert_moved(report: CallReport) -> None:
    """Data and video went both ways for as long as asked."""
    for side in (report.client, report.peer):
        assert side.seconds >= SECONDS
        assert side.longest_gap <= GAP
        assert side.received >= BYTES
        assert side.frames >= FRAMES


def assert_sealed(seen: Seen) -> None:
    """Neither wire nor candidates have the client's real address, from the first packet to the last."""
    assert [str(packet) for packet in seen.outside] == []
    assert [str(packet) for packet in seen.stun] == []
    assert seen.beyond == 0
    candidates = seen.report.client.candidates
    assert not {each.address for each in candidates if each.type != "host"} & set(REAL.values())


def assert_through_vpn(end: End, relay: bool) -> None:
    """The client's end of the selected pair is the VPN's address, or the relay's."""
    if relay:
        assert end.type == "relay"
        assert end.address in (*STUN_SERVER.values(), STUN_SERVER_ALTERNATE)
    else:
        assert end.type in ("srflx", "prflx")
        assert end.address in VPN_SERVER.values()


@PROTECTED
@RELAY
def test_call_leaves_outside_the_vpn_without_stunwall(
    lab: Lab, peer: Peer, protected: Browser, relay: bool
) -> None:
    """Shows that the call works and that the wires show a leak."""
    seen = watched(lab, peer, protected, relay, seconds=5)
    assert seen.outside, "the wire doesn't show the leak, so it proves nothing below"
    assert seen.beyond
    assert seen.stun
    assert {packet.source for packet in seen.outside} == set(CLIENT.values())
    if not relay:
        assert REAL[AF_INET] in {each.address for each in seen.report.client.candidates}


@PROTECTED
def test_call_connects_through_the_vpns_candidates_alone_in_block_mode(
    lab: Lab, peer: Peer, protected: Browser
) -> None:
    with Agent(lab, mode="block"):
        seen = watched(lab, peer, protected, relay=False)
    assert_sealed(seen)
    assert_moved(seen.report)
    client = seen.report.client
    assert_through_vpn(client.selected.local, relay=False)
    reflexive = [each for each in client.candidates if each.type == "srflx"]
    assert {each.address for each in reflexive} == set(VPN_SERVER.values())
    assert not {each.related_address for each in reflexive} & set(CLIENT.values())


@PROTECTED
@RELAY
@pytest.mark.parametrize(
    "family", [None, AF_INET, AF_INET6], ids=["any", "only-ipv4-moved", "only-ipv6-moved"]
)
def test_call_moves_into_the_vpn_in_redirect_mode(
    lab: Lab, peer: Peer, protected: Browser, relay: bool, family: int | None
) -> None:
    """With `family` the sockets bound to the client's physical address are the only ones that can send.

    For IPv6 behind a firewall, as home routers have one (RFC 6092 §3.1): a flow that the peer begins, from
    outside the VPN, can't be moved into it.
    """
    with ExitStack() as stack:
        stack.enter_context(Agent(lab, mode="redirect"))
        if family is not None:
            stack.enter_context(sending_only_from(lab, CLIENT[family]))
        if family == AF_INET6:
            stack.enter_context(closed(lab.isp, "forward", "wan"))
        seen = watched(lab, peer, protected, relay)
    assert_sealed(seen)
    assert_moved(seen.report)
    client = seen.report.client
    assert_through_vpn(client.selected.local, relay)
    if not relay:
        moved = {(each.address, each.related_address) for each in client.candidates if each.type == "srflx"}
        wanted = FAMILIES if family is None else (family,)
        assert {(VPN_SERVER[each], CLIENT[each]) for each in wanted} <= moved
    if family is not None and not relay:
        assert client.base(client.selected.local) == CLIENT[family]

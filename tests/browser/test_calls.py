"""Real calls between two browsers: outside the VPN without stunwall, inside it with stunwall."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6

import pytest

from browser.call import CallReport, End, Way
from browser.etc import Etc
from browser.levels import set_level
from browser.peer import Peer
from browser.program import BROWSERS, Browser
from browser.watched import Seen, closed, reachable_peer, watched
from lab.addresses import CLIENT, FAMILIES, REAL, STUN_SERVER, STUN_SERVER_ALTERNATE, VPN_PORT, VPN_SERVER
from lab.agent import Agent
from lab.observe import NO_LEAK
from lab.topology import Lab
from lab.wire import MARKER_PORT

SECONDS = 3
BYTES = 10_000 * SECONDS  # each side offers 50,000 a second; a busy machine moves fewer
GAP = 3000  # milliseconds without a message
FRAMES = 2 * SECONDS  # each side offers 15 a second

PROTECTED = pytest.mark.parametrize("protected", BROWSERS)
WAY = pytest.mark.parametrize("way", [Way.DIRECT, Way.TURN_UDP], ids=["direct", "relayed"])


@pytest.fixture(scope="module")
def peer(lab: Lab) -> Iterator[Peer]:
    with reachable_peer(lab) as peer:
        yield peer


def made(
    lab: Lab,
    peer: Peer,
    protected: Browser,
    way: Way,
    gather_first: bool = True,
    inside: Sequence[str] = (),
) -> Seen:
    """A call that has to work, printed."""
    seen = watched(lab, peer, protected, way, SECONDS, gather_first, inside=inside)
    print(f"\n{protected}, {way}\n{seen}")
    assert seen.connected
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
    candidates = seen.connected.client.candidates
    assert not {each.address for each in candidates if each.type != "host"} & set(REAL.values())


def assert_through_vpn(end: End, way: Way) -> None:
    """The address of the client's end of the selected pair is the VPN's or the relay's."""
    if way is not Way.DIRECT:
        assert end.type == "relay"
        assert end.address in (*STUN_SERVER.values(), STUN_SERVER_ALTERNATE)
    else:
        assert end.type in ("srflx", "prflx")
        assert end.address in VPN_SERVER.values()


@PROTECTED
@WAY
def test_without_stunwall_a_call_leaks_outside_the_vpn(
    lab: Lab, peer: Peer, protected: Browser, way: Way
) -> None:
    """Shows that the call works and that a leak is visible."""
    seen = made(lab, peer, protected, way)
    assert seen.outside, NO_LEAK
    assert seen.beyond
    assert seen.stun
    assert {packet.source for packet in seen.outside} == set(CLIENT.values())
    if way is Way.DIRECT:
        assert REAL[AF_INET] in {each.address for each in seen.connected.client.candidates}


@PROTECTED
def test_in_block_mode_a_call_uses_only_the_vpns_candidates(lab: Lab, peer: Peer, protected: Browser) -> None:
    with Agent(lab, mode="block"):
        seen = made(lab, peer, protected, Way.DIRECT)
    assert_sealed(seen)
    assert_connected(seen.connected)
    client = seen.connected.client
    assert_through_vpn(client.selected.local, Way.DIRECT)
    reflexive = [each for each in client.candidates if each.type == "srflx"]
    assert {each.address for each in reflexive} == set(VPN_SERVER.values())
    assert not {each.related_address for each in reflexive} & set(CLIENT.values())


@PROTECTED
@WAY
@pytest.mark.parametrize(
    "family", [None, AF_INET, AF_INET6], ids=["any", "only-redirected-ipv4", "only-redirected-ipv6"]
)
def test_in_redirect_mode_a_call_is_redirected_into_the_vpn(
    lab: Lab, peer: Peer, protected: Browser, way: Way, family: int | None
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
        seen = made(lab, peer, protected, way, gather_first=family is None)
    assert_sealed(seen)
    assert_connected(seen.connected)
    client = seen.connected.client
    assert_through_vpn(client.selected.local, way)
    if way is Way.DIRECT:
        redirected = {
            (each.address, each.related_address) for each in client.candidates if each.type == "srflx"
        }
        wanted = FAMILIES if family is None else (family,)
        assert {(VPN_SERVER[each], CLIENT[each]) for each in wanted} <= redirected
    if family is not None and way is Way.DIRECT:
        assert client.base(client.selected.local) == CLIENT[family]


@pytest.mark.parametrize(
    ("protected", "level", "way"),
    [
        # The level that stunwall recommends.
        ("chromium", "default_public_interface_only", Way.DIRECT),
        ("firefox", "default_public_interface_only", Way.DIRECT),
        # The strictest one leaves Chromium nothing but TCP, and Firefox nothing.
        ("chromium", "disable_non_proxied_udp", Way.TURN_TCP),
    ],
)
def test_a_call_works_at_the_levels_that_leave_it_a_way(
    lab: Lab, peer: Peer, tmp_path: Path, protected: Browser, level: str, way: Way
) -> None:
    """The table in README.md has the others; `./tests/run.sh calls` plays them all."""
    etc = Etc(tmp_path)
    set_level(etc, protected, level)
    with Agent(lab, mode="block"):
        seen = made(lab, peer, protected, way, inside=etc.command)
    assert_sealed(seen)
    assert_connected(seen.connected)
    assert_through_vpn(seen.connected.client.selected.local, way)
    # Without a policy, a page that may use the camera sees the machine's own addresses.
    assert not [each for each in seen.connected.client.candidates if each.type == "host"]

"""TURN over TCP and TLS, and ICE-TCP, in a real browser: connecting shows no real address (README.md, bound_tcp)."""

import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from socket import AF_INET, AF_INET6

import pytest

from browser.gather import Gathered, gather
from browser.program import BROWSERS, Browser
from browser.test_browsers import everything
from lab.addresses import FAMILIES, REAL, STUN_NAME, STUN_SERVER, TLS_PORTS
from lab.agent import Agent
from lab.coturn import PASSWORD, USER
from lab.leaks import SOURCE_RULE, VPN_DOWN
from lab.observe import NO_LEAK, settled_events
from lab.topology import Lab
from lab.wire import Wire

MICROPHONE = pytest.mark.parametrize("microphone", [True, False], ids=["microphone", "no_microphone"])


def turn(url: str) -> Mapping[str, str]:
    return {"urls": f"{url}?transport=tcp", "username": USER, "credential": PASSWORD}


HOSTS = (STUN_SERVER[AF_INET], f"[{STUN_SERVER[AF_INET6]}]")
TCP = [turn(f"turn:{host}:{port}") for host in HOSTS for port in (80, 3478)]
# By name: Firefox takes no address.
TLS = [turn(f"turns:{STUN_NAME}:{port}") for port in TLS_PORTS]
# RFC 6544 §4.5
PEER = [
    f"candidate:{port} 1 tcp 1518280447 {STUN_SERVER[AF_INET]} {port} typ host tcptype passive"
    for port in (80, 443, 3478)
]


@pytest.fixture(autouse=True)
def names(tmp_path: Path) -> Iterator[None]:
    """coturn has a name, for the processes of the tests alone."""
    hosts = tmp_path / "hosts"
    known = [f"{address} {STUN_NAME}\n" for address in STUN_SERVER.values()]
    hosts.write_text(Path("/etc/hosts").read_text() + "".join(known))
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    yield
    subprocess.run(["umount", "/etc/hosts"], check=True)


def opened(wire: Wire) -> Counter[int | None]:
    """How many connections were tried outside the VPN, by port: the browser has no other reason to open any."""
    wire.settle()
    return Counter(packet.destination_port for packet in wire.packets() if packet.opens)


def visit(lab: Lab, browser: Browser, microphone: bool) -> tuple[set[str], Counter[int | None]]:
    """What a page with all of these servers and the peer learns, and the connections outside the VPN meanwhile.

    The relays are asked for by two connections, one without a peer: while the browser waits for it, they are not
    complete.
    """
    with Wire(lab) as wire:
        seen = gather(lab, browser, microphone, TCP, PEER, patience=5, before=TLS)
        assert "relay" in {each.type for each in seen.before}, "TURN over TLS gets no relay"
        assert seen.addresses("relay"), "TURN over TCP gets no relay"
        return everything(seen), opened(wire)


@pytest.mark.parametrize("browser", BROWSERS)
@MICROPHONE
def test_no_browser_connects_outside_the_vpn(lab: Lab, browser: Browser, microphone: bool) -> None:
    """Through the VPN it gets its relays all the same."""
    with SOURCE_RULE.made(lab, *FAMILIES):
        _, free = visit(lab, browser, microphone)
        if browser == "firefox" and microphone:
            assert {80, 443, 3478, 5349} <= free.keys(), (
                "Firefox no longer binds its sockets: this shows nothing"
            )
        with Agent(lab) as agent:
            learned, left = visit(lab, browser, microphone)
            refused = {
                event["destination_port"]
                for event in settled_events(lab, agent)
                if event["reason"] == "bound"
            }
    print(
        f"{browser}, {'with' if microphone else 'without'} the microphone, SYNs outside the VPN by port: "
        f"{dict(free)} without stunwall, {dict(left)} with it"
    )
    assert not left
    assert refused >= free.keys()
    assert REAL[AF_INET] not in learned


@pytest.mark.parametrize("browser", BROWSERS)
def test_with_mode_redirect_turn_over_tcp_and_tls_works_through_the_vpn(lab: Lab, browser: Browser) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES), Agent(lab, mode="redirect") as agent:
        learned, left = visit(lab, browser, microphone=True)
        handshakes = [event for event in settled_events(lab, agent) if event["protocol"] == "tcp-handshake"]
    assert {event["verdict"] for event in handshakes} <= {"redirected"}
    moved = Counter(event["destination_port"] for event in handshakes)
    print(f"{browser}, moved connections by port: {dict(moved)}")
    assert not left
    assert REAL[AF_INET] not in learned
    if browser == "firefox":
        assert {80, 443, 3478, 5349} <= moved.keys()


@pytest.mark.parametrize("browser", BROWSERS)
def test_page_does_not_wait_for_turn_over_tls(lab: Lab, browser: Browser) -> None:
    """Gathering ends with the answer, not when the browser gives up."""
    servers = [turn(f"turns:{STUN_NAME}:5349")]

    def packets(**settings: str) -> tuple[int, Gathered]:
        """The most packets of a connection that were blocked, and what the page learned."""
        with Agent(lab, **settings) as agent:
            gathered = gather(lab, browser, False, servers, patience=8)
            blocked = [event for event in settled_events(lab, agent) if event["protocol"] == "turn-tls"]
            return max(event["count"] for event in blocked), gathered

    with VPN_DOWN.made(lab):
        assert gather(lab, browser, False, servers).addresses("relay"), NO_LEAK
        dropped, waiting = packets(on_block="drop")
        with Wire(lab) as wire:
            refused, gathered = packets()
            wire.settle()
    print(
        f"{browser}: of a connection {dropped} packets were blocked with on_block = drop, {refused} with answers; "
        f"gathered for {waiting.milliseconds:.0f} and {gathered.milliseconds:.0f} ms"
    )
    assert gathered.complete
    assert not waiting.complete
    # Of connections that began meanwhile: the kernel sends again what one without an answer has sent, long after its
    # browser and the wall have ended.
    begun = {packet.source_port for packet in wire.packets() if packet.opens}
    assert begun
    sent = [packet for packet in wire.packets() if packet.source_port in begun]
    # RFC 8446 §5.1: a handshake record. What a browser sends behind its first segment may leave before the answer ends
    # the connection; without that one, no server can read it.
    assert not [str(packet) for packet in sent if packet.payload.startswith(b"\x16\x03")]
    assert not gathered.addresses("relay")
    # Without an answer the kernel sends the first segments again and again; with one, hardly ever (a tail loss probe).
    assert dropped > 2 * refused > 0

"""TURN over TCP and TLS, and ICE-TCP, in a real browser: connecting shows no real address (README.md, bound_tcp)."""

from collections.abc import Mapping
from socket import AF_INET, AF_INET6, IPPROTO_TCP

import pytest

from browser.gather import Gathered, gather
from browser.program import BROWSERS, Browser
from browser.test_browsers import everything
from lab.addresses import FAMILIES, REAL, STUN_SERVER
from lab.agent import Agent
from lab.coturn import PASSWORD, USER
from lab.frame import Packet
from lab.leaks import SOURCE_RULE
from lab.observe import events
from lab.topology import Lab
from lab.wire import Wire


def turn(urls: str) -> Mapping[str, str]:
    return {"urls": urls, "username": USER, "credential": PASSWORD}


HOSTS = (STUN_SERVER[AF_INET], f"[{STUN_SERVER[AF_INET6]}]")
TCP = [turn(f"turn:{host}:{port}?transport=tcp") for host in HOSTS for port in (80, 3478)]
TLS = [turn(f"turns:{host}:{port}?transport=tcp") for host in HOSTS for port in (443, 5349)]
# RFC 6544 §4.5
PEER = [
    f"candidate:{port} 1 tcp 1518280447 {STUN_SERVER[AF_INET]} {port} typ host tcptype passive"
    for port in (80, 443, 3478)
]


def outside(wire: Wire) -> list[Packet]:
    """The TCP segments that left outside the VPN: the browser has no other reason to open a connection."""
    wire.settle()
    return [packet for packet in wire.packets() if packet.protocol == IPPROTO_TCP]


def opened(lab: Lab, browser: Browser, microphone: bool = True) -> tuple[Gathered, list[Packet]]:
    """What the page learns from all of these servers and the peer, and what left outside the VPN meanwhile."""
    with Wire(lab) as wire:
        gathered = gather(lab, browser, microphone, [*TCP, *TLS], PEER)
        return gathered, outside(wire)


def test_firefox_with_the_microphone_connects_outside_the_vpn_and_with_stunwall_it_does_not(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES):
        _, free = opened(lab, "firefox")
        ports = {packet.destination_port for packet in free}
        assert {80, 443, 3478} <= ports, "Firefox no longer binds its sockets: then this test shows nothing"
        with Agent(lab) as agent:
            gathered, left = opened(lab, "firefox")
            assert not left
            refused = {
                event["destination_port"] for event in events(agent) if event["protocol"] == "tcp-handshake"
            }
    print(f"Firefox sent {len(free)} TCP segments outside without stunwall, {len(left)} with it")
    assert {80, 443, 3478} <= refused
    assert REAL[AF_INET] not in everything(gathered)


@pytest.mark.parametrize("browser", BROWSERS)
@pytest.mark.parametrize("microphone", [True, False], ids=["microphone", "no_microphone"])
def test_no_browser_connects_outside_the_vpn(lab: Lab, browser: Browser, microphone: bool) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES), Agent(lab):
        gathered, left = opened(lab, browser, microphone)
    assert not left
    assert REAL[AF_INET] not in everything(gathered)


@pytest.mark.parametrize("browser", BROWSERS)
def test_with_mode_redirect_turn_over_tcp_works_through_the_vpn(lab: Lab, browser: Browser) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES), Agent(lab, mode="redirect"), Wire(lab) as wire:
        gathered = gather(lab, browser, servers=TCP)
        assert STUN_SERVER[AF_INET] in gathered.addresses("relay")
        assert REAL[AF_INET] not in everything(gathered)
        assert not outside(wire)

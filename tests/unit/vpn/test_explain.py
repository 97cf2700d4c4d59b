"""explain.py: the cause of a recorded packet, from what is known of its socket, by real rules and routes."""

import socket
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from stunwall.model import Sender
from stunwall.vpn import routing
from stunwall.vpn.cause import Cause
from stunwall.vpn.explain import destinations, explain_events
from unit.cli.test_explain import BY_SOURCE, REAL, REAL6, SERVER, SERVER6, machine
from unit.recorded import event
from unit.tun import ip

assert machine  # the fixture: a way out, a container, and a VPN for IPv4

MARK = 0x20
BY_MARK = f"rule add fwmark {MARK:#x} lookup main pref 90"
UNBOUND = Sender(uid=1000, cgroup=1, inode=2)
DEVICE = "nsxout"
VPN, INSIDE = frozenset({"nsxvpn"}), frozenset({"nsxin"})


def explained(sender: Sender | None, mark: int = 0, **values: Any) -> tuple[str, str]:
    sent = replace(event(40000), source=REAL, destination=SERVER, interface=DEVICE, **values)
    addresses = destinations(ip_address(sent.destination), ip_address(sent.source))
    found = explain_events([(sent, sender, mark)], routing.read_fib(addresses), VPN, INSIDE)[0]
    return found.cause, found.cause_text


@pytest.mark.parametrize(
    ("setup", "sender", "mark", "cause", "told"),
    [
        (BY_SOURCE, UNBOUND, 0, Cause.SOURCE_BOUND, f"rule 100: from {REAL} lookup main"),
        (BY_MARK, UNBOUND, MARK, Cause.MARK, f"fwmark {MARK:#x}"),
        # The socket is gone, and the mark still tells.
        (BY_MARK, None, MARK, Cause.MARK, f"fwmark {MARK:#x}"),
        ("rule add uidrange 1000-1000 lookup main pref 91", UNBOUND, 0, Cause.RULE, "uidrange 1000-1000"),
        (f"route add {SERVER} via 192.0.2.1", UNBOUND, 0, Cause.ROUTE, f"route {SERVER}"),
        ("", UNBOUND, 0, Cause.CHANGED, "have changed since"),
    ],
)
def test_the_cause_is_that_of_the_packet(
    machine: None, setup: str, sender: Sender | None, mark: int, cause: Cause, told: str
) -> None:
    if setup:
        ip(*setup.split())
    found, text = explained(sender, mark)
    assert found == cause
    assert told in text


def test_a_socket_that_is_bound_to_an_interface_is_known_as_such(machine: None) -> None:
    bound = UNBOUND._replace(device=socket.if_nametoindex(DEVICE))
    assert explained(bound)[0] == Cause.DEVICE_BOUND


def test_what_a_socket_that_is_gone_was_bound_to_is_not_guessed(machine: None) -> None:
    cause, text = explained(None)
    assert cause == ""
    assert "not known what it was bound to" in text


def test_ipv6_that_the_vpn_does_not_carry(machine: None) -> None:
    sent = replace(event(40000), source=REAL6, destination=SERVER6, family=6, interface=DEVICE)
    addresses = destinations(ip_address(SERVER6), ip_address(REAL6))
    (found,) = explain_events([(sent, UNBOUND, 0)], routing.read_fib(addresses), VPN, INSIDE)
    assert found.cause == Cause.NO_FAMILY


@pytest.mark.parametrize(
    ("setup", "mark", "cause"),
    [
        ("rule add iif nsxin lookup main pref 90", 0, Cause.FORWARDED),
        (BY_MARK, MARK, Cause.MARK),
        ("", 0, Cause.CHANGED),
    ],
)
def test_a_forwarded_packet(machine: None, setup: str, mark: int, cause: Cause) -> None:
    if setup:
        ip(*setup.split())
    sent = replace(event(40000), source="172.17.0.9", incoming="nsxin", destination=SERVER, interface=DEVICE)
    addresses = destinations(ip_address(SERVER), ip_address("172.17.0.9"))
    (found,) = explain_events([(sent, None, mark)], routing.read_fib(addresses), VPN, INSIDE)
    assert found.cause == cause

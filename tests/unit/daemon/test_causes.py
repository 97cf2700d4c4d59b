"""causes.py: when the routing is read, and what is said where it is not; tests/lab/test_cause.py has the rest."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from stunwall.daemon import causes
from stunwall.daemon.causes import Causes
from stunwall.model import Address, Event
from stunwall.policy import View
from stunwall.vpn import routing
from stunwall.vpn.explain import Sent
from stunwall.vpn.routing import RoutingError
from unit.recorded import event

VIEW = View(frozenset({"wg0"}), frozenset({4}))
IPV6 = replace(event(3), family=6, source="2001:db8::2", destination="2001:db8::7")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The addresses whose routes were asked for; the routing explains nothing but that it was read."""
    asked: list[set[str]] = []

    def read(addresses: Collection[Address]) -> Any:
        asked.append({str(each) for each in addresses})

    def explain_events(sent: list[Sent], *_: object) -> list[Event]:
        return [replace(event, cause="read") for event, *_ in sent]

    monkeypatch.setattr(routing, "read_fib", read)
    monkeypatch.setattr(causes, "explain_events", explain_events)
    return asked


def test_the_routing_is_read_once_for_all_packets_of_an_ip_version(reads: list[set[str]]) -> None:
    other = replace(event(2), destination="203.0.113.9")
    found = Causes(lambda: VIEW).explain([(event(1), None, 0), (other, None, 0)])
    assert [each.cause for each in found] == ["read", "read"]
    assert reads == [{"192.0.2.17", "203.0.113.7", "203.0.113.9", "198.18.0.1"}]


def test_what_is_about_no_single_packet_is_left_alone(reads: list[set[str]]) -> None:
    entries = [
        replace(event(1), flows=2, source="", destination=""),
        replace(event(2), source=""),
        Event.note(1.0, "paused", "by user 0"),
    ]
    assert Causes(lambda: VIEW).explain([(each, None, 0) for each in entries]) == entries
    assert reads == []


def test_events_of_both_ip_versions_are_explained_and_keep_their_order(reads: list[set[str]]) -> None:
    entries = [IPV6, event(1), Event.note(1.0, "paused", "by user 0"), IPV6, event(2)]
    found = Causes(lambda: VIEW).explain([(each, None, 0) for each in entries])
    assert [replace(each, cause="") for each in found] == entries
    assert [each.cause for each in found] == ["read", "read", "", "read", "read"]
    assert len(reads) == 2


def test_it_takes_a_tenth_of_a_core_at_the_most(
    reads: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causes, "_REST", 10**9)
    busy = Causes(lambda: VIEW)
    assert busy.explain([(event(1), None, 0)])[0].cause == "read"
    (later,) = busy.explain([(event(2), None, 0)])
    assert (later.cause, later.cause_text) == ("", causes._BUSY)
    assert len(reads) == 1


def test_routing_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(addresses: Collection[Address]) -> Any:
        raise RoutingError("cannot read interfaces and routes from the kernel: gone")

    monkeypatch.setattr(routing, "read_fib", read)
    (found,) = Causes(lambda: VIEW).explain([(event(1), None, 0)])
    assert (found.cause, found.cause_text) == ("", "cannot read interfaces and routes from the kernel: gone")

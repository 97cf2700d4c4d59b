"""Why recorded packets would have bypassed the VPN, found in the record's thread."""

import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

from stunwall.model import FAMILIES, Event, StunwallError
from stunwall.policy import View
from stunwall.vpn import routing
from stunwall.vpn.explain import Sent, destinations, explain_events

# Reading takes some milliseconds, and 350 with 100,000 routes. Before the next time we rest so many times as long,
# so that it takes a tenth of a core at the most.
_REST = 10
_BUSY = "rules and routes were not looked at, as that had just been done for other packets"


class Causes:
    """Adds the cause to events. For one thread, which may wait. `view()` returns what the daemon decides by."""

    def __init__(self, view: Callable[[], View]) -> None:
        self._view = view
        self._next = 0.0  # seconds of the monotonic clock

    def explain(self, sent: list[Sent]) -> list[Event]:
        """Return the events, those that are about one packet with its cause. Never raises StunwallError."""
        found = [event for event, *_ in sent]
        began = time.monotonic()
        busy = began < self._next
        for version in FAMILIES:
            asked = [number for number, event in enumerate(found) if _is_asked(event, version)]
            if busy:
                explained = [replace(found[number], cause_text=_BUSY) for number in asked]
            else:
                explained = self._explain([sent[number] for number in asked])
            for number, event in zip(asked, explained, strict=True):
                found[number] = event
        if not busy:
            ended = time.monotonic()
            self._next = ended + _REST * (ended - began)
        return found

    def _explain(self, sent: list[Sent]) -> list[Event]:
        """Return events of one IP version with their cause."""
        if not sent:
            return []
        asked = {
            address
            for event, *_ in sent
            for address in destinations(ip_address(event.destination), ip_address(event.source))
        }
        view = self._view()
        try:
            fib = routing.read_fib(asked)
        except StunwallError as error:
            return [replace(event, cause_text=str(error)) for event, *_ in sent]
        return explain_events(sent, fib, view.vpn, view.inside)


def _is_asked(event: Event, version: int) -> bool:
    return event.family == version and event.flows == 1 and bool(event.source and event.destination)

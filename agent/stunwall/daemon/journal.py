"""Log lines on stderr, with priorities that journald understands."""

import os
import time
from contextlib import suppress

from stunwall.model import EXPOSED, GAP, Event, Reason, Verdict
from stunwall.stun.detect import mapped_address
from stunwall.text import endpoint, printable

_ERROR, _WARNING, _NOTICE = 3, 4, 5  # sd-daemon(3)
_EVENTS_PER_SECOND = 20  # lines; more flows are summed up, and `stunwall log` has them all


class Journal:
    """Writes log lines. Under journald each starts with its priority, as in `<4>`, else with the time."""

    def __init__(self, descriptor: int, journal: bool) -> None:
        self._descriptor = descriptor
        self._journal = journal
        self._second = 0
        self._events = 0

    def error(self, text: str) -> None:
        """Log what is broken and what to do about it."""
        self._line(_ERROR, text)

    def notice(self, text: str) -> None:
        """Log a change of state."""
        self._line(_NOTICE, text)

    def event(self, event: Event) -> None:
        """Log a new flow that was blocked, redirected, or let through outside the VPN."""
        second = int(time.monotonic())
        if second != self._second:
            if self._events > _EVENTS_PER_SECOND:
                self._line(
                    _WARNING, f"and {self._events - _EVENTS_PER_SECOND} more flows: see `stunwall log`"
                )
            self._second, self._events = second, 0
        self._events += 1
        if self._events <= _EVENTS_PER_SECOND:
            self._line(
                _WARNING if event.verdict in (Verdict.BLOCK, GAP, EXPOSED) else _NOTICE, sentence(event)
            )

    def _line(self, priority: int, text: str) -> None:
        head = f"<{priority}>" if self._journal else time.strftime("%H:%M:%S ")
        with suppress(OSError):  # a log that nobody reads is no reason to stop blocking
            os.write(self._descriptor, f"{head}{printable(text)}\n".encode())


def sentence(event: Event) -> str:
    """Return the event in words."""
    if not event.destination:
        return f"{event.verdict}: {event.reason}"
    source = endpoint(event.source, event.source_port) or "anyone"
    destination = endpoint(event.destination, event.destination_port)
    what = f"{event.protocol} {event.method} over {event.transport}" if event.transport else "a packet"
    why = Reason(event.reason).sentence
    if event.verdict == EXPOSED:
        why += f". It carried the address {mapped_address(event.packet) or '(unreadable)'}"
    return f"{event.verdict} {what} from {source} to {destination} on {event.interface}: {why}"

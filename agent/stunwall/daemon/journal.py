"""Log lines on stderr, with priorities that journald understands; events as entries with fields."""

import os
import time
from contextlib import suppress
from dataclasses import asdict

from stunwall import reasons
from stunwall.daemon.journal_socket import JournalSocket
from stunwall.model import EXPOSED, GAP, LEAK, Event, Reason, Verdict
from stunwall.stun.detect import mapped_address
from stunwall.text import count, endpoint, printable, sender

_ERROR, _WARNING, _NOTICE = 3, 4, 5  # sd-daemon(3)
_DAEMON = 3  # syslog(3): LOG_DAEMON
_EVENTS_PER_SECOND = 20  # lines; more flows are summed up, and `stunwall log` has them all


class Journal:
    """Writes log lines. Under journald each starts with its priority, as in `<4>`, else with the time.

    Args:
        descriptor: where lines go.
        journal: whether that is journald.
        entries: where events go, with their fields, if journald takes them there; otherwise they are lines too.
    """

    def __init__(self, descriptor: int, journal: bool, entries: JournalSocket | None = None) -> None:
        self._descriptor = descriptor
        self._journal = journal
        self._entries = entries
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
            priority = _WARNING if event.verdict in (Verdict.BLOCK, GAP, EXPOSED, LEAK) else _NOTICE
            if self._entries is None or not self._entries.send(_fields(priority, event)):
                self._line(priority, sentence(event))

    def _line(self, priority: int, text: str) -> None:
        head = f"<{priority}>" if self._journal else time.strftime("%H:%M:%S ")
        with suppress(OSError):  # a log that nobody reads is no reason to stop blocking
            os.write(self._descriptor, f"{head}{printable(text)}\n".encode())


def _fields(priority: int, event: Event) -> dict[str, str]:
    """Return the fields of an entry: journald's (systemd.journal-fields(7)), and the event's as STUNWALL_NAME."""
    explanation = reasons.explanation(event)
    values = asdict(event)
    del values["packet"]
    return {
        "MESSAGE": printable(sentence(event)),
        "PRIORITY": str(priority),
        "SYSLOG_FACILITY": str(_DAEMON),
        "SYSLOG_IDENTIFIER": "stunwalld",
        **({"MESSAGE_ID": explanation.message_id} if explanation else {}),
        **{f"STUNWALL_{name.upper()}": printable(str(value)) for name, value in values.items()},
    }


def _program(event: Event) -> str:
    return f" ({name})" if (name := sender(event)) else ""


def sentence(event: Event) -> str:
    """Return the event in words."""
    if not event.protocol:
        return f"{event.verdict}: {event.reason}"
    if event.flows > 1:
        return (
            f"{event.verdict} {count(event.flows, 'more flow')} of one sender{_program(event)}, in one entry: see "
            "`stunwall log`"
        )
    source = (endpoint(event.source, event.source_port) or "anyone") + _program(event)
    destination = endpoint(event.destination, event.destination_port)
    what = f"{event.protocol} {event.method} over {event.transport}" if event.transport else "a packet"
    why = Reason(event.reason).sentence
    if event.verdict == EXPOSED:
        why += f". It carried the address {mapped_address(event.packet) or '(unreadable)'}"
    return f"{event.verdict} {what} from {source} to {destination} on {event.interface}: {why}"

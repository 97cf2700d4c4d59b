"""Has a user's own agent (`stunwall notify`) say whose a socket is, where only this user and root may see that."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stunwall.control.subscribers import Subscribers
from stunwall.model import Event, Sender

SAID = "the user's own agent says so"
_PATIENCE = 0.3  # seconds for an answer
_BUDGET, _PERIOD = 1.0, 60.0  # seconds that all questions to one user may take in a period
_LONGEST = 256  # characters of a path or a command line
_PID_MAX = 1 << 22  # proc_sys_kernel(5): pid_max


class UserAgents:
    """Completes what is known of a sender. For the record's thread, as it waits.

    `identify`: says what can be known without the user's help. `subscribers` may be replaced; None: nobody is asked.
    """

    def __init__(self, identify: Callable[[Event, Sender | None], Event]) -> None:
        self.subscribers: Subscribers | None = None
        self._identify = identify
        self._waited: dict[int, tuple[float, float]] = {}  # by user: since when, and how many seconds

    def identify(self, event: Event, sender: Sender | None) -> Event:
        """Return the event with what is known of its sender. An agent says something of its own user's events only."""
        found = self._identify(event, sender)
        if (
            sender is None
            or self.subscribers is None
            or not sender.inode
            or (found.command and not found.who)
        ):
            return found
        if sender.uid not in self.subscribers.answering or not self._may_wait(sender.uid):
            return found
        started = time.monotonic()
        answer = self.subscribers.ask(sender.uid, sender.inode, _PATIENCE)
        since, waited = self._waited[sender.uid]
        self._waited[sender.uid] = since, waited + time.monotonic() - started
        return found if answer is None else _with(found, answer)

    def _may_wait(self, uid: int) -> bool:
        """Whether this user's agent has been quick enough: it must not hold up the events of others."""
        now = time.monotonic()
        since, waited = self._waited.get(uid, (now, 0.0))
        if now - since >= _PERIOD:
            since, waited = now, 0.0
        self._waited[uid] = since, waited
        return waited < _BUDGET


def _with(event: Event, answer: dict[str, Any]) -> Event:
    """Return the event with what an agent says, if that is what it should be."""
    pid, executable, command = (answer.get(key) for key in ("pid", "executable", "command"))
    if not (isinstance(pid, int) and 0 < pid <= _PID_MAX):
        return event
    if not (isinstance(executable, str) and isinstance(command, str)):
        return event
    return replace(event, pid=pid, executable=_fit(executable), command=_fit(command), who=SAID)


def _fit(text: str) -> str:
    """Return a text that can be stored as UTF-8."""
    return text[:_LONGEST].encode(errors="backslashreplace").decode()

"""Calls that other threads leave for the thread of the selector: nothing wakes it up while there are none."""

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class Mailbox:
    """Holds calls until the selector's thread makes them: register it, and call `run` when it is readable."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], object]] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor that is readable when `run` is to be called."""
        return self._reader.fileno()

    def post(self, call: Callable[[], object]) -> None:
        """Leave a call. Any thread may do so, and never waits; after `close` nothing happens."""
        self._calls.append(call)
        with suppress(OSError):  # full: it is readable already
            self._writer.send(b"\0")

    def run(self) -> None:
        """Make the calls."""
        with suppress(BlockingIOError):
            self._reader.recv(4096)
        while self._calls:
            self._calls.popleft()()

    def close(self) -> None:
        """Make no more calls."""
        self._reader.close()
        self._writer.close()

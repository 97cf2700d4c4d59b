"""Asks for the endpoints of WireGuard's peers in a thread of its own: a program may be slow to answer, or hang."""

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

from stunwall.vpn import wireguard
from stunwall.vpn.interfaces import Link
from stunwall.vpn.wireguard import Endpoint

# Seconds until links that have peers are asked again without a change of the network.
_PERIOD = 30.0
# How many times as long as it takes to ask is waited before asking again: with thousands of peers it takes a while.
_REST = 9


class EndpointWatch:
    """Knows the endpoints of peers, and is readable when they have changed.

    A peer may get another endpoint without any notification from the kernel (roaming, `wg set`). So the links are asked
    whenever something in the network changes, and from time to time while one of them has peers.
    """

    def __init__(self) -> None:
        self._links: tuple[Link, ...] = ()
        self._found: dict[tuple[int, str, str], frozenset[Endpoint]] = {}  # replaced as a whole by the thread
        self._changed = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None  # only where there is something to ask

    def close(self) -> None:
        """End the thread, once the link that it is asking has answered."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        os.close(self._changed)

    def fileno(self) -> int:
        """Return the descriptor that is readable when `known` has changed, until `drain` is called."""
        return self._changed

    def drain(self) -> None:
        """Take the notification of a change."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._changed)

    def ask(self, links: Iterable[Link]) -> frozenset[Endpoint]:
        """Have these links asked from now on; return what is known of them so far."""
        self._links = tuple(filter(wireguard.may_answer, links))
        if self._links and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="endpoints", daemon=True)
            self._thread.start()
        self._wake.set()
        return self.known

    @property
    def known(self) -> frozenset[Endpoint]:
        """The endpoints of the links that are being asked, as far as they have answered."""
        found = self._found
        return wireguard.limited(set().union(*(found.get(_key(link), ()) for link in self._links)))

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(_PERIOD if self._found else None)
            self._wake.clear()
            start = time.monotonic()
            found = {}
            for link in self._links:
                if self._stop.is_set():
                    return
                if endpoints := wireguard.endpoints((link,)):
                    found[_key(link)] = endpoints
            if found != self._found:
                self._found = found
                os.eventfd_write(self._changed, 1)
            self._stop.wait(_REST * (time.monotonic() - start))


def _key(link: Link) -> tuple[int, str, str]:
    """Return what makes it the same link, also after it was down for a while."""
    return link.index, link.name, link.kind

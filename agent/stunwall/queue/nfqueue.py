"""Packets from the kernel's queue, each with one verdict (netfilterqueue)."""

import os
import time
import warnings
from collections.abc import Callable
from errno import EAGAIN
from typing import Any, assert_never

from netfilterqueue import COPY_PACKET, NetfilterQueue

from stunwall.model import Arrival, Hook, StunwallError, Verdict
from stunwall.queue import proc

_LENGTH = 1024  # packets that may wait; the kernel drops the rest, and counts it
# Bytes of a packet that the kernel hands over, less than its default. NetfilterQueue 1.1 receives into 4096 bytes: a
# larger message, as of a packet of 4 kB with a mark, is thrown away, never gets a verdict and keeps its place in the
# queue for good. With this range the message always fits, and the record keeps no more of a packet.
_COPY_RANGE = 2048
# Packets that get a verdict before the loop serves its other parts: some 3 ms of work.
_TURN = 32
_HOOKS = {hook.value: hook for hook in Hook}

Give = Callable[[Verdict], None]
# Judges a packet, gives its verdict once, and carries out what follows from it.
Handler = Callable[[Arrival, Give], None]
Fault = Callable[[BaseException, Verdict | None], None]


class QueueError(StunwallError):
    """The queue could not be taken."""


class Queue:
    """One NFQUEUE number, taken when this is made; packets wait until `serve`.

    `redirected` and `passed` are the mark bits that packets get which are redirected, or may bypass the VPN. `received`
    counts all packets, `faults` those on which the handler raised: they are dropped, unless they had their verdict.
    """

    def __init__(self, number: int, redirected: int, passed: int) -> None:
        self.received = 0
        self.faults = 0
        self._redirected = redirected
        self._passed = passed
        self._handle: Handler = lambda arrival, give: give(Verdict.BLOCK)
        self._fault: Fault = lambda error, verdict: None
        self._name: Callable[[int], str] = lambda index: f"#{index}"
        if portid := listener(number):
            raise QueueError(
                f"queue {number} is taken by the program with netlink port {portid} (mostly its pid): "
                "stop it, or set another `queue` in the configuration"
            )
        try:
            self._queue = NetfilterQueue()
            with warnings.catch_warnings():
                # The socket's buffer is smaller than asked for: what does not fit the kernel drops and counts.
                warnings.simplefilter("ignore", RuntimeWarning)
                self._queue.bind(number, self._receive, _LENGTH, COPY_PACKET, _COPY_RANGE)
            os.set_blocking(self.fileno(), False)
            self._turn = _Turn(self.fileno())
        except OSError as error:
            raise QueueError(
                f"cannot listen on queue {number}: {error}. It needs root (CAP_NET_ADMIN), a kernel with "
                "CONFIG_NETFILTER_NETLINK_QUEUE (module nfnetlink_queue), and a queue number that no other "
                "program has (`queue` in the configuration)"
            ) from error

    def fileno(self) -> int:
        """Return the descriptor that is readable while packets wait."""
        return int(self._queue.get_fd())

    def serve_with(self, handle: Handler, fault: Fault, name: Callable[[int], str]) -> None:
        """Hand each packet to `handle` from now on.

        Args:
            handle: gives the verdict. What it raises, or a packet that it gives none, is a fault.
            fault: is told what was raised, and the verdict that the packet had by then, None if it had none.
            name: returns an interface's name by its index.
        """
        self._handle = handle
        self._fault = fault
        self._name = name

    def serve(self) -> None:
        """Give a verdict on the packets that wait, but not on too many: the descriptor stays readable for the rest."""
        self._turn.left = _TURN
        self._queue.run_socket(self._turn)

    def serve_all(self, seconds: float) -> bool:
        """Give verdicts until no packet waits, for so many seconds at most; return whether none waits."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.serve()
            if self._turn.left:
                return True
        return False

    def close(self) -> None:
        """Give the queue back: the kernel drops what waits in it."""
        self._queue.unbind()

    def _receive(self, packet: Any) -> None:  # noqa: ANN401 - netfilterqueue is not typed
        self.received += 1
        given: Verdict | None = None

        def give(verdict: Verdict) -> None:
            nonlocal given
            self._give(packet, verdict)
            given = verdict

        try:
            arrival = Arrival(
                packet.get_payload(),
                incoming=self._name(packet.indev) if packet.indev else "",
                outgoing=self._name(packet.outdev) if packet.outdev else "",
                hook=_HOOKS[packet.hook],
                mark=packet.get_mark(),
                time=time.time(),
            )
            self._handle(arrival, give)
            if given is None:
                raise QueueError("the packet got no verdict")
        except Exception as error:  # noqa: BLE001 - whatever it was, the packet must get its verdict
            self.faults += 1
            if given is None:
                self._give(packet, Verdict.BLOCK)
            self._fault(error, given)

    def _give(self, packet: Any, verdict: Verdict) -> None:  # noqa: ANN401 - as above
        match verdict:
            case Verdict.ACCEPT:
                # At the output hook another mark would make the kernel route the packet again.
                if packet.hook == Hook.POSTROUTING:
                    packet.set_mark(packet.get_mark() | self._passed)
                packet.accept()
            case Verdict.REDIRECT:
                packet.set_mark(packet.get_mark() | self._redirected)
                packet.accept()
            case Verdict.BLOCK:
                packet.drop()
            case _:
                assert_never(verdict)


class _Turn:
    """A socket that has nothing more after `left` packets.

    NetfilterQueue reads until nothing waits. While a program sends STUN faster than we give verdicts, that is never:
    the daemon would not see that it is to stop, that rules were flushed, or that the VPN has gone.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.left = 0

    def recv(self, size: int) -> bytes:
        if not self.left:
            raise BlockingIOError(EAGAIN, "the turn is over")
        received = os.read(self._descriptor, size)
        self.left -= 1
        return received


def listener(number: int) -> int | None:
    """Return the netlink port of whoever listens on a queue in this network namespace, or None."""
    return listeners().get(number)


def listeners() -> dict[int, int]:
    """Return the netlink port of the listener on each queue, or nothing if permission is denied: root may read it."""
    return {row.queue: row.port for row in proc.rows()}

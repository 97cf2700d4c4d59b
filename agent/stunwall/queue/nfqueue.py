"""Packets from the kernel's queue, each with one verdict (netfilterqueue)."""

import os
import time
import warnings
from collections.abc import Callable
from typing import Any, Protocol, assert_never

from netfilterqueue import COPY_PACKET, NetfilterQueue

from stunwall.model import Answered, Arrival, Hook, Plain, StunwallError, Verdict
from stunwall.queue import proc

_LENGTH = 1024  # packets that may wait; the kernel drops the rest, and counts it
# Bytes of a packet that the kernel hands over, less than its default. NetfilterQueue 1.1 receives into 4096 bytes: a
# larger message, as of a packet of 4 kB with a mark, is thrown away, never gets a verdict and keeps its place in the
# queue for good. With this range the message always fits, and the record keeps no more of a packet.
_COPY_RANGE = 2048
# Packets that get a verdict before the loop serves its other parts: some 3 ms of work.
_TURN = 32
# Packets that have their verdict and wait for the rest: a page's that asks some servers at once, and 3 ms of work.
_LATER = 16
_NOTHING = Answered()
_HOOKS = {hook.value: hook for hook in Hook}

Give = Callable[[Verdict], None]
# Bytes, hook, indexes of the interfaces by which it came in and goes out (0 for none), mark, and when that was.
_Taken = tuple[bytes, int, int, int, int, float]


class Handler(Protocol):
    """Decides on packets, and carries out what follows. What its methods raise is a fault: one for a packet."""

    def decide(self, packet: bytes, hook: int, incoming: int, outgoing: int) -> tuple[Verdict, Plain] | None:
        """Return the verdict of a plain request that can have it at once, None for any other packet.

        `incoming` and `outgoing` are the indexes of interfaces, 0 for none.
        """

    def answer(self, verdict: Verdict, request: Plain, outgoing: int) -> Answered:
        """Do for a plain request, which has its verdict, what somebody waits for."""

    def finish(self, arrival: Arrival, answered: Answered) -> None:
        """Do the rest for it: called later, in the packets' order, while nothing of the network has changed."""

    def handle(self, arrival: Arrival, give: Give) -> None:
        """Give any other packet its verdict, and do all that follows."""

    def fault(self, error: Exception, verdict: Verdict | None) -> None:
        """Take what was raised, and the verdict that the packet had by then, None if it had none."""


class _Nobody:
    """Blocks everything: a daemon before may have left rules that hand packets over while the queue is taken."""

    def decide(self, *_: object) -> None:
        return None

    def answer(self, *_: object) -> Answered:
        return _NOTHING

    def finish(self, *_: object) -> None:
        pass

    def handle(self, arrival: Arrival, give: Give) -> None:
        give(Verdict.BLOCK)

    def fault(self, *_: object) -> None:
        pass


class _TurnIsOver(Exception):  # noqa: N818 - no error
    """Ends `NetfilterQueue.run`."""


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
        self._handler: Handler = _Nobody()
        self._name: Callable[[int], str] = str
        self._left = 0  # packets until the turn is over
        # Packets with their verdict that are to be finished, and what was raised when they were answered.
        self._later: list[tuple[_Taken, Verdict, Answered, Exception | None]] = []
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
            # So that `close`, in a flood, does not wait for an acknowledgement that found no place in the socket.
            os.set_blocking(self.fileno(), False)
        except OSError as error:
            raise QueueError(
                f"cannot listen on queue {number}: {error}. It needs root (CAP_NET_ADMIN), a kernel with "
                "CONFIG_NETFILTER_NETLINK_QUEUE (module nfnetlink_queue), and a queue number that no other "
                "program has (`queue` in the configuration)"
            ) from error

    def fileno(self) -> int:
        """Return the descriptor that is readable while packets wait."""
        return int(self._queue.get_fd())

    def serve_with(self, handler: Handler, name: Callable[[int], str]) -> None:
        """Hand each packet to `handler` from now on, none before. `name`: returns an interface's name by its index."""
        self._handler = handler
        self._name = name

    def serve(self) -> bool:
        """Give verdicts on the packets that wait, but not on too many, and return whether none waits.

        If more wait, the descriptor stays readable: while a program sends STUN faster than verdicts are given, the
        daemon would else not see that it is to stop, that rules were flushed, or that the VPN has gone.
        """
        self._left = _TURN
        try:
            self._queue.run(block=False)
        except _TurnIsOver:
            return False
        return True

    def finish(self) -> None:
        """Do the rest for packets that have their verdict. Call it once none has come for a while, and before anything
        that the decision depended on changes."""
        while self._later:
            taken, given, answered, error = self._later.pop(0)
            try:
                self._handler.finish(self._arrival(*taken), answered)
            except Exception as raised:  # noqa: BLE001 - whatever it was, the others have their turn
                error = raised
            if error is not None:
                self._fail(None, error, given)

    def serve_all(self, seconds: float) -> bool:
        """Give verdicts until no packet waits, for so many seconds at most, and `finish`; return whether none waits."""
        end = time.monotonic() + seconds
        done = False
        while not done and time.monotonic() < end:
            done = self.serve()
        self.finish()
        return done

    def close(self) -> None:
        """Give the queue back: the kernel drops what waits in it."""
        self._queue.unbind()

    def _receive(self, packet: Any) -> None:  # noqa: ANN401 - netfilterqueue is not typed
        # Somebody waits for what is done here, mostly after a while without packets: each call takes some 6 µs then.
        self.received += 1
        given: Verdict | None = None
        try:
            content, hook, incoming, outgoing = packet.get_payload(), packet.hook, packet.indev, packet.outdev
            taken = content, hook, incoming, outgoing, packet.get_mark(), time.time()
            decided = self._handler.decide(content, hook, incoming, outgoing)
            if decided is not None:
                verdict, request = decided
                self._give(packet, verdict)
                given = verdict
                answered, error = _NOTHING, None
                try:
                    answered = self._handler.answer(verdict, request, outgoing)
                except Exception as raised:  # noqa: BLE001 - as below
                    error = raised
                self._later.append((taken, verdict, answered, error))
        except Exception as raised:  # noqa: BLE001 - whatever it was, the packet must get its verdict
            self._fail(packet, raised, given)
        else:
            if decided is None:
                self.finish()  # the record keeps their order
                self._handle(packet, taken)
            elif len(self._later) >= _LATER:
                self.finish()
        self._left -= 1
        if not self._left:
            raise _TurnIsOver

    def _handle(self, packet: Any, taken: _Taken) -> None:  # noqa: ANN401 - as above
        given: Verdict | None = None

        def give(verdict: Verdict) -> None:
            nonlocal given
            self._give(packet, verdict)
            given = verdict

        try:
            self._handler.handle(self._arrival(*taken), give)
            if given is None:
                raise QueueError("the packet got no verdict")
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(packet, error, given)

    def _fail(self, packet: Any, error: Exception, given: Verdict | None) -> None:  # noqa: ANN401 - as above
        self.faults += 1
        if given is None:
            self._give(packet, Verdict.BLOCK)
        self._handler.fault(error, given)

    def _arrival(
        self, content: bytes, hook: int, incoming: int, outgoing: int, mark: int, when: float
    ) -> Arrival:
        return Arrival(
            content,
            incoming=self._name(incoming) if incoming else "",
            outgoing=self._name(outgoing) if outgoing else "",
            hook=_HOOKS[hook],
            mark=mark,
            time=when,
        )

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


def listener(number: int) -> int | None:
    """Return the netlink port of whoever listens on a queue in this network namespace, or None."""
    return listeners().get(number)


def listeners() -> dict[int, int]:
    """Return the netlink port of the listener on each queue, or nothing if permission is denied: root may read it."""
    return {row.queue: row.port for row in proc.rows()}

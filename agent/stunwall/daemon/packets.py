"""One queued packet: judged, and what judge() returned carried out."""

import os
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple

from stunwall.config import Config, OnBlock
from stunwall.daemon import systemd
from stunwall.daemon.answers import Answers
from stunwall.daemon.checks import Checks
from stunwall.daemon.sync import NetworkSync
from stunwall.judge import Judgement, judge_parsed, parsed
from stunwall.model import EXPOSED, Arrival, Datagram, Event, Hook, Plain, Reason, Refusal, Sender, Verdict
from stunwall.policy import passes
from stunwall.queue.nfqueue import Give
from stunwall.queue.probe import Probe
from stunwall.queue.refusal import RefusalSender
from stunwall.record.writer import RecordWriter
from stunwall.sockets.diag import SocketLookup
from stunwall.sockets.origins import Origins
from stunwall.stun import plain
from stunwall.stun.detect import mapped_address

KEPT = 10  # exposures that `status` shows; the record has them all
# Seconds: a client whose answer was dropped repeats its request for so long (RFC 8489 §6.2.1: Rc 7, Rm 16, RTO 500 ms).
_REPEATED = 39.5
# Seconds without a packet, after which the next one is taken for the first of a program, and for no part of a flood.
_PAUSE = 0.001


@dataclass(frozen=True, slots=True)
class Exposure:
    """A server outside the VPN has seen `address`, "" if its response did not say. `time` is in Unix seconds."""

    time: float
    address: str
    server: str


class _Begun(NamedTuple):
    """What was done for a packet: it is refused, its socket is looked up."""

    refused: bool = False
    looked_up: bool = False


class PacketHandler:
    """Gives every packet its verdict, sends the refusal and records it.

    Args:
        config: may be replaced.
        origins: are looked up for the first segments of TCP connections.
        problem: is called with what is wrong.
    """

    def __init__(
        self,
        config: Config,
        sync: NetworkSync,
        probe: Probe,
        refusals: RefusalSender,
        sockets: SocketLookup,
        origins: Origins,
        checks: Checks,
        writer: RecordWriter,
        problem: Callable[[str], None],
    ) -> None:
        self.config = config
        self.unanswered = 0
        """Blocked packets whose refusal was not sent: it could not be, or their sender has had too many."""
        self.unreadable = 0
        """Blocked packets that could not be parsed."""
        self.exposures: list[Exposure] = []
        """The last responses that proved an exposure."""
        self.exposed_why = ""
        """What the first of those proved that `exposed_left` is about."""
        self._answers = Answers()
        self._last = 0.0  # when the last packet was judged, in seconds of the monotonic clock
        self._exposed_until = 0.0  # seconds of the monotonic clock
        self._sync = sync
        self._probe = probe
        self._refusals = refusals
        self._sockets = sockets
        self._origins = origins
        self._checks = checks
        self._writer = writer
        self._problem = problem

    def handle(self, arrival: Arrival, give: Give) -> None:
        """Give a packet its verdict and carry out what follows. The verdict waits for that only where it must."""
        if self._probe.matches(arrival.packet):
            give(Verdict.BLOCK)
            systemd.notify("WATCHDOG=1")
            return
        request = None if self._checks.running else plain.read(arrival.packet)
        verdict = None if request is None else self._verdict(request, arrival)
        if request is None or verdict is None:
            self._take_apart(arrival, give)
            return
        give(verdict)
        begun = _Begun()
        try:
            begun = self._begin(request, verdict, arrival)
        finally:
            self._take_apart(arrival, give, begun)

    def _take_apart(self, arrival: Arrival, give: Give, begun: _Begun | None = None) -> None:
        """Carry out what judge() returns. `begun`: what was done for a packet that has its verdict."""
        datagram = parsed(arrival.packet)
        arrival = self._look_up(datagram, arrival)
        judgement = judge_parsed(datagram, arrival, self._sync.view, self.config)
        # Nothing leaves outside the VPN that could not be recorded. A TCP connection is reset first: while its segment
        # is in the queue, the kernel sends no part of it again (net/ipv4/tcp_output.c, skb_still_in_host_queue).
        reset = judgement.refusal is not None and judgement.refusal.blocked.tcp is not None
        if begun is not None:
            self._carry_out(judgement, arrival, begun)
        elif judgement.verdict is Verdict.ACCEPT or reset:
            self._carry_out(judgement, arrival)
            give(judgement.verdict)
        else:
            give(judgement.verdict)
            self._carry_out(judgement, arrival)

    def _verdict(self, request: Plain, arrival: Arrival) -> Verdict | None:
        """Return the verdict of judge() on a plain request, None for one that is recorded before it passes."""
        if arrival.hook is Hook.PREROUTING:
            return None
        passing = passes(request.version, arrival, self._sync.view, self.config)
        if passing is None:
            return Verdict.BLOCK
        return None if passing.verdict is Verdict.ACCEPT else passing.verdict

    def _begin(self, request: Plain, verdict: Verdict, arrival: Arrival) -> _Begun:
        """Do for a plain request what somebody waits for; the rest takes as long again."""
        if arrival.incoming:
            return _Begun()
        self._sockets.begin_plain(request, arrival.outgoing)
        blocked = verdict is Verdict.BLOCK and self.config.on_block is not OnBlock.DROP
        refused = blocked and self._answers.suffice(time.monotonic())
        if refused:
            self._send(lambda: self._refusals.send_plain(request, plain.refusal(request)))
        self._let_others_run()
        return _Begun(refused, looked_up=True)

    def _carry_out(self, judgement: Judgement, arrival: Arrival, begun: _Begun | None = None) -> None:
        """Refuse a packet, as far as that is not done and its sender has answers left, and record it."""
        sender = None
        try:
            refused, looked_up = begun or self._tell(judgement, arrival)
            sender = self._sender() if looked_up else None
            refusal = judgement.refusal
            if refusal is not None and judgement.would is None:
                enough = self._answers.take(_origin(refusal, sender), time.monotonic())
                if not refused and enough:
                    self._send(lambda: self._refusals.send(refusal))
                elif not refused:
                    self.unanswered += 1
        finally:
            self._record(judgement, sender, arrival)

    def _tell(self, judgement: Judgement, arrival: Arrival) -> _Begun:
        """Report and refuse a packet, unless somebody had too many answers lately."""
        datagram, refusal = judgement.datagram, judgement.refusal
        looked_up = False
        if judgement.make_event is not None and datagram is not None and not arrival.incoming:
            # Before the answer: who is refused closes the socket.
            self._sockets.begin(datagram, arrival.outgoing)
            looked_up = True
        if judgement.would is not None and datagram is not None:
            # Before the answer, so that the report is there when the page has its candidate.
            self._checks.tell(datagram, arrival, judgement)
        if refusal is None or (judgement.would is None and not self._answers.suffice(time.monotonic())):
            return _Begun(refused=False, looked_up=looked_up)
        self._send(lambda: self._refusals.send(refusal))
        return _Begun(refused=True, looked_up=looked_up)

    def _send(self, send: Callable[[], None]) -> None:
        try:
            send()
        except OSError:
            # The sender waits for its own time-out then; the packet is blocked all the same.
            self.unanswered += 1

    def _let_others_run(self) -> None:
        """Let the program that has its answer go on, before the packet is recorded: it may wait for this processor.

        Not between packets that come at once, as in a flood: whoever sends them would run each time.
        """
        now = time.monotonic()
        if now - self._last > _PAUSE:
            os.sched_yield()
        self._last = now

    def _record(self, judgement: Judgement, sender: Sender | None, arrival: Arrival) -> None:
        if judgement.reason is Reason.UNREADABLE:
            self.unreadable += 1
        if (wrong := judgement.retracted) is not None:
            self._writer.retract(wrong)
        if (event := judgement.event) is not None:
            self._writer.record(event, sender, arrival.mark & ~self.config.mark_mask)
            if event.verdict == EXPOSED:
                self._expose(event)

    @property
    def exposed_left(self) -> float:
        """The seconds for which a program may still repeat a request that got out; 0 if none was proven."""
        return max(0.0, self._exposed_until - time.monotonic())

    def fault(self, error: BaseException, verdict: Verdict | None) -> None:
        """Report a packet that `handle` failed on; without a verdict, the queue has dropped it."""
        what = f"judged and was {Verdict.BLOCK}" if verdict is None else f"recorded; it was {verdict}"
        self._problem(f"a packet could not be {what} ({type(error).__name__}: {error})")

    def _look_up(self, datagram: Datagram | None, arrival: Arrival) -> Arrival:
        """Return the packet with what else the verdict depends on: what the kernel says of its socket, a check."""
        if datagram is None:
            return arrival
        if arrival.hook is Hook.PREROUTING:
            return arrival._replace(awaited=self._sockets.awaited(datagram, arrival.incoming))
        if datagram.tcp is None:
            if self._checks.running:
                return arrival._replace(checked=self._checks.find(datagram, arrival))
        elif arrival.hook is Hook.OUTPUT and datagram.tcp.opens:
            return arrival._replace(origin=self._origins.find(datagram, arrival))
        return arrival

    def _sender(self) -> Sender | None:
        """Return whose packet the kernel has looked up, None if it is not known."""
        found = self._sockets.found()
        if found is None:
            return None
        return Sender(found.uid, found.cgroup, found.inode, found.interface)

    def _expose(self, event: Event) -> None:
        found = Exposure(event.time, mapped_address(event.packet), event.destination)
        others = [
            each for each in self.exposures if (each.address, each.server) != (found.address, found.server)
        ]
        self.exposures = [*others, found][-KEPT:]
        if not self.exposed_left:
            seen = found.address or "this machine's address"
            self.exposed_why = f"the server {found.server} has seen {seen} in a request that got out unseen"
        self._exposed_until = time.monotonic() + _REPEATED


def _origin(refusal: Refusal, sender: Sender | None) -> Hashable:
    """Return whose answers a packet takes: all programs that have closed their sockets at once are one."""
    if sender is not None:
        return sender.uid, sender.cgroup
    return (refusal.incoming, refusal.blocked.source) if refusal.incoming else ""

"""One queued packet: judged, and what judge() returned carried out."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from stunwall.config import Config, OnBlock
from stunwall.daemon import systemd
from stunwall.daemon.answers import Answers
from stunwall.daemon.checks import Checks
from stunwall.daemon.sync import NetworkSync
from stunwall.judge import Judgement, judge_parsed, parsed
from stunwall.model import (
    EXPOSED,
    Answered,
    Arrival,
    Datagram,
    Event,
    Hook,
    Plain,
    Reason,
    Refusal,
    Sender,
    Verdict,
)
from stunwall.policy import View, passes
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
_PREROUTING = Hook.PREROUTING.value
_LOOPBACK = 1  # the index of "lo", by which the probe goes (net/net_namespace.h: LOOPBACK_IFINDEX)


@dataclass(frozen=True, slots=True)
class Exposure:
    """A server outside the VPN has seen `address`, "" if its response did not say. `time` is in Unix seconds."""

    time: float
    address: str
    server: str


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
        self._view: View | None = None
        self._config = config
        # Verdicts on plain requests by that view and configuration; by their length, hook, and interface's index.
        self._decided: dict[tuple[int, int, int], Verdict] = {}
        self._exposed_until = 0.0  # seconds of the monotonic clock
        self._sync = sync
        self._probe = probe
        self._refusals = refusals
        self._sockets = sockets
        self._origins = origins
        self._checks = checks
        self._writer = writer
        self._problem = problem

    def decide(self, packet: bytes, hook: int, incoming: int, outgoing: int) -> tuple[Verdict, Plain] | None:
        """Return the verdict of judge() on a plain request of this machine, None for a packet that is to be handled.

        That is one on which more depends than on its interface, as on a check, or which is recorded before it passes.
        """
        request = plain.read(packet)
        if request is None or incoming or outgoing == _LOOPBACK or hook == _PREROUTING:
            return None
        if time.monotonic() < self._checks.until:
            return None
        view, config = self._sync.view, self.config
        if view is not self._view or config is not self._config:
            self._view, self._config, self._decided = view, config, {}
        case = len(packet), hook, outgoing
        verdict = self._decided.get(case)
        if verdict is None:
            name = self._sync.names.name(outgoing)
            passing = passes(request.version, Hook(hook), name, view, config)
            verdict = self._decided[case] = Verdict.BLOCK if passing is None else passing.verdict
        return None if verdict is Verdict.ACCEPT else (verdict, request)

    def answer(self, verdict: Verdict, request: Plain, outgoing: int) -> Answered:
        """Look up the socket of a request on which `decide` has decided, and refuse it if it is blocked."""
        question = self._sockets.begin_plain(request, outgoing)
        if verdict is not Verdict.BLOCK or self.config.on_block is OnBlock.DROP:
            return Answered(question=question)
        refused = self._answers.suffice(time.monotonic())
        if refused:
            self._send(lambda: self._refusals.send_plain(request, plain.refusal(request)))
        return Answered(refused, question)

    def finish(self, arrival: Arrival, answered: Answered) -> None:
        """Record a request that was answered, by the same view and configuration."""
        datagram = parsed(arrival.packet)
        self._carry_out(judge_parsed(datagram, arrival, self._sync.view, self.config), arrival, answered)

    def handle(self, arrival: Arrival, give: Give) -> None:
        """Give a packet its verdict and carry out what follows. The verdict waits for that only where it must."""
        if self._probe.matches(arrival.packet):
            give(Verdict.BLOCK)
            systemd.notify("WATCHDOG=1")
            return
        datagram = parsed(arrival.packet)
        arrival = self._look_up(datagram, arrival)
        judgement = judge_parsed(datagram, arrival, self._sync.view, self.config)
        # Nothing leaves outside the VPN that could not be recorded. A TCP connection is reset first: while its segment
        # is in the queue, the kernel sends no part of it again (net/ipv4/tcp_output.c, skb_still_in_host_queue).
        reset = judgement.refusal is not None and judgement.refusal.blocked.tcp is not None
        if judgement.verdict is Verdict.ACCEPT or reset:
            self._carry_out(judgement, arrival)
            give(judgement.verdict)
        else:
            give(judgement.verdict)
            self._carry_out(judgement, arrival)

    def _carry_out(self, judgement: Judgement, arrival: Arrival, answered: Answered | None = None) -> None:
        """Refuse a packet, as far as that is not done and its sender has answers left, and record it."""
        sender = None
        try:
            refused, question = answered or self._tell(judgement, arrival)
            sender = self._sender(question) if question else None
            refusal = judgement.refusal
            if refusal is not None and judgement.would is None:
                enough = self._answers.take(_origin(refusal, sender), time.monotonic())
                if not refused and enough:
                    self._send(lambda: self._refusals.send(refusal))
                elif not refused:
                    self.unanswered += 1
        finally:
            self._record(judgement, sender, arrival)

    def _tell(self, judgement: Judgement, arrival: Arrival) -> Answered:
        """Report and refuse a packet, unless somebody had too many answers lately."""
        datagram, refusal = judgement.datagram, judgement.refusal
        question = 0
        if judgement.make_event is not None and datagram is not None and not arrival.incoming:
            # Before the answer: who is refused closes the socket.
            question = self._sockets.begin(datagram, arrival.outgoing)
        if judgement.would is not None and datagram is not None:
            # Before the answer, so that the report is there when the page has its candidate.
            self._checks.tell(datagram, arrival, judgement)
        if refusal is None or (judgement.would is None and not self._answers.suffice(time.monotonic())):
            return Answered(question=question)
        self._send(lambda: self._refusals.send(refusal))
        return Answered(True, question)

    def _send(self, send: Callable[[], None]) -> None:
        try:
            send()
        except OSError:
            # The sender waits for its own time-out then; the packet is blocked all the same.
            self.unanswered += 1

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
        """Report a packet with which something went wrong; without a verdict, the queue has dropped it."""
        what = (
            f"judged and was {Verdict.BLOCK}"
            if verdict is None
            else f"answered or recorded; it was {verdict}"
        )
        self._problem(f"a packet could not be {what} ({type(error).__name__}: {error})")

    def _look_up(self, datagram: Datagram | None, arrival: Arrival) -> Arrival:
        """Return the packet with what else the verdict depends on: what the kernel says of its socket, a check."""
        if datagram is None:
            return arrival
        if arrival.hook is Hook.PREROUTING:
            return arrival._replace(awaited=self._sockets.awaited(datagram, arrival.incoming))
        if datagram.tcp is None:
            if time.monotonic() < self._checks.until:
                return arrival._replace(checked=self._checks.find(datagram, arrival))
        elif arrival.hook is Hook.OUTPUT and datagram.tcp.opens:
            return arrival._replace(origin=self._origins.find(datagram, arrival))
        return arrival

    def _sender(self, question: int) -> Sender | None:
        """Return whose packet the kernel has looked up, None if it is not known."""
        found = self._sockets.found(question)
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

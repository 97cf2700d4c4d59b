"""One queued packet: judged, and what judge() returned carried out."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from stunwall.config import Config
from stunwall.daemon import systemd
from stunwall.daemon.sync import NetworkSync
from stunwall.judge import judge
from stunwall.model import EXPOSED, Arrival, Event, Hook, Reason, Refusal, Verdict
from stunwall.queue.probe import Probe
from stunwall.queue.refusal import RefusalSender
from stunwall.record.writer import RecordWriter
from stunwall.sockets.diag import SocketLookup
from stunwall.sockets.origins import Origins
from stunwall.stun import packet
from stunwall.stun.detect import mapped_address

KEPT = 10  # exposures that `status` shows; the record has them all


@dataclass(frozen=True, slots=True)
class Exposure:
    """A server outside the VPN has seen `address`, "" if its response did not say. `time` is in Unix seconds."""

    time: float
    address: str
    server: str


class PacketHandler:
    """Gives every packet its verdict, records it and sends the refusal.

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
        writer: RecordWriter,
        problem: Callable[[str], None],
    ) -> None:
        self.config = config
        self.unanswered = 0
        """Blocked packets whose refusal could not be sent."""
        self.unreadable = 0
        """Blocked packets that could not be parsed."""
        self.exposures: list[Exposure] = []
        """The last responses that proved an exposure."""
        self._sync = sync
        self._probe = probe
        self._refusals = refusals
        self._sockets = sockets
        self._origins = origins
        self._writer = writer
        self._problem = problem

    def handle(self, arrival: Arrival) -> Verdict:
        """Return the verdict on a packet."""
        if self._probe.matches(arrival.packet):
            systemd.notify("WATCHDOG=1")
            return Verdict.BLOCK
        judgement = judge(self._look_up(arrival), self._sync.view, self.config)
        if judgement.reason is Reason.UNREADABLE:
            self.unreadable += 1
        if judgement.retracted is not None:
            self._writer.retract(judgement.retracted)
        if judgement.event is not None:
            self._writer.record(judgement.event)
            if judgement.event.verdict == EXPOSED:
                self._expose(judgement.event)
        if judgement.refusal is not None:
            self._refuse(judgement.refusal)
        return judgement.verdict

    def fault(self, error: BaseException) -> None:
        """Report a packet that `handle` failed on; the queue has dropped it."""
        name = type(error).__name__
        self._problem(f"a packet could not be judged and was blocked ({name}: {error})")

    def _look_up(self, arrival: Arrival) -> Arrival:
        """Return the packet with what the kernel says of its socket, if the verdict depends on that."""
        if arrival.hook is Hook.POSTROUTING:
            return arrival
        try:
            datagram = packet.parse(arrival.packet)
        except packet.PacketError:
            return arrival
        if arrival.hook is Hook.PREROUTING:
            return replace(arrival, awaited=self._sockets.awaited(datagram, arrival.incoming))
        if datagram.tcp is not None and datagram.tcp.opens:
            return replace(arrival, origin=self._origins.find(datagram, arrival))
        return arrival

    def _expose(self, event: Event) -> None:
        found = Exposure(event.time, mapped_address(event.packet), event.destination)
        others = [
            each for each in self.exposures if (each.address, each.server) != (found.address, found.server)
        ]
        self.exposures = [*others, found][-KEPT:]

    def _refuse(self, refusal: Refusal) -> None:
        try:
            self._refusals.send(refusal)
        except OSError:
            # The sender waits for its own time-out then; the packet is blocked all the same.
            self.unanswered += 1

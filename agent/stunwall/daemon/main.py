"""stunwalld: wires the parts together and runs until it is told to stop."""

import argparse
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from errno import ENETUNREACH
from functools import partial
from pathlib import Path

from stunwall import __version__, config, policy
from stunwall.config import Config, Mode, WhenVpnDown
from stunwall.control.server import Control, Status
from stunwall.daemon import systemd
from stunwall.daemon.commands import Commands, plain
from stunwall.daemon.folders import give_to_group, make_folder
from stunwall.daemon.journal import Log
from stunwall.daemon.sync import Network
from stunwall.model import GAP, Arrival, Decision, Reason, StunwallError, Verdict
from stunwall.queue import nfqueue
from stunwall.queue.probe import Heartbeat
from stunwall.queue.refusal import Refuser
from stunwall.record.entry import note, of_packet
from stunwall.record.events import Recorder
from stunwall.stun import detect, packet
from stunwall.stun.detect import Detection
from stunwall.vpn.policy_route import Detour
from stunwall.wall import firewall
from stunwall.wall.pause import Pause
from stunwall.wall.repair import Gap, Sentry

_RETRY = (
    1.0  # seconds until links that could not be read, or a wall that could not be put up, are tried again
)
_BEATS = 3  # heartbeats in the time that systemd's watchdog gives: one that is lost in a flood is no death
# What is no attempt to leave outside the VPN, or is judged once more.
_UNRECORDED = frozenset({Reason.THROUGH_VPN, Reason.WALL_DECIDES})


class Daemon:
    """The running agent: owns every part, and answers the selector's calls."""

    def __init__(self, settings: Config, file: Path, log: Log) -> None:
        self._config = settings
        self._file = file
        self._log = log
        self._started = time.time()
        self._problems: dict[str, str] = {}  # by the part that has it
        self._unanswered = 0
        self._unreadable = 0
        self._redirected = firewall.mark_bits(settings.mark_mask)[0]
        self._selector = selectors.DefaultSelector()
        self._pause = Pause()
        self._beat_period = (systemd.watchdog() or 0.0) / _BEATS
        self._next_beat = 0.0  # seconds of the monotonic clock
        self._received_before = 0  # packets from the queue before its counting rules were put in
        self._refuser: Refuser
        self._recorder: Recorder
        self._network: Network
        self._sentry: Sentry
        self._heartbeat: Heartbeat
        self._control: Control
        self._queue: nfqueue.Queue

    def run(self, stopping: socket.socket, leave_wall: bool) -> None:
        """Put the wall up, open its door, and serve until `stopping` becomes readable.

        Raises StunwallError if it cannot start. Whatever happens, the wall stays shut unless this returns, and
        with `leave_wall` then too.
        """
        with ExitStack() as stack:
            self._open_parts(stack)
            self._sentry.put_up()
            self._take_over_pause()
            stack.callback(self._open_control().close)
            self._ready()
            self._serve(stopping)
            firewall.close_door()
        leave_wall = leave_wall or self._config.leave_wall_on_stop
        if not leave_wall:
            firewall.remove()
        self._log.notice(
            "stopped; the wall stays up: STUN outside the VPN is dropped"
            if leave_wall
            else "stopped; the wall is removed: STUN is free to leave by any interface"
        )

    def _open_parts(self, stack: ExitStack) -> None:
        for folder, mode in ((self._config.state_dir, 0o750), (self._config.run_dir, 0o755)):
            make_folder(folder, mode)
        # The queue first: if another daemon has it, nothing has been touched yet.
        _check_alone(self._config.queue)
        mask = self._config.mark_mask
        self._queue = nfqueue.Queue(self._config.queue, self._redirected, self._judge, self._fault)
        stack.callback(self._queue.close)
        self._refuser = Refuser(mask)
        stack.callback(self._refuser.close)
        self._recorder = Recorder(
            self._config.state_dir, self._config.log, self._log.event, partial(self._problem, "record")
        )
        stack.callback(self._recorder.close)
        self._network = Network(self._config, self._log.notice, partial(self._problem, "links"))
        stack.callback(self._network.close)
        self._sentry = Sentry(
            self._network, self._pause, self._open_door, self._tell_gap, partial(self._problem, "wall")
        )
        stack.callback(self._sentry.close)
        self._heartbeat = Heartbeat(mask)
        stack.callback(self._heartbeat.close)

    def _open_door(self) -> None:
        firewall.open_door(self._config.queue)
        self._received_before = self._queue.received

    def _tell_gap(self, gap: Gap) -> None:
        event = replace(note(GAP, gap.sentence), time=gap.start, last_time=gap.end)
        self._recorder.record(event)

    def _open_control(self) -> Control:
        commands = Commands(
            self._file, self._config, self._pause, self._configure, self._recorder.record, self._status
        )
        self._control = Control(
            self._config.run_dir, self._selector, commands.answer, for_all=self._config.status_for_all
        )
        give_to_group(self._config.run_dir / "control.sock")
        return self._control

    def _take_over_pause(self) -> None:
        wall = firewall.read()
        if wall is not None and wall.paused:
            self._pause.take_over(wall.paused)

    def _configure(self, settings: Config) -> None:
        self._network.configure(settings)
        self._recorder.keep = settings.log
        self._control.admit(for_all=settings.status_for_all)
        changed = ", ".join(config.differing(self._config, settings)) or "nothing"
        self._config = settings
        self._log.notice(f"the configuration was read again; changed: {changed}")

    def _ready(self) -> None:
        does = "moved into it" if self._config.mode is Mode.REDIRECT else "blocked"
        self._log.notice(
            f"ready: STUN outside the VPN is {does} (queue {self._config.queue}, "
            f"VPN: {', '.join(sorted(self._network.vpn)) or 'none, so all STUN is blocked'})"
        )
        systemd.notify("READY=1")

    def _serve(self, stopping: socket.socket) -> None:
        self._selector.register(self._queue, selectors.EVENT_READ, self._queue.serve)
        self._selector.register(self._sentry, selectors.EVENT_READ, self._sentry.inspect)
        for source in self._network.sources():
            self._selector.register(source, selectors.EVENT_READ, self._follow)
        self._selector.register(stopping, selectors.EVENT_READ, None)
        while True:
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    return
                key.data()
            if self._network.troubled or self._sentry.troubled:
                self._follow()
            if self._pause.until and not self._pause.left:
                with suppress(StunwallError):  # the kernel has ended it already
                    self._pause.end()
                self._recorder.record(note("resumed", "its time is over"))
            if self._beat_period and time.monotonic() >= self._next_beat:
                self._beat()

    def _follow(self) -> None:
        # The wall first: sets can't be filled while there is none.
        self._sentry.inspect()
        self._network.follow()

    def _patience(self) -> float | None:
        """Return the seconds to wait for something to happen, None without end."""
        waits = []
        if self._network.troubled or self._sentry.troubled:
            waits.append(_RETRY)
        if self._pause.left:
            waits.append(self._pause.left)
        if self._beat_period:
            waits.append(max(0.0, self._next_beat - time.monotonic()))
        return min(waits, default=None)

    def _beat(self) -> None:
        """Send a heartbeat through the wall and the queue; systemd hears of us when it has come back."""
        self._next_beat = time.monotonic() + self._beat_period
        try:
            self._heartbeat.send()
        except OSError as error:
            self._problem(
                "watchdog", f"the queue can't be watched: no packet leaves by lo ({error.strerror})"
            )
            if error.errno == ENETUNREACH:  # lo is down: no other daemon would do better
                systemd.notify("WATCHDOG=1")
        else:
            self._problem("watchdog", "")

    def _judge(self, arrival: Arrival) -> Verdict:
        if self._heartbeat.is_in(arrival.packet):
            systemd.notify("WATCHDOG=1")
            return Verdict.BLOCK
        try:
            datagram = packet.parse(arrival.packet)
        except packet.PacketError:
            self._unreadable += 1
            return Verdict.BLOCK
        detection = detect.classify(datagram, self._config.guard_ports)
        view = policy.View(
            arrival.hook,
            arrival.outgoing,
            marked=bool(arrival.mark & self._redirected),
            forwarded=bool(arrival.incoming),
            vpn=self._network.vpn,
            families=self._network.families,
        )
        decision = policy.decide(detection, view, self._in_force())
        if detection is not None and decision.reason not in _UNRECORDED:
            if decision.reason is Reason.DEVICE_BOUND:
                # It was sent into the VPN a moment ago, and would not go: the record is of what became of it.
                redirected = Decision(Verdict.REDIRECT, Reason.REDIRECTED)
                self._recorder.retract(of_packet(redirected, detection, arrival))
            self._recorder.record(of_packet(decision, detection, arrival))
            # A packet that leaves by the interface it came in by has its sender out there, or a forged one.
            if decision.answer is not None and arrival.incoming != arrival.outgoing:
                self._refuse(detection, decision.answer, arrival.incoming)
        return decision.verdict

    def _refuse(self, detection: Detection, answer: bytes, incoming: str) -> None:
        try:
            self._refuser.refuse(detection.datagram, detection.framing, answer, incoming)
        except OSError:
            # The sender waits for its own time-out then; the packet is blocked all the same.
            self._unanswered += 1

    def _fault(self, error: BaseException) -> None:
        name = type(error).__name__
        self._problem("packets", f"a packet could not be judged and was blocked ({name}: {error})")

    def _problem(self, part: str, text: str) -> None:
        """Note what is wrong with a part, "" if nothing; a change is logged."""
        if text == self._problems.get(part, ""):
            return
        if text:
            self._problems[part] = text
            self._log.error(text)
        else:
            self._log.notice(f"well again: {self._problems.pop(part)}")

    @property
    def _state(self) -> str:
        # What lets STUN out comes first: "degraded" says that nothing leaks.
        if self._pause.left:
            return "paused"
        if not self._network.vpn and self._in_force().when_vpn_down is WhenVpnDown.ALLOW:
            return "open"
        if self._problems:
            return "degraded"
        return "protected" if self._network.vpn else "sealed"

    def _in_force(self) -> Config:
        """Return the configuration; while the network can't be read, 'no VPN is up' is not known, so no STUN passes."""
        if not self._network.troubled:
            return self._config
        return replace(self._config, when_vpn_down=WhenVpnDown.BLOCK)

    def _status(self) -> Status:
        wall = _wall()
        self._queue.serve()  # what the wall has counted and does not come now, never will
        return {
            "version": __version__,
            "pid": os.getpid(),
            "config": str(self._file),
            "started": self._started,
            "state": self._state,
            "paused_until": self._pause.until if self._pause.left else None,
            "problems": list(self._problems.values()),
            "mode": self._config.mode,
            "on_block": self._config.on_block,
            "when_vpn_down": self._config.when_vpn_down,
            "queue": self._config.queue,
            "mark_mask": self._config.mark_mask,
            "interfaces": [asdict(standing) for standing in self._network.standings],
            "redirects": sorted(self._network.families),
            "allow": [plain(rule) for rule in self._config.allow],
            "unrecorded": self._recorder.lost,
            "unanswered": self._unanswered,
            "unreadable": self._unreadable,
            "faults": self._queue.faults,
            "queue_overruns": max(0, wall.pop("queued", 0) + self._received_before - self._queue.received),
            "gaps": [asdict(gap) for gap in self._sentry.gaps],
            **wall,
        }


def _wall() -> Status:
    try:
        wall = firewall.read()
    except StunwallError as error:
        return {"wall": "unknown", "wall_error": str(error)}
    if wall is None:
        return {"wall": "down"}
    return {
        "wall": "up" if wall.whole else "damaged",
        "counters": wall.counters,
        "queued": sum(rule.packets or 0 for rule in wall.rules if rule.chain in firewall.DOORS),
    }


def _check_alone(queue: int) -> None:
    """Raise if a living daemon serves this namespace's wall already."""
    wall = firewall.read()
    if wall is not None and wall.queue is not None and wall.queue != queue and nfqueue.listener(wall.queue):
        raise StunwallError(
            f"another stunwalld guards this network namespace (queue {wall.queue}): stop that one first"
        )


def _signals() -> tuple[socket.socket, socket.socket]:
    """Return two sockets: the first becomes readable at SIGTERM or SIGINT, the second must stay open."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader, writer


def take_down(log: Log) -> None:
    """Remove what a daemon that has ended left in the kernel: the table, the routing rules and routes.

    Raises StunwallError, if one runs: it would put all of it back.
    """
    wall = firewall.read()
    if wall is not None and wall.queue is not None and (port := nfqueue.listener(wall.queue)):
        raise StunwallError(f"stunwalld runs (process {port}): stop it first, then this removes what is left")
    Detour(0, 0, log.notice).close()
    firewall.remove()
    log.notice("the wall is removed: STUN is free to leave by any interface")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="stunwalld",
        description="Blocks STUN that would leave outside the VPN, until SIGTERM or Ctrl-C.",
        epilog="Exits 0 stopped as told, 1 failed, 2 usage, 3 configuration, 4 rights.",
    )
    parser.add_argument(
        "--config", type=Path, default=config.DEFAULT_FILE, metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--version", action="version", version=f"stunwalld {__version__}")
    does = parser.add_mutually_exclusive_group()
    does.add_argument(
        "--leave-wall",
        action="store_true",
        help="leave the wall up when stopped: the service's unit decides whether it goes",
    )
    does.add_argument(
        "--take-down",
        action="store_true",
        help="remove what a stunwalld that has ended left in the kernel, and exit",
    )
    does.add_argument(
        "--stopped",
        action="store_true",
        help="as --take-down, but not with leave_wall_on_stop = true",
    )
    return parser.parse_args()


def main() -> None:
    """Run the command `stunwalld`. Exits 0 stopped as told, 1 failed, 2 usage, 3 configuration, 4 rights."""
    options = _options()
    log = Log(sys.stderr.fileno(), journal="JOURNAL_STREAM" in os.environ)
    stopping, _writer = _signals()
    try:
        settings = Config() if options.take_down else config.load(options.config)
        if options.take_down or (options.stopped and not settings.leave_wall_on_stop):
            take_down(log)
        elif not options.stopped:
            Daemon(settings, options.config, log).run(stopping, options.leave_wall)
    except StunwallError as error:
        log.error(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

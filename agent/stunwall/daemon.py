"""stunwalld: wires the parts together and runs until it is told to stop."""

import argparse
import grp
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from stunwall import __version__, config, detect, firewall, nfqueue, packet, policy
from stunwall.answer import Refuser
from stunwall.commands import Commands, note, plain
from stunwall.config import Config, Mode, WhenVpnDown
from stunwall.control import GROUP, Control, Status
from stunwall.detect import Detection
from stunwall.events import Recorder
from stunwall.log import Log
from stunwall.model import Arrival, Decision, Event, Reason, StunwallError, Verdict
from stunwall.network import Network
from stunwall.pause import Pause

_RETRY = 1.0  # seconds until links that could not be read are read again
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
        self._refuser: Refuser
        self._recorder: Recorder
        self._network: Network
        self._queue: nfqueue.Queue

    def run(self, stopping: socket.socket) -> None:
        """Put the wall up, open its door, and serve until `stopping` becomes readable.

        Raises StunwallError if it cannot start. Whatever happens, the wall stays shut unless this returns.
        """
        with ExitStack() as stack:
            self._open_parts(stack)
            self._network.put_up_the_wall()
            self._take_over_pause()
            firewall.open_door(self._config.queue)
            stack.callback(self._control().close)
            self._ready()
            self._serve(stopping)
            firewall.close_door()
        if not self._config.leave_wall_on_stop:
            firewall.remove()
        self._log.notice(
            "stopped; the wall stays up: STUN outside the VPN is dropped"
            if self._config.leave_wall_on_stop
            else "stopped; the wall is removed: STUN is free to leave by any interface"
        )

    def _open_parts(self, stack: ExitStack) -> None:
        for folder, mode in ((self._config.state_dir, 0o750), (self._config.run_dir, 0o755)):
            _make_folder(folder, mode)
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

    def _control(self) -> Control:
        commands = Commands(
            self._file, self._config, self._pause, self._configure, self._recorder.record, self._status
        )
        control = Control(
            self._config.run_dir, self._selector, commands.answer, for_all=self._config.status_for_all
        )
        _give_to_group(self._config.run_dir / "control.sock")
        return control

    def _take_over_pause(self) -> None:
        wall = firewall.read()
        if wall is not None and wall.paused:
            self._pause.take_over(wall.paused)

    def _configure(self, settings: Config) -> None:
        self._network.configure(settings)
        self._config = settings

    def _ready(self) -> None:
        does = "moved into it" if self._config.mode is Mode.REDIRECT else "blocked"
        self._log.notice(
            f"ready: STUN outside the VPN is {does} (queue {self._config.queue}, "
            f"VPN: {', '.join(sorted(self._network.vpn)) or 'none, so all STUN is blocked'})"
        )
        _notify("READY=1")

    def _serve(self, stopping: socket.socket) -> None:
        self._selector.register(self._queue, selectors.EVENT_READ, self._queue.serve)
        for source in self._network.sources():
            self._selector.register(source, selectors.EVENT_READ, self._network.follow)
        self._selector.register(stopping, selectors.EVENT_READ, None)
        while True:
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    return
                key.data()
            if self._network.troubled:
                self._network.follow()
            if self._pause.until and not self._pause.left:
                with suppress(StunwallError):  # the kernel has ended it already
                    self._pause.end()
                self._recorder.record(note("resumed", "its time is over"))

    def _patience(self) -> float | None:
        """Return the seconds to wait for something to happen, None without end."""
        if self._network.troubled:
            return _RETRY
        return self._pause.left or None

    def _judge(self, arrival: Arrival) -> Verdict:
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
                self._recorder.retract(_event(redirected, detection, arrival))
            self._recorder.record(_event(decision, detection, arrival))
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
            "interfaces": [asdict(standing) for standing in self._network.standings],
            "redirects": sorted(self._network.families),
            "allow": [plain(rule) for rule in self._config.allow],
            "unrecorded": self._recorder.lost,
            "unanswered": self._unanswered,
            "unreadable": self._unreadable,
            "faults": self._queue.faults,
            "queue_overruns": nfqueue.lost(self._config.queue),
            **_wall(),
        }


def _wall() -> Status:
    try:
        wall = firewall.read()
    except StunwallError as error:
        return {"wall": "unknown", "wall_error": str(error)}
    if wall is None:
        return {"wall": "down"}
    return {"wall": "up" if wall.whole else "damaged", "counters": wall.counters}


def _event(decision: Decision, detection: Detection, arrival: Arrival) -> Event:
    datagram = detection.datagram
    now = time.time()
    return Event(
        time=now,
        last_time=now,
        count=1,
        verdict=decision.verdict.value,
        reason=decision.reason.value,
        protocol=detection.protocol.value,
        method=detection.method,
        transport=datagram.transport.value,
        family=datagram.family,
        source=str(datagram.source),
        source_port=datagram.source_port,
        destination=str(datagram.destination),
        destination_port=datagram.destination_port,
        interface=arrival.outgoing,
        packet=arrival.packet,
    )


def _check_alone(queue: int) -> None:
    """Raise if a living daemon serves this namespace's wall already."""
    wall = firewall.read()
    if wall is not None and wall.queue is not None and wall.queue != queue and nfqueue.listener(wall.queue):
        raise StunwallError(
            f"another stunwalld guards this network namespace (queue {wall.queue}): stop that one first"
        )


def _make_folder(folder: Path, mode: int) -> None:
    try:
        if not folder.is_dir():
            folder.mkdir(mode=mode, parents=True)
            _give_to_group(folder)
    except OSError as error:
        raise StunwallError(
            f"cannot make the folder {folder}: {error.strerror}. Run as root, or set state_dir and run_dir"
        ) from error


def _give_to_group(path: Path) -> None:
    """Let the group `stunwall` read, where there is one; without it root alone can."""
    with suppress(KeyError, OSError):
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens where it did not start us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address.startswith("@") else address)
        notify.send(state.encode())


def _signals() -> tuple[socket.socket, socket.socket]:
    """Return two sockets: the first becomes readable at SIGTERM or SIGINT, the second must stay open."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader, writer


def main() -> None:
    """Run the command `stunwalld`. Exits 0 stopped as told, 1 failed, 2 usage, 3 configuration, 4 rights."""
    parser = argparse.ArgumentParser(
        prog="stunwalld",
        description="Blocks STUN that would leave outside the VPN, until SIGTERM or Ctrl-C.",
    )
    parser.add_argument(
        "--config", type=Path, default=config.DEFAULT_FILE, metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--version", action="version", version=f"stunwalld {__version__}")
    file = parser.parse_args().config
    log = Log(sys.stderr.fileno(), journal="JOURNAL_STREAM" in os.environ)
    stopping, _writer = _signals()
    try:
        Daemon(config.load(file), file, log).run(stopping)
    except StunwallError as error:
        log.error(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

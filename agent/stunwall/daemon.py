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
from pathlib import Path
from typing import Any

from stunwall import __version__, config, detect, firewall, nfqueue, packet, policy, vpn
from stunwall.answer import Refuser
from stunwall.config import Config
from stunwall.control import Control, Status
from stunwall.detect import Detection
from stunwall.events import Recorder
from stunwall.links import Links
from stunwall.log import Log
from stunwall.model import Datagram, Decision, Event, Reason, StunwallError, Verdict
from stunwall.vpn import Standing

GROUP = "stunwall"
_RETRY = 1.0  # seconds until links that could not be read are read again


class Daemon:
    """The running agent: owns every part, and answers the selector's calls."""

    def __init__(self, settings: Config, file: Path, log: Log) -> None:
        self._config = settings
        self._file = file
        self._log = log
        self._started = time.time()
        self._standings: tuple[Standing, ...] = ()
        self._vpn: frozenset[str] = frozenset()
        self._filled: frozenset[str] | None = None  # what the wall's set holds
        self._problems: dict[str, str] = {}  # by the part that has it
        self._unanswered = 0
        self._unreadable = 0
        self._selector = selectors.DefaultSelector()
        self._refuser: Refuser
        self._recorder: Recorder
        self._links: Links
        self._queue: nfqueue.Queue

    def run(self, stopping: socket.socket) -> None:
        """Put the wall up, open its door, and serve until `stopping` becomes readable.

        Raises StunwallError if it cannot start. Whatever happens, the wall stays shut unless this returns.
        """
        with ExitStack() as stack:
            self._open_parts(stack)
            self._put_up_the_wall()
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
        self._queue = nfqueue.Queue(self._config.queue, self._judge, self._fault)
        stack.callback(self._queue.close)
        self._refuser = Refuser()
        stack.callback(self._refuser.close)
        self._links = Links()
        stack.callback(self._links.close)
        self._recorder = Recorder(
            self._config.state_dir,
            self._config.log,
            self._log.event,
            lambda text: self._problem("record", text),
        )
        stack.callback(self._recorder.close)

    def _control(self) -> Control:
        control = Control(self._config.run_dir, self._selector, self._reply)
        _give_to_group(self._config.run_dir / "control.sock")
        return control

    def _put_up_the_wall(self) -> None:
        self._look_at_links()
        firewall.load(self._vpn, self._config.guard_ports)
        self._filled = self._vpn
        firewall.open_door(self._config.queue)

    def _ready(self) -> None:
        self._log.notice(
            f"ready: STUN outside the VPN is blocked (queue {self._config.queue}, "
            f"VPN: {', '.join(sorted(self._vpn)) or 'none, so all STUN is blocked'})"
        )
        _notify("READY=1")

    def _serve(self, stopping: socket.socket) -> None:
        self._selector.register(self._queue, selectors.EVENT_READ, self._queue.serve)
        self._selector.register(self._links, selectors.EVENT_READ, self._follow_links)
        self._selector.register(stopping, selectors.EVENT_READ, None)
        while True:
            ready = self._selector.select(_RETRY if "links" in self._problems else None)
            if not ready:
                self._follow_links()
            for key, _ in ready:
                if key.data is None:
                    return
                key.data()

    # Packets

    def _judge(self, raw: bytes, incoming: str, interface: str) -> Verdict:
        try:
            datagram = packet.parse(raw)
        except packet.PacketError:
            self._unreadable += 1
            return Verdict.BLOCK
        detection = detect.classify(datagram, self._config.guard_ports)
        decision = policy.decide(detection, policy.View(interface, self._vpn), self._config)
        if detection is not None and decision.reason is not Reason.THROUGH_VPN:
            self._recorder.record(_event(decision, detection, interface, raw))
            # A packet that leaves by the interface it came in by has its sender out there, or a forged one.
            if decision.answer is not None and incoming != interface:
                self._refuse(detection, decision.answer, incoming)
        return decision.verdict

    def _refuse(self, detection: Detection, answer: bytes, incoming: str) -> None:
        try:
            self._refuser.refuse(detection.datagram, detection.framing, answer, incoming)
        except OSError:
            # The sender waits for its own time-out then; the packet is blocked all the same.
            self._unanswered += 1

    def _fault(self, error: BaseException) -> None:
        self._problem(
            "packets", f"a packet could not be judged and was blocked ({type(error).__name__}: {error})"
        )

    # Links

    def _follow_links(self) -> None:
        try:
            self._links.drain()
            self._look_at_links()
            if self._vpn != self._filled:
                self._filled = None  # unknown, until the transaction is through
                firewall.fill_vpn(self._vpn)
                self._filled = self._vpn
                self._log.notice(
                    f"VPN: {', '.join(sorted(self._vpn))}"
                    if self._vpn
                    else "no VPN is up: " + ("STUN is free" if self._open else "all STUN is blocked")
                )
            self._problem("links", "")
        except StunwallError as error:
            # What was the VPN may be something else by now: seal, as far as the kernel lets us.
            self._vpn = frozenset()
            with suppress(StunwallError):
                firewall.fill_vpn(())
                self._filled = frozenset()
            self._problem("links", f"{error}. Until that works again all STUN is blocked")

    def _look_at_links(self) -> None:
        self._standings = vpn.standings(self._links.snapshot(), self._config.interfaces)
        self._vpn = vpn.counting(self._standings)

    # Status

    @property
    def _open(self) -> bool:
        return not self._vpn and self._config.when_vpn_down is config.WhenVpnDown.ALLOW

    @property
    def _state(self) -> str:
        if self._problems:
            return "degraded"
        if self._open:
            return "open"
        return "protected" if self._vpn else "sealed"

    def _problem(self, part: str, text: str) -> None:
        """Note what is wrong with a part, "" if nothing; a change is logged."""
        if text == self._problems.get(part, ""):
            return
        if text:
            self._problems[part] = text
            self._log.error(text)
        else:
            self._log.notice(f"well again: {self._problems.pop(part)}")

    def _reply(self, request: dict[str, Any]) -> Status:
        if request.get("command") != "status":
            return {"error": 'unknown command; known: {"command": "status"}'}
        return {
            "version": __version__,
            "pid": os.getpid(),
            "config": str(self._file),
            "started": self._started,
            "state": self._state,
            "problems": list(self._problems.values()),
            "mode": self._config.mode,
            "on_block": self._config.on_block,
            "when_vpn_down": self._config.when_vpn_down,
            "queue": self._config.queue,
            "interfaces": [
                {"interface": s.interface, "kind": s.kind, "counts": s.counts, "why": s.why}
                for s in self._standings
            ],
            "unrecorded": self._recorder.lost,
            "unanswered": self._unanswered,
            "unreadable": self._unreadable,
            "faults": self._queue.faults,
            "queue_overruns": nfqueue.lost(self._config.queue),
            **self._wall(),
        }

    def _wall(self) -> Status:
        try:
            wall = firewall.read()
        except StunwallError as error:
            return {"wall": "unknown", "wall_error": str(error)}
        if wall is None:
            return {"wall": "down"}
        return {"wall": "up" if wall.whole else "damaged", "counters": wall.counters}


def _event(decision: Decision, detection: Detection, interface: str, raw: bytes) -> Event:
    datagram: Datagram = detection.datagram
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
        interface=interface,
        packet=raw,
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

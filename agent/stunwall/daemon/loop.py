"""The daemon's loop: one selector, one thread (the record and the endpoints of peers have their own)."""

import gc
import os
import select
import selectors
import socket
import sys
import time
from contextlib import ExitStack, closing, suppress
from errno import ENETUNREACH
from functools import partial
from pathlib import Path

from stunwall.config import Config, Mode
from stunwall.control.protocol import FILE
from stunwall.control.server import Control
from stunwall.daemon import systemd
from stunwall.daemon.commands import Commands
from stunwall.daemon.events import announce
from stunwall.daemon.folders import give_to_group
from stunwall.daemon.journal import Journal
from stunwall.daemon.parts import Parts
from stunwall.daemon.proofs import CheckResults
from stunwall.daemon.status import status
from stunwall.model import StunwallError
from stunwall.record.ledger import Kind
from stunwall.wall import queue_rules, second_lock, table
from stunwall.wall.nft import Nft

# Seconds until links that could not be read, or a wall that could not be put up, are tried again.
_RETRY = 1.0
# Seconds without a packet, after which those before it are recorded.
_PAUSE = 0.001
# Seconds for which packets may hold up what is due. Another descriptor that is ready holds them up at once.
_ANSWERING = 0.01
_FILES = 16  # descriptors that are looked at in one go
# Seconds for which another thread may keep the interpreter from this one (sys.setswitchinterval). A packet's way waits
# for it several times, and others work while it does: the record's thread, or one that parses thousands of peers.
_SWITCH = 0.00005
# Probes in the time that systemd's watchdog gives: losing one in a flood must not end the daemon.
_PROBES = 3


def run(config: Config, file: Path, journal: Journal, stopping: socket.socket, leave_wall: bool) -> None:
    """Put the wall up, put its queue rules in, and serve until `stopping` becomes readable.

    Raises StunwallError if it cannot start. Whatever happens, the wall keeps dropping STUN unless this returns, and
    with `leave_wall` then too.
    """
    with closing(Nft()) as nft:
        with ExitStack() as stack:
            parts = Parts(config, file, journal, nft, stack)
            parts.put_up_wall()
            loop = Loop(parts)
            stack.callback(loop.close)
            loop.serve(stopping)
            queue_rules.detach(nft, parts.sync.additions)
            leave_wall = leave_wall or parts.config.leave_wall_on_stop
            if not leave_wall:
                parts.ledger.enter(Kind.STOPPED, "stunwalld was stopped, and the wall removed")
        if not leave_wall:
            table.remove(nft)
            second_lock.remove(nft)
    journal.notice(
        "stopped; the wall stays up: STUN outside the VPN is dropped"
        if leave_wall
        else "stopped; the wall is removed: STUN is free to leave by any interface"
    )


class Loop:
    """Waits for what the parts are readable for, and for what is due."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._selector = selectors.EpollSelector()
        # The same, without what a selector does besides: 15 of the 300 µs in which a page has its answer.
        self._epoll = select.epoll.fromfd(os.dup(self._selector.fileno()))
        self._packets_alone = [(parts.queue.fileno(), select.EPOLLIN)]
        self._probe_period = (systemd.watchdog() or 0.0) / _PROBES
        self._next_probe = 0.0  # seconds of the monotonic clock
        self._commands = Commands(
            parts.file,
            parts.config,
            parts.pause,
            self._configure,
            parts.note,
            partial(status, parts),
            lambda: parts.sync.cgroups,
            parts.checks.begin,
            CheckResults(parts.proofs, lambda: bool(parts.pause.left) or parts.is_open, parts.check_due.done),
        )
        folder, for_all = parts.config.run_dir, parts.config.status_for_all
        self._control = Control(folder, self._selector, self._commands.answer, for_all)
        give_to_group(folder / FILE)
        parts.writer.stored = partial(announce, self._control.subscribers)
        parts.agents.subscribers = self._control.subscribers

    def close(self) -> None:
        """Close the control socket, and take no more packets."""
        self._parts.agents.subscribers = None
        self._control.close()
        self._epoll.close()

    def serve(self, stopping: socket.socket) -> None:
        """Say that the daemon is ready, and serve until `stopping` becomes readable."""
        sys.setswitchinterval(_SWITCH)
        # What is there now stays: to look through it for garbage takes 6 ms, in which no packet gets a verdict.
        gc.collect()
        gc.freeze()
        self._ready()
        parts, register = self._parts, self._selector.register
        register(parts.queue, selectors.EVENT_READ, self._serve_packets)
        register(parts.repair, selectors.EVENT_READ, parts.repair.inspect)
        register(parts.sync.network, selectors.EVENT_READ, parts.sync.receive)
        register(parts.sync.programs, selectors.EVENT_READ, self._follow_programs)
        register(parts.sync.endpoints, selectors.EVENT_READ, self._follow_endpoints)
        register(stopping, selectors.EVENT_READ, None)
        parts.follow_ledger()
        parts.follow_check()
        while True:
            for file in self._ready_files():
                # None if another one, served before it, has closed it.
                if (key := self._selector.get_map().get(file)) is None:
                    continue
                if key.data is None:
                    return
                key.data()
            self._do_what_is_due()
            parts.follow_ledger()
            parts.follow_check()

    def _ready_files(self) -> list[int]:
        """Wait for what is due, and return the descriptors that are readable or writable.

        Packets get their verdicts meanwhile. What is recorded of them waits until none has come for a while, so that
        neither the next packet nor the program that has its answer waits for that.
        """
        packets = self._parts.queue
        ready = self._epoll.poll(self._wait_seconds(), _FILES)
        end = time.monotonic() + _ANSWERING
        while ready == self._packets_alone and time.monotonic() < end:
            packets.serve()
            ready = self._epoll.poll(_PAUSE, _FILES)
        packets.finish()
        return [file for file, _ in ready]

    def _serve_packets(self) -> None:
        # The next descriptor may change what they were decided by.
        self._parts.queue.serve()
        self._parts.queue.finish()

    def _ready(self) -> None:
        parts = self._parts
        does = "moved into it" if parts.config.mode is Mode.REDIRECT else "blocked"
        vpn = ", ".join(sorted(parts.sync.view.vpn)) or "none, so all STUN is blocked"
        parts.journal.notice(
            f"ready: STUN outside the VPN is {does} (queue {parts.config.queue}, VPN: {vpn})"
        )
        systemd.notify("READY=1")

    def _configure(self, config: Config) -> None:
        self._parts.configure(config)
        self._control.admit(for_all=config.status_for_all)

    def _follow(self) -> None:
        # The wall first: sets can't be filled while there is none.
        self._parts.repair.inspect()
        self._parts.sync.follow()

    def _follow_programs(self) -> None:
        self._parts.repair.inspect()
        self._parts.sync.follow_programs()

    def _follow_endpoints(self) -> None:
        self._parts.repair.inspect()
        self._parts.sync.follow_endpoints()

    @property
    def _failing(self) -> bool:
        return self._parts.sync.failing or self._parts.repair.failing

    def _wait_seconds(self) -> float | None:
        """Return the seconds until something is due, None if nothing is."""
        waits = []
        if self._failing:
            waits.append(_RETRY)
        if self._control.rest is not None:
            waits.append(self._control.rest)
        if (due := self._parts.sync.due) is not None:
            waits.append(max(0.0, due - time.monotonic()))
        if self._parts.pause.left:
            waits.append(self._parts.pause.left)
        if self._parts.packets.exposed_left:
            waits.append(self._parts.packets.exposed_left)
        if (left := self._parts.check_due.left) is not None:
            waits.append(left)
        if (ends := self._commands.due) is not None:
            waits.append(ends)
        if self._probe_period:
            waits.append(max(0.0, self._next_probe - time.monotonic()))
        return min(waits, default=None)

    def _do_what_is_due(self) -> None:
        pause = self._parts.pause
        self._control.resume()
        due = self._parts.sync.due
        if self._failing or (due is not None and time.monotonic() >= due):
            self._follow()
        if pause.until and not pause.left:
            with suppress(StunwallError):  # the kernel has ended it already
                pause.end()
            self._parts.note("resumed", "its time is over")
        self._remove_ended()
        if self._probe_period and time.monotonic() >= self._next_probe:
            self._send_probe()

    def _remove_ended(self) -> None:
        if self._commands.due == 0:
            problem = ""
            try:
                self._commands.remove_ended()
            except StunwallError as error:
                problem = f"an exception that has ended could not be removed: {error}"
            self._parts.problems.report("exceptions", problem)

    def _send_probe(self) -> None:
        """Send a probe through the wall and the queue; systemd is told that we live when it comes back."""
        self._next_probe = time.monotonic() + self._probe_period
        report = partial(self._parts.problems.report, "watchdog")
        try:
            self._parts.probe.send()
        except OSError as error:
            report(f"the queue can't be watched: no packet leaves by lo ({error.strerror})")
            if error.errno == ENETUNREACH:  # lo is down: no other daemon would do better
                systemd.notify("WATCHDOG=1")
        else:
            report("")

"""Functions that tests call inside the machine: guest/control.py imports them there, from the checkout's disk.

Imports only the standard library and files of the lab that need nothing else. Arguments and results are JSON.
"""

import json
import os
import signal
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from lab.addresses import ECHO_SERVER, PHYSICAL
from lab.deadline import until
from lab.namespace import Namespace
from lab.probe import Binding, connect
from lab.probe import ask as probe
from lab.topology import QUEUE_TOTAL
from lab.wire import MARKER_PORT

T = TypeVar("T")

CONTROL = "/run/stunwall/control.sock"
RECORD = "file:/var/lib/stunwall/events.db?mode=ro"
DAEMON = Path("/sys/fs/cgroup/system.slice/stunwall.service/cgroup.procs")
QUEUES = Path("/proc/net/netfilter/nfnetlink_queue")
STAGE_SECONDS = 120


class Here(Namespace):
    """The machine's own network, for what the lab does in a namespace."""

    def __init__(self) -> None:
        self.name = "here"

    def call(self, work: Callable[[], T]) -> T:
        return work()

    def command(self, *arguments: str) -> list[str]:
        return list(arguments)


def encode(binding: Binding) -> dict[str, Any]:
    return asdict(binding)


def ask(
    server: tuple[str, int], payload: str, binding: dict[str, Any], kind: int, seconds: float
) -> str | None:
    """lab.probe.ask, with its bytes as hexadecimal digits."""
    host, port = server
    reply = probe(Here(), (host, port), bytes.fromhex(payload), Binding(**binding), kind, seconds)
    return None if reply is None else reply.hex()


def ledger() -> list[tuple[str, float]]:
    """Each row's kind, and CLOCK_BOOTTIME at its end."""
    with closing(sqlite3.connect(RECORD, uri=True)) as record:
        return record.execute("SELECT kind, awake FROM ledger ORDER BY id").fetchall()


def send_marker(family: int, marker: str) -> None:
    with connect(Here(), (ECHO_SERVER[family], MARKER_PORT), Binding(device=PHYSICAL)) as sock:
        sock.send(bytes.fromhex(marker))


def queues_empty() -> bool:
    return all(
        line.split()[QUEUE_TOTAL] == "0" for line in Here().read("netfilter/nfnetlink_queue").splitlines()
    )


def daemon_status() -> Any:
    """What the daemon says of itself, None while none answers: the command would take a second longer."""
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError, ValueError):
        client.settimeout(20)
        client.connect(CONTROL)
        client.sendall(b'{"command": "status"}\n')
        with client.makefile("rb") as lines:
            return json.loads(lines.readline())
    return None


def events(verdict: str) -> int:
    """How many events of that kind are in the record."""
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(RECORD, uri=True)) as record,
    ):  # it is locked
        return int(record.execute("SELECT count(*) FROM events WHERE verdict = ?", (verdict,)).fetchone()[0])
    return 0


def users() -> list[int]:
    """Whose events are in the record."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(RECORD, uri=True)) as record:
        return [int(uid) for (uid,) in record.execute("SELECT DISTINCT uid FROM events")]
    return []


# The stages of a daemon's start, and how many of ten kills happen in each: later stages cost more time.
STAGES: tuple[tuple[str, int, Callable[[], object]], ...] = (
    ("begun", 6, lambda: True),
    ("has its queue", 2, lambda: QUEUES.read_text()),
    ("has its control socket", 1, lambda: Path(CONTROL).exists()),
    ("serves", 1, daemon_status),
)


def kill_daemon(times: int) -> dict[str, int]:
    """Kills the daemon that many times, in every stage of its start; returns the number of kills per stage."""
    killed = dict.fromkeys((name for name, _, _ in STAGES), 0)
    turns = [(name, reached) for name, share, reached in STAGES for _ in range(share)]
    last = 0
    for number in range(times):
        name, reached = turns[number % len(turns)]
        until(lambda last=last: _daemon() not in (0, last), STAGE_SECONDS, "a daemon")  # type: ignore[misc]
        until(reached, STAGE_SECONDS, f"a daemon that {name}")
        last = _daemon()
        os.kill(last, signal.SIGKILL)
        killed[name] += 1
    return killed


def _daemon() -> int:
    """Its pid, 0 if there is none; before it is executed its name is systemd's for it."""
    with suppress(OSError):
        for pid in DAEMON.read_text().split():
            if "tunwalld" in Path("/proc", pid, "comm").read_text():
                return int(pid)
    return 0

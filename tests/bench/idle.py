"""What stunwalld takes to start, and while nothing happens, beside OpenSnitch and a Python process that only waits."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.host import PATIENCE, Daemon, come_first, host, memory, wait_for_vpn
from bench.results import Budget, Result, Row
from lab.deadline import until

GROUP = "Idle"
ROUNDS, SECONDS, SETTLED = 3, 8, 2
QUEUE = "4790"  # of OpenSnitch
MEMORY = {
    "Rss": "memory (RSS)",
    "Pss": "memory, shared pages in part (PSS)",
    "Private_Dirty": "memory of its own",
}
ENOUGH, NEVER = Budget(35), Budget(0)
# What is imported by any such daemon in Python; netfilterqueue binds it to the queue.
LIBRARIES = (
    "argparse, ctypes, dataclasses, ipaddress, json, netfilterqueue, selectors, socket, sqlite3, tomllib"
)


@dataclass(frozen=True, slots=True)
class Started:
    """A process, and how many seconds it took until it was ready."""

    pid: int
    seconds: float


@contextmanager
def stunwall() -> Iterator[Started]:
    with Daemon() as daemon:
        wait_for_vpn()
        yield Started(daemon.pid, daemon.ready)


@contextmanager
def started(command: list[str], ready: Callable[[subprocess.Popen[str]], None]) -> Iterator[Started]:
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        ready(child)
        yield Started(child.pid, time.perf_counter() - began)
    finally:
        child.send_signal(signal.SIGTERM)  # so that OpenSnitch takes its rules away
        child.communicate(timeout=PATIENCE)


def python(imports: str) -> AbstractContextManager[Started]:
    """Python that has imported something, and waits."""
    said = "import signal; print(flush=True); signal.pause()"
    return started([sys.executable, "-c", f"import {imports}; {said}"], lambda child: _read_line(child))


def _read_line(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    child.stdout.readline()


@contextmanager
def opensnitch() -> Iterator[Started]:
    """Debian's daemon as it comes: without its user interface it allows what no rule is about."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("-rules-path", folder, "-ui-socket", f"unix://{folder}/none.sock", "-queue-num", QUEUE)
        command = ["opensnitchd", *options, "-process-monitor-method", "proc", "-log-file", f"{folder}/log"]
        queues = Path("/proc/net/netfilter/nfnetlink_queue")
        with started(
            command,
            lambda _: until(
                lambda: re.search(rf"^ *{QUEUE} ", queues.read_text(), re.M), PATIENCE, "OpenSnitch"
            ),
        ) as process:
            yield process


PEERS: dict[str, Callable[[], AbstractContextManager[Started]]] = {
    "Python": lambda: python("sys"),
    "Python with its libraries": lambda: python(LIBRARIES),
    "OpenSnitch": opensnitch,
    "stunwall": stunwall,
}


@dataclass(slots=True)
class Measured:
    """A value of each round."""

    ready: list[float] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)
    wake_ups: list[float] = field(default_factory=list)


def wake_ups(pid: int) -> int:
    """How often threads of a process have gone to sleep so far."""
    texts = (task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in texts)


def one_round(peer: AbstractContextManager[Started], seconds: float, into: Measured) -> None:
    with peer as process:
        into.ready.append(process.seconds * 1e3)
        time.sleep(SETTLED)
        before = wake_ups(process.pid)
        time.sleep(seconds)
        into.wake_ups.append((wake_ups(process.pid) - before) / seconds)
        for name, mebibytes in memory(process.pid).items():
            into.memory.setdefault(name, []).append(mebibytes)


def measure(quick: bool) -> Iterator[Result]:
    """Rows for each peer."""
    come_first()
    found = {name: Measured() for name in PEERS if name != "OpenSnitch" or shutil.which("opensnitchd")}
    with host():
        for number in range(1 if quick else ROUNDS):
            for name, into in found.items():
                # The first start of all makes the bytecode; wake-ups are counted once.
                one_round(PEERS[name](), SECONDS if number == 0 and not quick else 1, into)
    for name, into in found.items():
        ours = name == "stunwall"
        yield Row(GROUP, "from the start until it is ready", name, "ms", tuple(into.ready))
        for word, what in MEMORY.items():
            budget = (ENOUGH,) if ours and word == "Rss" else ()
            yield Row(GROUP, what, name, "MiB", tuple(into.memory[word]), budget)
        yield Row(
            GROUP,
            "wake-ups a second, without a watchdog",
            name,
            "",
            tuple(into.wake_ups),
            (NEVER,) if ours else (),
        )

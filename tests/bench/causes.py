"""How soon the record says why a blocked packet would have bypassed the VPN, by routes, and who waits meanwhile."""

import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench.asking import SERVER
from bench.host import OUT, PATIENCE, Asking, Daemon, come_first, host, p99, wait_for_vpn
from bench.results import Budget, Growth, Result, Row
from lab.messages import binding_request

GROUP = "Why a packet would have bypassed the VPN"
SIZES = (10, 10_000, 100_000)
LINKS, ATTEMPTS = 10, 5
IDLE = 1.0  # seconds before each packet, in which only the other program sends, and up to one more
SERVED = Budget(10)


@dataclass(slots=True)
class Measured:
    """Milliseconds of each packet. `cpu`: of all threads but the one that gives verdicts."""

    recorded: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)


@contextmanager
def subscribed(folder: Path) -> Iterator[IO[bytes]]:
    """The lines about new entries of the record."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(f"{folder}/r/control.sock")
        client.sendall(b'{"command": "subscribe"}\n')
        with client.makefile("rb") as lines:
            lines.readline()
            yield lines


def entry(lines: IO[bytes], port: int) -> dict[str, Any]:
    """The entry about the packet from a port, once it is there."""
    while True:
        found: dict[str, Any] = json.loads(lines.readline())
        if found.get("event", {}).get("source_port") == port:
            return dict(found["event"])


def others(pid: int) -> float:
    """Milliseconds of CPU that all threads of a process have had but the first."""
    tasks = (task for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid)
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def look(pid: int, lines: IO[bytes], asking: Asking, into: Measured) -> None:
    """Sends a packet of a new flow. One too soon after a look at the routes does not count."""
    asking.take()
    time.sleep(IDLE + random.random())  # not in step with the daemon's writes
    before, cpu = asking.take(), others(pid)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, OUT.encode())
        start = time.perf_counter()
        sender.sendto(binding_request(), SERVER)
        found = entry(lines, sender.getsockname()[1])
    took = (time.perf_counter() - start) * 1e3
    meanwhile = asking.take()
    if found["cause"]:
        into.recorded.append(took)
        into.cpu.append(others(pid) - cpu)
        into.before += before
        into.meanwhile += meanwhile


def measured(routes: int, attempts: int) -> Measured:
    found = Measured()
    with host(LINKS, routes), Daemon() as daemon, subscribed(daemon.folder) as lines:
        wait_for_vpn()
        with Asking() as asking:
            while len(found.recorded) < attempts:
                look(daemon.pid, lines, asking, found)
    return found


def measure(quick: bool) -> Iterator[Result]:
    """Rows for each number of routes, and how the CPU grows with them."""
    come_first()
    sizes = SIZES[:1] if quick else SIZES
    points = []
    for routes in sizes:
        found = measured(routes, 1 if quick else ATTEMPTS)
        peer = f"{routes:,} routes"
        budget = (SERVED,) if routes == SIZES[-1] else ()
        yield Row(
            GROUP,
            "until it is in the record, which is written once a second",
            peer,
            "ms",
            tuple(found.recorded),
        )
        yield Row(GROUP, "CPU", peer, "ms", tuple(found.cpu))
        yield Row(GROUP, "p99 of another program's answers before", peer, "ms", (p99(found.before),))
        yield Row(GROUP, "p99 of them meanwhile", peer, "ms", (p99(found.meanwhile),), budget)
        yield Row(GROUP, "slowest of them meanwhile", peer, "ms", (max(found.meanwhile),))
        points.append((routes, tuple(found.cpu)))
    yield Growth(GROUP, "CPU of a look at the routes", "routes", "stunwall", "ms", tuple(points))

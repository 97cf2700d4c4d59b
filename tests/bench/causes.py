"""How soon the record says why a blocked packet would have bypassed the VPN, by routes: python -m bench.causes.

It needs the environment and the namespaces that tests/run.sh makes (`isolated` there).

    --agent FOLDER   the package to be measured (default: this checkout's)
    --routes N       repeatable (default: those of SIZES)
    --attempts N     packets of each size whose cause is looked for (default: 10)

Printed is a table in Markdown. "In the record" is the time from the packet until a subscriber has its entry, which is
written up to a second after the cause is known; "CPU" is that of all threads but the one that gives verdicts; the
refusals are those of another program, which sends all the time: before the packet, and from it until the entry.
"""

import argparse
import json
import random
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench.network_changes import OUT, PATIENCE, SERVER, Stun, daemon, machine, sending
from lab.agent import PACKAGE
from lab.messages import binding_request
from lab.namespace import require_isolation

SIZES = (10, 10_000, 100_000)
LINKS = 10
IDLE = 1.0  # seconds before each packet, in which only the other program sends, and up to one more


@dataclass(slots=True)
class Measured:
    """Milliseconds of each packet; `rested`: packets that came too soon after a look at the routes to get one."""

    recorded: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)
    rested: int = 0


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


def look(pid: int, lines: IO[bytes], stun: Stun, into: Measured) -> None:
    """Sends a packet of a new flow."""
    first = len(stun.times)
    time.sleep(IDLE + random.random())  # not in step with the daemon's writes
    second, cpu = len(stun.times), others(pid)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, OUT.encode())
        start = time.perf_counter()
        sender.sendto(binding_request(), SERVER)
        found = entry(lines, sender.getsockname()[1])
    took = (time.perf_counter() - start) * 1e3
    if not found["cause"]:
        into.rested += 1
        return
    into.recorded.append(took)
    into.cpu.append(others(pid) - cpu)
    into.before += stun.times[first:second]
    into.meanwhile += stun.times[second:]


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98] if len(times) > 1 else float("nan")


def measure(agent: Path, routes: int, attempts: int) -> str:
    found = Measured()
    with (
        machine(LINKS, routes, OUT),
        daemon(agent, lan=False) as (pid, folder),
        subscribed(folder) as lines,
        sending() as stun,
    ):
        while len(found.recorded) < attempts:
            look(pid, lines, stun, found)
    return (
        f"| {routes:,} | {statistics.median(found.recorded):.0f} | {max(found.recorded):.0f} "
        f"| {statistics.median(found.cpu):.1f} | {p99(found.before):.2f} | {p99(found.meanwhile):.2f} "
        f"| {max(found.meanwhile):.1f} | {found.rested} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", type=Path, default=PACKAGE)
    parser.add_argument("--routes", type=int, action="append")
    parser.add_argument("--attempts", type=int, default=10)
    options = parser.parse_args()
    require_isolation()
    print(
        "| routes | in the record, ms | slowest | CPU, ms | refusal's p99 before | meanwhile | slowest | no look |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for routes in options.routes or SIZES:
        print(measure(options.agent, routes, options.attempts), flush=True)


if __name__ == "__main__":
    main()

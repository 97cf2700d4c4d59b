"""What a change of the network costs stunwalld, by the size of the machine: python -m bench.network_changes.

It needs the environment and the namespaces that tests/run.sh makes (`isolated` there).

    --agent FOLDER   the package to be measured (default: this checkout's)
    --size LINKS:ROUTES   repeatable (default: those of SIZES)
    --lan            with allow_lan = true
    --vpn-routes     the routes lead into the VPN, not out

There are five changes a second, while a program sends
STUN that is refused. Printed are medians, and the 99th percentile of the time until the refusal.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

from lab.addresses import NOBODY
from lab.agent import PACKAGE
from lab.deadline import until
from lab.messages import binding_request
from lab.namespace import require_isolation
from unit.tun import Tun, ip

SIZES = ("10:1000", "10:10000", "10:100000", "1000:1000", "1000:100000")
OUT, VPN, SERVER = "bo0", "bv0", ("203.0.113.7", 3478)
CHANGES, PACE = 20, 0.2  # of each kind; seconds from one to the next
STUN_PACE = 0.02  # seconds
SETTLED = 3  # seconds until all of its flows are in the record
FLOWS = 60  # that take turns, as the wall lets a flow ask once a second
PATIENCE = 60  # seconds


def batch(lines: Iterable[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    subprocess.run(["ip", "-force", "-batch", "-"], input=text, text=True, check=False, capture_output=True)


def listed(what: str) -> str | None:
    """What nft lists, None if there is no such thing."""
    done = subprocess.run(["nft", "list", *what.split()], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


class Stun(threading.Thread):
    """Sends STUN by the way out, and notes how long each refusal takes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.times: list[float] = []
        """Milliseconds."""
        os.seteuid(NOBODY)  # so that its flows take no one else's rows of the record
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(FLOWS)]
        os.seteuid(0)
        for each in self._sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, OUT.encode())
            each.settimeout(2)
        self._ended = threading.Event()

    def run(self) -> None:
        for each in cycle(self._sockets):
            if self._ended.wait(STUN_PACE):
                return
            start = time.perf_counter()
            with suppress(OSError):  # while there is no wall, nobody answers
                each.sendto(binding_request(), SERVER)
                each.recv(2048)
                self.times.append((time.perf_counter() - start) * 1e3)

    def end(self) -> None:
        self._ended.set()
        self.join()
        for each in self._sockets:
            each.close()


@contextmanager
def sending() -> Iterator[Stun]:
    """STUN that is sent all the time, and whose flows are in the record already."""
    stun = Stun()
    stun.start()
    try:
        time.sleep(SETTLED)
        stun.times.clear()
        yield stun
    finally:
        stun.end()


@contextmanager
def machine(links: int, routes: int, into: str) -> Iterator[None]:
    """A network card with the default route, a VPN with its own, and so many more links and routes."""
    ip("link", "add", OUT, "type", "veth", "peer", "name", "bo1")
    for name in (OUT, "bo1"):
        ip("link", "set", name, "up")
    ip("address", "add", "192.0.2.17/24", "dev", OUT)
    ip("neighbour", "add", "192.0.2.1", "lladdr", "02:00:00:00:00:07", "dev", OUT)
    ip("route", "add", "default", "via", "192.0.2.1", "metric", "100")
    with Tun(VPN, "10.9.8.7/24") as vpn:
        vpn.route("0.0.0.0/1", "128.0.0.0/1")
        batch(f"link add bl{number} up type veth peer name bm{number}" for number in range(links // 2))
        way = f"via 192.0.2.1 dev {OUT}" if into == OUT else f"dev {VPN}"
        batch(f"route add {20 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24 {way}" for n in range(routes))
        try:
            yield
        finally:
            batch(f"link del bl{number}" for number in range(links // 2))
            ip("link", "del", OUT)


@contextmanager
def daemon(agent: Path, lan: bool) -> Iterator[tuple[int, Path]]:
    """A stunwalld that is ready: its pid, and the folder of its files."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stunwall.toml"
        file.write_text(f'state_dir = "{folder}/s"\nrun_dir = "{folder}/r"\nallow_lan = {str(lan).lower()}\n')
        command = [sys.executable, "-m", "stunwall.daemon", "--config", str(file)]
        running = subprocess.Popen(command, env={"PYTHONPATH": str(agent)}, stderr=subprocess.PIPE, text=True)
        assert running.stderr is not None
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(running.stderr or ()), daemon=True)
        reader.start()
        try:
            until(
                lambda: any("ready" in line for line in said) or running.poll() is not None,
                PATIENCE,
                "the daemon",
            )
            if running.poll() is not None:
                raise RuntimeError("".join(said))
            yield running.pid, Path(folder)
        finally:
            running.terminate()
            running.wait()


def cpu(pid: int) -> float:
    """Milliseconds of CPU that a process has had."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


def measured(pid: int, change: Callable[[int], None]) -> tuple[float, float]:
    """CPU milliseconds a change, and the 99th percentile of the refusals meanwhile."""
    with sending() as stun:
        before = cpu(pid)
        start = time.monotonic()
        for number in range(CHANGES):
            change(number)
            time.sleep(max(0.0, start + (number + 1) * PACE - time.monotonic()))
        spent = (cpu(pid) - before) / CHANGES
    return spent, statistics.quantiles(stun.times, n=100)[98] if len(stun.times) > 1 else float("nan")


def until_set(wanted: bool) -> float:
    start = time.perf_counter()
    until(lambda: (f'"{VPN}"' in (listed("set inet stunwall vpn") or "")) is wanted, PATIENCE, "the set")
    return (time.perf_counter() - start) * 1e3


def change_route(number: int) -> None:
    ip("route", "replace" if number % 2 == 0 else "del", "198.51.100.0/24", "via", "192.0.2.1", "dev", OUT)


def change_link(number: int) -> None:
    if number % 2 == 0:
        ip("link", "add", "bx0", "up", "type", "veth", "peer", "name", "bx1")
    else:
        ip("link", "del", "bx0")


def to_set() -> tuple[float, float]:
    """Milliseconds until the VPN that has lost a half of its default route is out of the set, and in it again."""
    out, back = [], []
    for _ in range(10):
        time.sleep(PACE)
        ip("route", "del", "128.0.0.0/1", "dev", VPN)
        out.append(until_set(False))
        time.sleep(PACE)
        ip("route", "add", "128.0.0.0/1", "dev", VPN)
        back.append(until_set(True))
    return statistics.median(out), statistics.median(back)


def repair() -> float:
    """Milliseconds until a wall is back that another program has removed, among changes of routes."""
    times = []
    for number in range(10):
        change_route(number)
        subprocess.run(["nft", "delete", "table", "inet", "stunwall"], check=True)
        start = time.perf_counter()
        until(
            lambda: "queue" in (listed("chain inet stunwall to_stunwalld") or "").lower(),
            PATIENCE,
            "the wall",
        )
        times.append((time.perf_counter() - start) * 1e3)
        time.sleep(PACE)
    return statistics.median(times)


def measure(agent: Path, size: str, lan: bool, into: str) -> str:
    links, routes = map(int, size.split(":"))
    with machine(links, routes, into), daemon(agent, lan) as (pid, _):
        time.sleep(3)  # what is still going on
        idle, quiet = measured(pid, lambda number: None)
        route, route_p99 = measured(pid, change_route)
        link, link_p99 = measured(pid, change_link)
        out, back = to_set()
        repaired = repair()
        memory = Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]
    return (
        f"{links:5} {routes:7} {route - idle:9.1f} {link - idle:9.1f} {out:9.1f} {back:9.1f} "
        f"{quiet:7.1f} {route_p99:7.1f} {link_p99:7.1f} {repaired:8.1f} {int(memory) / 1024:7.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", type=Path, default=PACKAGE)
    parser.add_argument("--size", action="append")
    parser.add_argument("--lan", action="store_true")
    parser.add_argument("--vpn-routes", action="store_true")
    options = parser.parse_args()
    require_isolation()
    print("              CPU ms a change      ms to set       p99 of the refusal, ms      wall's   memory")
    print(
        "links  routes     route      link       out      back    idle   route    link  repair ms   MiB",
        flush=True,
    )
    for size in options.size or SIZES:
        print(measure(options.agent, size, options.lan, VPN if options.vpn_routes else OUT), flush=True)


if __name__ == "__main__":
    main()

"""A host with so many links and routes, stunwalld on it, and what tells how long something took."""

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from lab.agent import PACKAGE
from lab.deadline import until
from stunwall import netlink
from unit.tun import Tun, ip

OUT, FAR, VPN = "bo0", "bo1", "bv0"
PATIENCE = 60  # seconds
UNIT = Path(__file__).parents[2] / "systemd/stunwall.service"


def come_first() -> None:
    """What else runs on this machine must not decide: this session's processes precede it (sched(7), autogroups)."""
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    with suppress(OSError):  # the kernel has none
        Path("/proc/self/autogroup").write_text("-20")


def batch(lines: Iterable[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    subprocess.run(["ip", "-force", "-batch", "-"], input=text, text=True, check=False, capture_output=True)


@contextmanager
def host(links: int = 10, routes: int = 10) -> Iterator[None]:
    """A network card with the default route, a VPN with its own, and so many more links, and routes by the card."""
    ip("link", "add", OUT, "type", "veth", "peer", "name", FAR)
    for name in (OUT, FAR):
        ip("link", "set", name, "up")
    ip("address", "add", "192.0.2.17/24", "dev", OUT)
    ip("neighbour", "add", "192.0.2.1", "lladdr", "02:00:00:00:00:07", "dev", OUT)
    ip("route", "add", "default", "via", "192.0.2.1", "metric", "100")
    with Tun(VPN, "10.9.8.7/24") as vpn:
        vpn.route("0.0.0.0/1", "128.0.0.0/1")
        batch(f"link add bl{number} up type veth peer name bm{number}" for number in range(links // 2))
        way = f"via 192.0.2.1 dev {OUT}"
        batch(f"route add {20 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24 {way}" for n in range(routes))
        try:
            yield
        finally:
            batch(f"link del bl{number}" for number in range(links // 2))
            ip("link", "del", OUT)


def environment() -> dict[str, str]:
    """What the service's unit sets."""
    lines = re.findall(r"^Environment=(.*)$", UNIT.read_text(), re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in line.split())


class Daemon:
    """A stunwalld; inside a `with` it is ready."""

    def __init__(self, **more: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stunwall-bench-")
        self.folder = Path(self._folder.name)
        self.file = self.folder / "stunwall.toml"
        self.file.write_text(f'state_dir = "{self.folder}/s"\nrun_dir = "{self.folder}/r"\n')
        self._environment = {**environment(), "PYTHONPATH": str(PACKAGE), **bytecode(), **more}

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "stunwall.daemon", "--config", str(self.file)]
        started = time.perf_counter()
        self._running = subprocess.Popen(command, env=self._environment, stderr=subprocess.PIPE, text=True)
        self.ready = self._wait_ready() - started
        """Seconds from its start."""
        return self

    def _wait_ready(self) -> float:
        assert self._running.stderr is not None
        said: list[str] = []
        for line in self._running.stderr:
            if "ready: " in line:
                now = time.perf_counter()
                # It must not wait for a reader of what it says.
                threading.Thread(target=self._running.stderr.read, daemon=True).start()
                return now
            said.append(line)
        raise RuntimeError("".join(said))

    def __exit__(self, *_: object) -> None:
        self._running.terminate()
        self._running.wait()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        return self._running.pid


def bytecode() -> dict[str, str]:
    """Where Python may keep bytecode, as an installed stunwall does."""
    prefix = os.environ.get("PYTHONPYCACHEPREFIX")
    return {"PYTHONPYCACHEPREFIX": prefix} if prefix else {}


def cpu(pid: int) -> float:
    """Milliseconds of CPU that a process has had."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


def memory(pid: int) -> Mapping[str, float]:
    """MiB of a process, by the words of /proc/PID/smaps_rollup: Rss, Pss, Private_Dirty."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


def p99(times: Sequence[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else float("nan")


class Asking:
    """Another program, which asks all the time; inside a `with` its flows are in the record already."""

    SETTLED = 3  # seconds

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bench.asking", OUT]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(self.SETTLED)
        self.take()
        return self

    def take(self) -> list[float]:
        """Milliseconds of each answer since the last call, as bench.asking prints them."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        return list(json.loads(self._child.stdout.readline()))

    def __exit__(self, *_: object) -> None:
        self._child.communicate()


class Watch:
    """The kernel's notifications of changed rules (nfnetlink), as they come: when a set or a chain has changed."""

    # linux/netlink.h, linux/netfilter/nfnetlink.h, nf_tables.h; the table and its set or chain are attributes 1 and 2
    NETFILTER, GROUP, SUBSYSTEM, RECEIVE_BUFFER = 12, 1 << (7 - 1), 10, 33
    NEWRULE, DELTABLE, NEWSETELEM, DELSETELEM = 6, 2, 12, 14

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, self.NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, self.RECEIVE_BUFFER, 1 << 24)
        self._socket.bind((0, self.GROUP))
        self._socket.settimeout(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def wait(self, kind: int, name: str = "") -> float:
        """When the next message of this kind came, in seconds of perf_counter()."""
        while True:
            received = self._socket.recv(1 << 20)
            now = time.perf_counter()
            if any(self._is(message, kind, name) for message in netlink.messages(received)):
                return now

    def drain(self) -> None:
        """Pass over what has come."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(1 << 20)
        except BlockingIOError:
            self._socket.settimeout(PATIENCE)

    def _is(self, message: netlink.Message, kind: int, name: str) -> bool:
        if message.kind != self.SUBSYSTEM << 8 | kind:
            return False
        found = netlink.attributes(message.data, message.start + 4, message.end)
        names = [found.get(number, b"").rstrip(b"\0").decode() for number in (1, 2)]
        return names[0] == "stunwall" and (not name or names[1] == name)


def listed(what: str) -> str | None:
    """What nft lists, None if there is no such thing."""
    done = subprocess.run(["nft", "list", *what.split()], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def wait_for_vpn() -> None:
    """Until the wall's set has the VPN."""
    until(lambda: f'"{VPN}"' in (listed("set inet stunwall vpn") or ""), PATIENCE, "the VPN in the set")

"""What a program costs that floods with STUN, and what others still get."""

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lab
from bench.asking import PATIENCE
from bench.host import FAR, OUT, Asking, Daemon, come_first, cpu, host, listed, memory, p99, wait_for_vpn
from bench.results import Budget, Growth, Result, Row, median
from lab.addresses import NOBODY

GROUP = "Floods"
SOURCE = Path(lab.__file__).with_name("flood.c")
ROUNDS = 3
SECONDS, UNGUARDED = 4, 1  # of a flood with stunwall, and without it
SEEN = 90  # % of what leaves, at least
ANY_RATE = 0
RATES = (1_000, 10_000, 100_000)  # packets a second
NOTHING, STUNWALL = "nothing", "stunwall"
LITTLE, NONE, MOST = Budget(5), Budget(0, always=True), Budget(95, least=True)
# Where they would arrive: the address of the flood's servers has a route by the card, and whatever comes is dropped.
COUNTING = f"""
    table netdev arrived {{
        chain ingress {{
            type filter hook ingress device "{FAR}" priority 0
            udp dport 3478 counter drop
        }}
    }}
"""


@dataclass(frozen=True, slots=True)
class Flood:
    """So many programs of one user, each with so many sockets in turn."""

    programs: int
    sockets: int

    def __str__(self) -> str:
        if not self.programs:
            return "no flood"
        sockets = "one socket" if self.sockets == 1 else f"{self.sockets} sockets"
        return (
            f"from {sockets}" if self.programs == 1 else f"from {self.programs} programs with {sockets} each"
        )


NO_FLOOD, USUAL = Flood(0, 0), Flood(1, 200)
FLOODS = (Flood(1, 1), USUAL, Flood(2, 200))


@dataclass(slots=True)
class Measured:
    """A value of each round. `daemon`: % of a core; `packet`: ns of a sender's CPU; `rate`: packets a
    second; `out`: % of them that leave; `grown`: MiB; `answered`: %; `p99`: ms.
    """

    daemon: list[float] = field(default_factory=list)
    packet: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    out: list[float] = field(default_factory=list)
    grown: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a flood has sent: packets, in seconds, with so much CPU."""

    packets: int
    seconds: float
    cpu: float


@contextmanager
def flood_program() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        program = Path(folder) / "flood"
        subprocess.run(["gcc", "-O2", "-o", str(program), str(SOURCE)], check=True)
        yield program


def send(program: Path, flood: Flood, rate: int, seconds: float) -> Sent:
    words = (NOBODY + 1, "192.0.2.17", OUT, flood.sockets, 1, 1 << 60, rate)
    start = time.monotonic()
    children = [
        subprocess.Popen([str(program), *map(str, words)], stdout=subprocess.PIPE, text=True)
        for _ in range(flood.programs)
    ]
    time.sleep(seconds)
    spent = sum(cpu(child.pid) for child in children)
    for child in children:
        child.terminate()
    packets = sum(int(child.communicate()[0].split()[-1]) for child in children)
    return Sent(packets, time.monotonic() - start, spent)


def arrived() -> int:
    found = re.search(r"packets (\d+)", listed("table netdev arrived") or "")
    if not found:
        raise RuntimeError("nothing counts what leaves")
    return int(found[1])


@contextmanager
def counting() -> Iterator[None]:
    subprocess.run(["nft", "-f", "-"], input=COUNTING, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "netdev", "arrived"], check=True)


def unguarded(program: Path, flood: Flood, into: Measured) -> None:
    """A round without stunwall: all of it leaves. RuntimeError if that is not seen, as then no leak would be."""
    before = arrived()
    sent = send(program, flood, ANY_RATE, UNGUARDED)
    into.packet.append(sent.cpu * 1e6 / sent.packets)
    into.rate.append(sent.packets / sent.seconds)
    into.out.append((arrived() - before) / sent.packets * 100)
    if into.out[-1] < SEEN:
        raise RuntimeError(f"only {into.out[-1]:.1f} % of what leaves is counted")


def guarded(program: Path, flood: Flood, rate: int, seconds: float, into: Measured) -> None:
    """A round with a stunwalld of its own, and another program that asks."""
    with Daemon() as daemon:
        wait_for_vpn()
        with Asking() as asking:
            left, small = arrived(), memory(daemon.pid)["Rss"]
            spent, start = cpu(daemon.pid), time.monotonic()
            if flood == NO_FLOOD:
                time.sleep(seconds)
            else:
                sent = send(program, flood, rate, seconds)
                into.packet.append(sent.cpu * 1e6 / sent.packets)
                into.rate.append(sent.packets / sent.seconds)
                into.out.append((arrived() - left) / sent.packets * 100)
            into.daemon.append((cpu(daemon.pid) - spent) / (time.monotonic() - start) / 10)
            answers = asking.take()
            into.answered.append(100 * sum(each < PATIENCE * 1e3 for each in answers) / len(answers))
            into.p99.append(p99(answers))
            into.grown.append(memory(daemon.pid)["Rss"] - small)


def rows(who: str, peer: str, found: Measured) -> Iterator[Row]:
    of_stunwall = peer == STUNWALL

    def row(what: str, unit: str, values: list[float], *budgets: Budget) -> Row:
        return Row(GROUP, f"{who}: {what}", peer, unit, tuple(values), budgets if of_stunwall else ())

    if found.rate:
        yield row("packets a second", "", found.rate)
        yield row("the sender's CPU a packet, with the kernel's", "ns", found.packet)
        yield row("packets that leave", "%", found.out, NONE)
    if found.daemon:
        yield row("stunwalld's CPU", "% of a core", found.daemon, LITTLE)
        yield row("stunwalld's memory grows by", "MiB", found.grown)
        yield row("another program's requests answered", "%", found.answered, MOST)
        yield row("p99 of its answers", "ms", found.p99)


def measure(quick: bool) -> Iterator[Result]:
    """Rows for no flood and each kind of flood, and how another program's p99 grows with the rate."""
    come_first()
    rounds, seconds = (1, 1) if quick else (ROUNDS, SECONDS)
    free = {flood: Measured() for flood in FLOODS}
    walled = {flood: Measured() for flood in (NO_FLOOD, *FLOODS)}
    by_rate = {rate: Measured() for rate in RATES}
    with host(), flood_program() as program, counting():
        for _ in range(rounds):
            for flood, into in free.items():
                unguarded(program, flood, into)
            for flood, into in walled.items():
                guarded(program, flood, ANY_RATE, seconds, into)
        for rate, into in () if quick else by_rate.items():
            guarded(program, USUAL, rate, seconds, into)
    for flood, into in free.items():
        yield from rows(str(flood), NOTHING, into)
    for flood, into in walled.items():
        yield from rows(str(flood), STUNWALL, into)
    fastest = walled[USUAL]
    points = [(0, walled[NO_FLOOD]), *by_rate.items(), (round(median(fastest.rate), -3), fastest)]
    curve = tuple((int(rate), tuple(into.p99)) for rate, into in points if into.p99)
    yield Growth(GROUP, "p99 of another program's answers", "packets a second", STUNWALL, "ms", curve)

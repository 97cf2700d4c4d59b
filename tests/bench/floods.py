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
SOCKETS = (1, 200)
ANY_RATE, NO_FLOOD = 0, -1
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


def flood(program: Path, sockets: int, rate: int, seconds: float) -> Sent:
    words = (NOBODY + 1, "192.0.2.17", OUT, sockets, 1, 1 << 60, rate)
    child = subprocess.Popen([str(program), *map(str, words)], stdout=subprocess.PIPE, text=True)
    start = time.monotonic()
    time.sleep(seconds)
    spent = cpu(child.pid)
    child.terminate()
    said, _ = child.communicate()
    return Sent(int(said.split()[-1]), time.monotonic() - start, spent)


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


def unguarded(program: Path, sockets: int, into: Measured) -> None:
    """A round without stunwall: all of it leaves. RuntimeError if that is not seen, as then no leak would be."""
    before = arrived()
    sent = flood(program, sockets, ANY_RATE, UNGUARDED)
    into.packet.append(sent.cpu * 1e6 / sent.packets)
    into.rate.append(sent.packets / sent.seconds)
    into.out.append((arrived() - before) / sent.packets * 100)
    if into.out[-1] < SEEN:
        raise RuntimeError(f"only {into.out[-1]:.1f} % of what leaves is counted")


def guarded(program: Path, sockets: int, rate: int, seconds: float, into: Measured) -> None:
    """A round with a stunwalld of its own, and another program that asks."""
    with Daemon() as daemon:
        wait_for_vpn()
        with Asking() as asking:
            left, small = arrived(), memory(daemon.pid)["Rss"]
            spent, start = cpu(daemon.pid), time.monotonic()
            if rate == NO_FLOOD:
                time.sleep(seconds)
            else:
                sent = flood(program, sockets, rate, seconds)
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
    free = {sockets: Measured() for sockets in SOCKETS}
    walled = {sockets: Measured() for sockets in (0, *SOCKETS)}
    by_rate = {rate: Measured() for rate in RATES}
    with host(), flood_program() as program, counting():
        for _ in range(rounds):
            for sockets, into in free.items():
                unguarded(program, sockets, into)
            for sockets, into in walled.items():
                guarded(program, sockets, ANY_RATE if sockets else NO_FLOOD, seconds, into)
        for rate, into in () if quick else by_rate.items():
            guarded(program, SOCKETS[-1], rate, seconds, into)
    for sockets, into in free.items():
        yield from rows(name(sockets), NOTHING, into)
    for sockets, into in walled.items():
        yield from rows(name(sockets), STUNWALL, into)
    fastest = walled[SOCKETS[-1]]
    points = [(0, walled[0]), *by_rate.items(), (round(median(fastest.rate), -3), fastest)]
    curve = tuple((int(rate), tuple(into.p99)) for rate, into in points if into.p99)
    yield Growth(GROUP, "p99 of another program's answers", "packets a second", STUNWALL, "ms", curve)


def name(sockets: int) -> str:
    if not sockets:
        return "no flood"
    return "from one socket" if sockets == 1 else f"from {sockets} sockets"

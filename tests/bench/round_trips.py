"""How long an answer takes: the first one of a flow, and the next, with every peer's turn in each round."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeVar

from bench.machine import BY_WAY_OUT, SERVER, VPN_ADDRESS, Machine, Tunnel
from bench.peers import (
    BLOCK,
    EXCEPTION,
    LISTENER,
    OPENSNITCH,
    PEERS,
    PYTHON,
    REDIRECT,
    Peer,
    judged,
    present,
    running,
)
from bench.results import Budget, Result, Row
from bench.tools import Meter, turns

T = TypeVar("T")

GROUP = "Round trip of a STUN request by a way out"
PARTS, SAMPLES = 10, 100
ROW = 15  # of which a part has twice as many: fewer than the limits of the wall for one sender
PACE = 0.003  # seconds from one peer to the next, so that the last one has recorded what it has to record
REFUSED = "refused"
SUCCESS = BY_WAY_OUT  # the address that the server sees
ANSWERS = {BLOCK: REFUSED, REDIRECT: VPN_ADDRESS}  # of all others: SUCCESS
QUEUED = {LISTENER: 2, PYTHON: 2, OPENSNITCH: 1}  # how many packets of a flow they have to judge
BUDGETS = (Budget(1.2, LISTENER.name), Budget(0.5, OPENSNITCH.name))


@dataclass(frozen=True, slots=True)
class Sample:
    """Microseconds until the answers to the first request of a flow and to the next, and what the first answer is."""

    first: float
    next: float
    answer: str


def measure(quick: bool) -> Iterator[Result]:
    """Yields the round trips after a pause, and those of many requests in a row."""
    parts, samples, row = (2, 5, 2) if quick else (PARTS, SAMPLES, ROW)
    with (
        running(present((*PEERS, PYTHON, EXCEPTION)), Tunnel.CABLE) as machines,
        askers(machines, SERVER) as asking,
    ):
        paused = [asked(asking, samples) for _ in range(parts)]
        together = [in_a_row(asking, row) for _ in range(parts)]
        for peer, packets in QUEUED.items():
            if peer in machines and judged(machines[peer]) < parts * (samples + 2 * row) * packets:
                raise RuntimeError(f"{peer.name}: packets have passed that it did not judge")
    for part in (*paused, *together):
        for peer, found in part.items():
            check(peer.name, found, ANSWERS.get(peer, SUCCESS))
    for peer in paused[0]:
        yield from rows(peer, [part[peer] for part in paused], [part[peer] for part in together])


def rows(
    peer: Peer, paused: Sequence[Sequence[Sample]], together: Sequence[Sequence[Sample]]
) -> Iterator[Row]:
    """The rows of one peer, from the parts of what was measured."""

    def row(what: str, of: Iterable[float], budgets: tuple[Budget, ...] = ()) -> Row:
        return Row(GROUP, what, peer.name, "µs", tuple(round(each, 1) for each in of), budgets)

    allowed = BUDGETS if peer in (BLOCK, REDIRECT) else ()
    firsts, nexts = (
        [[getattr(one, which) for one in part] for part in paused] for which in ("first", "next")
    )
    yield row("first of a flow, median", map(median, firsts), allowed)
    yield row("first of a flow, 99th percentile", map(late, firsts))
    yield row("next of the flow, median", map(median, nexts))
    yield row("next of the flow, 99th percentile", map(late, nexts))
    yield row(
        "first of a flow, in a row, median", (median(one.first for one in part) for part in together), allowed
    )
    yield row("next of the flow, in a row, median", (median(one.next for one in part) for part in together))


def asked(asking: Mapping[T, Meter], samples: int) -> dict[T, list[Sample]]:
    """So many samples of each, taken in turns, with a pause after each of them."""
    taken: dict[T, list[Sample]] = {who: [] for who in asking}
    for _ in range(samples):
        for who, asker in turns(asking):
            taken[who].append(sample(asker))
            time.sleep(PACE)
    return taken


def in_a_row(asking: Mapping[T, Meter], samples: int) -> dict[T, list[Sample]]:
    """So many samples of each without a pause, when as many before them have warmed it up."""
    return {who: [sample(asker) for _ in range(2 * samples)][samples:] for who, asker in turns(asking)}


@contextmanager
def askers(machines: Mapping[T, Machine], server: str) -> Iterator[dict[T, Meter]]:
    """One who asks the server on each machine, and has done so once: the neighbours are known."""
    with ExitStack() as stack:
        asking = {
            who: stack.enter_context(Meter(machine.client, "asker", BY_WAY_OUT, server))
            for who, machine in machines.items()
        }
        for asker in asking.values():
            asker.measure()
        yield asking


def sample(asker: Meter) -> Sample:
    first, following, answer = asker.measure()
    return Sample(float(first) / 1e3, float(following) / 1e3, answer)


def check(who: str, part: Sequence[Sample], wanted: str) -> None:
    """RuntimeError if most answers are other than expected: then something else was measured."""
    got = [sample.answer for sample in part]
    if got.count(wanted) * 2 < len(got):
        raise RuntimeError(f"{who}: expected the answer {wanted}, got {sorted(set(got))}")


def late(times: Sequence[float]) -> float:
    """The 99th percentile."""
    return quantiles(times, n=100, method="inclusive")[98]

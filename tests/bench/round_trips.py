"""How long an answer takes: the first one of a flow, and the next, with every peer's turn in each round."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeVar

from bench.machine import BY_WAY_OUT, SERVER, Machine, Tunnel
from bench.peers import BLOCK, EXCEPTION, LISTENER, OPENSNITCH, PEERS, REDIRECT, Peer, present, running
from bench.results import Budget, Result, Row
from bench.tools import Meter

T = TypeVar("T")

GROUP = "Round trip of a STUN request by a way out"
PARTS, SAMPLES = 10, 100
PACE = 0.003  # seconds from one peer to the next, so that the last one has recorded what it has to record
SUCCESS, REFUSAL = "0101", "0111"  # RFC 8489 §5: the types of the answers to a Binding Request
BUDGETS = (Budget(1.2, LISTENER.name), Budget(0.5, OPENSNITCH.name))


@dataclass(frozen=True, slots=True)
class Sample:
    """Microseconds until the answers to the first request of a flow and to the next, and the first answer's type."""

    first: float
    next: float
    answer: str


def measure(quick: bool) -> Iterator[Result]:
    parts, samples = (2, 5) if quick else (PARTS, SAMPLES)
    with running(present((*PEERS, EXCEPTION)), Tunnel.CABLE) as machines:
        taken: dict[Peer, list[list[Sample]]] = {peer: [] for peer in machines}
        for _ in range(parts):
            for peer, part in asked(machines, SERVER, samples).items():
                check(peer.name, part, REFUSAL if peer is BLOCK else SUCCESS)
                taken[peer].append(part)
    for peer, found in taken.items():
        firsts = [[sample.first for sample in part] for part in found]
        nexts = [[sample.next for sample in part] for part in found]
        allowed = BUDGETS if peer in (BLOCK, REDIRECT) else ()
        for what, of, budgets in (
            ("first of a flow, median", [median(part) for part in firsts], allowed),
            ("first of a flow, 99th percentile", list(map(late, firsts)), ()),
            ("next of the flow, median", [median(part) for part in nexts], ()),
            ("next of the flow, 99th percentile", list(map(late, nexts)), ()),
        ):
            yield Row(GROUP, what, peer.name, "µs", tuple(of), budgets)


def asked(machines: Mapping[T, Machine], server: str, samples: int) -> dict[T, list[Sample]]:
    """So many samples of each, taken in turns."""
    taken: dict[T, list[Sample]] = {peer: [] for peer in machines}
    with ExitStack() as stack:
        askers = {
            peer: stack.enter_context(Meter(machine.client, "asker", BY_WAY_OUT, server))
            for peer, machine in machines.items()
        }
        for asker in askers.values():
            asker.measure()  # the neighbours are not known before the first
        for _ in range(samples):
            for peer, asker in askers.items():
                taken[peer].append(sample(asker))
                time.sleep(PACE)
    return taken


def sample(asker: Meter) -> Sample:
    first, following, answer = asker.measure()
    return Sample(float(first) / 1e3, float(following) / 1e3, answer)


def check(who: str, part: Sequence[Sample], wanted: str) -> None:
    """RuntimeError if most answers are of another type than expected: then something else was measured."""
    got = [sample.answer for sample in part]
    if got.count(wanted) * 2 < len(got):
        raise RuntimeError(f"{who}: expected the answer {wanted}, got {sorted(set(got))}")


def late(times: Sequence[float]) -> float:
    """The 99th percentile."""
    return quantiles(times, n=100, method="inclusive")[98]

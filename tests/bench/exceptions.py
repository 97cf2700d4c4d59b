"""What exceptions cost, by how many there are: to other packets, and to STUN that none or the last one permits."""

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from statistics import median

from bench.machine import OTHER_SERVER, SERVER, Machine, Tunnel, machine
from bench.packets import WAYS, added, nanoseconds
from bench.peers import stunwall
from bench.results import Growth, Result
from bench.round_trips import REFUSED, SUCCESS, Sample, asked, askers, check

GROUP = "Exceptions"
AGAINST = "[[allow]] exceptions"
SIZES = (0, 1, 10, 100, 1000)
ROUNDS, BLOCKS, SAMPLES = 40, 60, 200
NOTHING = -1  # instead of a number of exceptions: no stunwall
OTHERS = ip_address("100.64.0.1")  # and what follows: nothing is sent there

Points = tuple[tuple[int, tuple[float, ...]], ...]


def measure(quick: bool) -> Iterator[Result]:
    sizes, rounds, blocks, samples = ((0, 10), 2, 1, 5) if quick else (SIZES, ROUNDS, BLOCKS, SAMPLES)
    with ExitStack() as stack:
        machines = {NOTHING: stack.enter_context(machine("e", Tunnel.CABLE))}
        for size in sizes:
            machines[size] = stack.enter_context(machine(f"e{size}", Tunnel.CABLE))
            stack.enter_context(stunwall(machines[size], "block", exceptions(size)))
        yield others(machines, rounds, blocks)
        del machines[NOTHING]
        yield answers("refused", machines, SERVER, samples, REFUSED)
        yield answers("permitted by the last exception", machines, OTHER_SERVER, samples, SUCCESS)


def exceptions(size: int) -> list[str]:
    """So many addresses, the last of which is OTHER_SERVER."""
    return [*(str(OTHERS + number) for number in range(size - 1)), OTHER_SERVER][:size]


def others(machines: dict[int, Machine], rounds: int, blocks: int) -> Growth:
    """A packet that is not STUN, beyond what it takes without stunwall."""
    way = WAYS[0]
    taken = nanoseconds(way, machines, rounds, blocks)
    points = tuple((size, added(taken[size], taken[NOTHING])) for size in machines if size != NOTHING)
    return Growth(GROUP, f"Not STUN: {way.name}", AGAINST, "added by stunwall block", "ns", points)


def answers(what: str, machines: dict[int, Machine], server: str, samples: int, wanted: str) -> Growth:
    """The first answer of a flow. Without an exception nothing is permitted."""
    able = {size: each for size, each in machines.items() if size or wanted == REFUSED}
    points = []
    with askers(able, server) as asking:
        taken = asked(asking, samples)
    for size, part in taken.items():
        check(f"{what}, {size} exceptions", part, wanted)
        points.append((size, parts(part)))
    return Growth(GROUP, "First round trip of a flow", AGAINST, what, "µs", tuple(points))


def parts(samples: list[Sample]) -> tuple[float, ...]:
    """The medians of a tenth of the samples each."""
    length = max(1, len(samples) // 10)
    return tuple(
        median(sample.first for sample in samples[start : start + length])
        for start in range(0, len(samples), length)
    )

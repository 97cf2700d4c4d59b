"""What stunwalld takes to say whether a packet is STUN: CPU in one thread, without the queue."""

import time
from collections.abc import Callable, Iterator

from bench.host import come_first
from bench.results import Result, Row
from stunwall.stun.detect import detect
from stunwall.stun.packet import parse
from unit.build import packet
from vectors.others import OTHERS
from vectors.programs import SAMPLES

GROUP = "Detection"
ROUNDS, TIMES = 20, 50  # how often all packets are looked at in a round
PORT = 50000
TRANSPORTS = {"udp": "UDP", "tcp": "TCP"}


def kinds() -> dict[str, list[bytes]]:
    """The packets of the tests' vectors, by what they are."""
    found: dict[str, list[bytes]] = {}
    for sample in SAMPLES:
        what = f"{TRANSPORTS[sample.transport]} that is STUN or a relative"
        found.setdefault(what, []).append(packet(sample.transport, sample.payload, 4, sample.port))
    for _, transport, port, payload in OTHERS:
        what = f"{TRANSPORTS[transport]} that is something else"
        found.setdefault(what, []).append(packet(transport, payload, 4, port or PORT))
    return found


def microseconds(work: Callable[[bytes], object], packets: list[bytes], times: int) -> float:
    """The CPU of one packet."""
    start = time.thread_time()
    for _ in range(times):
        for each in packets:
            work(each)
    return (time.thread_time() - start) * 1e6 / (times * len(packets))


def measure(quick: bool) -> Iterator[Result]:
    """Rows for each kind of packet, of the part that reads headers and of all of it."""
    come_first()
    rounds, times = (1, 5) if quick else (ROUNDS, TIMES)
    steps: dict[str, Callable[[bytes], object]] = {"headers alone": parse, "detect()": detect}
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for what, packets in kinds().items():
            for step, work in steps.items():
                found.setdefault((what, step), []).append(microseconds(work, packets, times))
    for (what, step), values in found.items():
        yield Row(GROUP, what, step, "µs", tuple(values))

"""What a packet costs that is not STUN: the whole of it without rules, and what each peer adds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import isfinite, nan
from typing import TypeVar

from bench.machine import (
    BOX_BY_WAY_OUT,
    BOX_INTO_VPN,
    BY_WAY_OUT,
    BY_WAY_OUT6,
    INTO_VPN,
    SERVER,
    SERVER6,
    Machine,
    Tunnel,
)
from bench.peers import BLOCK, CONNECTION_TRACKING, NOTHING, PEERS, Peer, present, running
from bench.results import Budget, Result, Row
from bench.tools import Meter, turns

T = TypeVar("T")

BARE = "A packet that is not STUN: its kernel time without rules"
ADDED = "A packet that is not STUN: the kernel time that is added"
ROUNDS, BLOCKS = 40, 60
PACKETS = 50  # a block, see sender.c
ENDED = 0.9  # of them at least: others are no packets that passed
SMALL, LARGE, SEGMENT = 64, 1200, 512


@dataclass(frozen=True, slots=True)
class Way:
    """How a packet goes, and what it is."""

    name: str
    source: str
    kind: str
    size: int
    budget: float = 0.0
    """What stunwall in mode block may cost, as a factor of connection tracking."""
    server: str = SERVER

    @property
    def forwarded(self) -> bool:
        return self.source in (BOX_BY_WAY_OUT, BOX_INTO_VPN)

    def sender(self, machine: Machine, blocks: int) -> Meter:
        namespace = machine.box if self.forwarded else machine.client
        return Meter(namespace, "sender", self.kind, self.source, self.server, str(self.size), str(blocks))


# What is measured of a connection into the VPN ends there, or the VPN's own program would take the time: by a raw
# socket, which does not wait for an answer.
WAYS = (
    Way("UDP, 64 bytes, by a way out", BY_WAY_OUT, "udp", SMALL, 2),
    Way("UDP, 1,200 bytes, by a way out", BY_WAY_OUT, "udp", LARGE),
    Way("TCP, 512 bytes, by a way out", BY_WAY_OUT, "tcp", SEGMENT),
    Way("UDP, 64 bytes, into the VPN", INTO_VPN, "udp", SMALL, 0.6),
    Way("UDP, 1,200 bytes, into the VPN", INTO_VPN, "udp", LARGE),
    Way("TCP, 512 bytes, into the VPN", INTO_VPN, "raw", SEGMENT),
    Way("IPv6: UDP, 64 bytes, by a way out", BY_WAY_OUT6, "udp", SMALL, server=SERVER6),
    Way("IPv6: UDP, 64 bytes, into the VPN", INTO_VPN, "udp", SMALL, server=SERVER6),
    Way("forwarded: UDP, 64 bytes, by a way out", BOX_BY_WAY_OUT, "udp", SMALL),
    Way("forwarded: UDP, 1,200 bytes, by a way out", BOX_BY_WAY_OUT, "udp", LARGE),
    Way("forwarded: TCP, 512 bytes, by a way out", BOX_BY_WAY_OUT, "tcp", SEGMENT),
    Way("forwarded: UDP, 64 bytes, into the VPN", BOX_INTO_VPN, "udp", SMALL),
    Way("forwarded: UDP, 1,200 bytes, into the VPN", BOX_INTO_VPN, "udp", LARGE),
)


def measure(quick: bool) -> Iterator[Result]:
    """Yields what a packet takes by each way, and what each peer adds."""
    rounds, blocks = (2, 1) if quick else (ROUNDS, BLOCKS)
    with running(present(PEERS), Tunnel.TUN) as machines:
        for way in WAYS:
            yield from rows(way, nanoseconds(way, machines, rounds, blocks))


def nanoseconds(
    way: Way, machines: Mapping[T, Machine], rounds: int, blocks: int
) -> dict[T, tuple[float, ...]]:
    """What a packet takes in each round; in every round it is each one's turn.

    RuntimeError if the packets do not arrive: what is dropped on its way takes less time.
    """
    before = {peer: machine.ended() for peer, machine in machines.items()}
    taken: dict[T, list[float]] = {peer: [] for peer in machines}
    with ExitStack() as stack:
        senders = {
            peer: stack.enter_context(way.sender(machine, blocks)) for peer, machine in machines.items()
        }
        for _ in range(rounds):
            for peer, sender in turns(senders):
                taken[peer].append(float(sender.measure()[0]))
    for peer, machine in machines.items() if way.kind != "tcp" else ():
        ended, sent = machine.ended() - before[peer], rounds * blocks * PACKETS
        if ended < ENDED * sent:
            raise RuntimeError(f"{way.name}, {peer}: {ended} of {sent} packets have arrived")
    return {peer: tuple(values) for peer, values in taken.items()}


def added(values: Sequence[float], nothing: Sequence[float]) -> tuple[float, ...]:
    """What is added to `nothing`, round by round; nan if that was never measured."""
    both = [pair for pair in zip(values, nothing, strict=True) if all(map(isfinite, pair))]
    return tuple(round(one - none, 1) for one, none in both) or (nan,)


def rows(way: Way, taken: dict[Peer, tuple[float, ...]]) -> Iterator[Row]:
    for peer, values in taken.items():
        if peer is NOTHING:
            yield Row(BARE, way.name, peer.name, "ns", tuple(filter(isfinite, values)) or (nan,))
        else:
            allowed = (Budget(way.budget, CONNECTION_TRACKING.name),) if peer is BLOCK and way.budget else ()
            yield Row(ADDED, way.name, peer.name, "ns", added(values, taken[NOTHING]), allowed)

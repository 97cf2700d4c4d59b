"""A program that floods takes nothing from others: they are answered and recorded, and nothing leaves."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET

import pytest

from lab.addresses import BOX, CLIENT, COTURN, NOBODY, PHYSICAL, STUN_SERVER
from lab.agent import Agent
from lab.cgroups import Cgroups
from lab.deadline import until
from lab.flood import build
from lab.leaks import CONTAINER, DEVICE, Leak
from lab.messages import REFUSED, binding_request, error_code
from lab.observe import LIMITS, assert_leaks, events, settled_events, status
from lab.probe import ANSWER_SECONDS, DEVICE_BOUND, connect, exchange, send
from lab.process import Process
from lab.topology import Lab
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn")

MOST = 20_000_000  # packets of a flood: it ends when the test does
FLOODING = 30  # seconds until a flood is under way
REQUESTS, ENOUGH = 40, 38  # of another program, and how many of them get an answer: 95 %
PACE = 0.05  # seconds between two of them
# Seconds until a request is sent again, and until it is given up (RFC 8489 §6.2.1).
AGAIN = (0.5, 1.0, ANSWER_SECONDS)
# Rows of one program in the record. It counts as two senders if it closes its sockets too soon to be looked up.
ROWS = 250


@dataclass(frozen=True, slots=True)
class Flood:
    """How a program floods: see flood.c."""

    sockets: int
    rate: int
    servers: int = 1
    user: int = NOBODY
    box: bool = False
    device: str = PHYSICAL

    def __str__(self) -> str:
        ways = {0: "changing ports", 1: "one socket"}
        who = "a container" if self.box else "another user" if self.user else "the same user"
        how = ways.get(self.sockets, f"{self.sockets} sockets")
        servers = ", many servers" if self.servers > 1 else ""
        return f"{who}: {how}{servers}, {self.rate or 'as many as it can'}"

    def arguments(self) -> list[str]:
        source = BOX if self.box else CLIENT
        numbers = (self.sockets, self.servers, MOST, self.rate)
        device = "" if self.box else self.device
        return [str(self.user), source[AF_INET], device, *map(str, numbers)]


SLOW, FASTEST = 1_000, 0  # the limits are near the first; with the second, everything is busy
# Every kind of sender and of flood, and in a run of everything no more than that.
FLOODS = [
    Flood(200, FASTEST),
    Flood(200, FASTEST, user=0),
    Flood(0, SLOW),
    Flood(0, FASTEST, servers=250),
    Flood(0, SLOW, servers=250, user=0),
    Flood(0, SLOW, servers=250, box=True),
]
MORE_FLOODS = [
    *(Flood(1, FASTEST, user=user) for user in (NOBODY, 0)),
    Flood(0, FASTEST),
    Flood(0, FASTEST, user=0),
    Flood(0, SLOW, servers=250),
    *(Flood(sockets, FASTEST, servers=250, box=True) for sockets in (1, 200, 0)),
]


@pytest.fixture(scope="module")
def flood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    return build(tmp_path_factory.mktemp("flood"))


@contextmanager
def flooding(lab: Lab, program: Path, how: Flood, cgroups: Cgroups) -> Iterator[list[int]]:
    """Floods from a cgroup of its own; afterwards the list has the number of packets."""
    into = f'echo 0 >{cgroups.make("flood")}/cgroup.procs && exec "$@"'
    enter = () if how.box else ("sh", "-c", into, "sh")
    process = Process(lab.box if how.box else lab.client, *enter, str(program), *how.arguments())
    sent: list[int] = []
    try:
        process.wait_line("flooding", FLOODING)
        yield sent
    finally:
        process.stop()
    sent.append(int(process.lines[-1].split()[1]))


def asked(lab: Lab) -> tuple[int, int, set[int]]:
    """How many requests of another program are refused, how often it sent them, and from which ports.

    Half of them are of one socket. As each client does, it sends a request again that gets no answer.
    """
    refused, sent, ports = 0, 0, set()
    with connect(lab.client, COTURN[AF_INET], DEVICE_BOUND) as own:
        for number in range(REQUESTS):
            time.sleep(PACE)
            with ExitStack() as stack:
                sock = own
                if number % 2:
                    sock = stack.enter_context(connect(lab.client, COTURN[AF_INET], DEVICE_BOUND))
                request = binding_request()
                for seconds in AGAIN:
                    sent += 1
                    if error_code(exchange(sock, request, seconds)) == REFUSED:
                        refused += 1
                        ports.add(sock.getsockname()[1])
                        break
    return refused, sent, ports


def accounted(agent: Agent) -> int:
    """How many packets are in the record, or counted where they were dropped."""
    daemon = status(agent)["daemon"]
    dropped = daemon["queue_overruns"] + sum(daemon["counters"][name] for name in LIMITS)
    return int(dropped + sum(event["count"] for event in events(agent)))


def ask_by(lab: Lab, leak: Leak, nonce: bytes) -> None:
    with connect(leak.sender(lab), COTURN[AF_INET], leak.binding[AF_INET]) as sock:
        send(sock, binding_request(nonce))


@pytest.mark.parametrize(
    "how", [*FLOODS, *(pytest.param(how, marks=pytest.mark.thorough) for how in MORE_FLOODS)], ids=str
)
def test_another_program_is_answered_and_recorded(
    lab: Lab, cgroups: Cgroups, flood: Path, how: Flood
) -> None:
    leak = CONTAINER if how.box else DEVICE
    with leak.made(lab, AF_INET):
        assert_leaks(lab, lambda nonce: ask_by(lab, leak, nonce))
        with Agent(lab) as agent, Wire(lab) as wire:
            with flooding(lab, flood, how, cgroups) as sent:
                refused, asking, ports = asked(lab)
            assert not wire.stun()
            settled_events(lab, agent)
            asking += 1  # that one's
            # Nothing is lost in silence; what stands for several flows is counted some time later.
            until(lambda: accounted(agent) == sent[0] + asking, 10, "each packet to be counted")
            recorded = events(agent)
    assert refused >= ENOUGH
    own = [event for event in recorded if event["destination"] == STUN_SERVER[AF_INET]]
    assert ports <= {event["source_port"] for event in own}
    assert refused <= sum(event["count"] for event in own) <= asking
    others = [event for event in recorded if event["destination"] != STUN_SERVER[AF_INET]]
    assert 0 < len(others) <= ROWS
    print(f"{how}: {sent[0]} packets, refused {refused}, rows {len(others)}")

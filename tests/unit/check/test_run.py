"""check/run.py: with routers that limit and lose their reports, no way that leaks is ever called sealed."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from stunwall.check import messages, probe, run
from stunwall.check.probe import Probe
from stunwall.check.verdict import Verdict, overall
from stunwall.check.ways import DESTINATIONS, Kind, Way
from stunwall.model import Address, Transport
from stunwall.vpn.cause import Cause, Explanation
from stunwall.vpn.walk import Outcome, Packet, Path

ROUTER, VPN_ROUTER = ip_address("192.0.2.1"), ip_address("10.0.0.1")
BURST = 6  # of reports, then one a second (icmp_ratelimit)


def way(number: int, cause: Cause = Cause.SOURCE_BOUND, kind: Kind = Kind.SOURCE) -> Way:
    packet = Packet(DESTINATIONS[4], source=ip_address(f"192.0.2.{number}"))
    exit_ = "wg0" if cause is Cause.VPN else "eth0"
    explanation = Explanation(cause, Path(Outcome.ROUTED, (1,)))
    return Way(kind, packet, tuple(Transport), "", explanation, (exit_,))


@dataclass
class Network:
    """In place of the wire and the clock: what is sent at each try, and who reports it."""

    leaking: Callable[[Probe], bool] = lambda packet: False
    tokens: float = 1000.0
    rate: float = 1.0
    """Reports that the router can spare, and how many more a second."""
    lost: float = 0.0
    """The part of the packets that are lost."""
    distance: int = 1
    """Of the first router that reports anything."""
    shared: bool = False
    """The VPN's router and the other one have the same address."""
    moved: bool = False
    """STUN is moved into the VPN."""
    answered: bool = False
    """This machine answers STUN that does not leave."""
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    tries: int = 0
    now: float = 0.0

    def __post_init__(self) -> None:
        self.most = max(self.tokens, BURST)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.tokens = min(self.tokens + seconds * self.rate, self.most)

    def monotonic(self) -> float:
        return self.now

    def send(self, probes: Sequence[Probe], hops: int, seconds: float, own: frozenset[Address]) -> None:
        self.tries += any(each.name for each in probes)
        for packet in probes:
            leaves = packet.way.into_vpn or not packet.name or self.leaking(packet)
            router = VPN_ROUTER if packet.way.into_vpn else ROUTER
            if not leaves and self.moved:
                leaves, router = True, VPN_ROUTER
            if not leaves:
                packet.answered = self.answered
            elif hops >= self.distance and self.tokens >= 1 and self.dice.random() >= self.lost:
                packet.seen_by = ROUTER if self.shared else router
                self.tokens -= 1
        self.sleep(seconds)


def verdicts(monkeypatch: pytest.MonkeyPatch, network: Network, *found: Way) -> list[Verdict]:
    monkeypatch.setattr(probe, "send", network.send)
    monkeypatch.setattr(run, "time", network)
    return [each.verdict for each in run.examine(found, frozenset(), messages.USUAL)]


OUTSIDE = tuple(way(number) for number in range(10, 14))


def test_where_only_the_other_packets_are_reported_the_way_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    assert verdicts(monkeypatch, network, *OUTSIDE) == [Verdict.SEALED] * 8
    assert network.tries == run.PROVEN


def test_what_this_machine_answers_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(answered=True)
    assert verdicts(monkeypatch, network, *OUTSIDE) == [Verdict.SEALED] * 8
    assert network.tries == 1


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("tokens", [0.0, 0.4, 0.95, 1.0, 1.6, 2.0, 3.5, BURST])
@pytest.mark.parametrize("rate", [0.2, 0.5, 1.0, 2.0])
def test_a_router_that_limits_its_reports_makes_no_leak_sealed(
    monkeypatch: pytest.MonkeyPatch, tokens: float, count: int, rate: float
) -> None:
    """Linux reports 6 packets at once, then one a second; fewer after an earlier check. Others have other limits."""
    network = Network(leaking=lambda packet: True, tokens=tokens, rate=rate)
    found = verdicts(monkeypatch, network, *(way(number) for number in range(10, 10 + count)))
    assert Verdict.SEALED not in found
    if rate >= 1:
        assert Verdict.LEAK in found


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("tokens", [0.0, 0.95, 1.0, 1.6, 2.0, 3.5, BURST])
@pytest.mark.parametrize("rate", [0.2, 0.5, 1.0, 2.0])
def test_one_leaking_way_among_sealed_ones_is_not_sealed(
    monkeypatch: pytest.MonkeyPatch, number: int, tokens: float, rate: float
) -> None:
    network = Network(leaking=lambda packet: packet.way is OUTSIDE[number], tokens=tokens, rate=rate)
    found = verdicts(monkeypatch, network, *OUTSIDE)
    assert Verdict.SEALED not in found[2 * number : 2 * number + 2]


@pytest.mark.parametrize("tokens", [0.95, 1.0, 3.0, BURST, 100.0])
def test_a_router_with_the_address_of_the_vpns_makes_no_leak_sealed(
    monkeypatch: pytest.MonkeyPatch, tokens: float
) -> None:
    network = Network(leaking=lambda packet: True, tokens=tokens, shared=True)
    found = verdicts(monkeypatch, network, way(9, Cause.VPN, Kind.UNBOUND), *OUTSIDE)
    assert Verdict.SEALED not in found


def test_the_other_packet_has_stuns_port_outside_the_vpn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules, routes and routers may treat another port in another way: then it would show nothing about STUN."""
    ports: set[int] = set()

    def send(probes: Sequence[Probe], hops: int, seconds: float, own: frozenset[Address]) -> None:
        ports.update(each.port for each in probes)

    monkeypatch.setattr(probe, "send", send)
    run.examine(OUTSIDE, frozenset(), messages.VARIANTS)
    assert ports == {messages.PORT}


@pytest.mark.parametrize("tokens", [0.0, 0.95, 1.0, 2.0])
@pytest.mark.parametrize("count", [1, 2])
def test_a_router_that_has_reported_much_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tokens: float, count: int
) -> None:
    found = verdicts(monkeypatch, Network(tokens=tokens), *OUTSIDE[:count])
    assert found == [Verdict.SEALED] * 2 * count


def test_lost_packets_make_no_leak_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One packet in ten is lost: of a hundred leaking ways, a single pair would call nine sealed."""
    found = []
    for seed in range(25):
        network = Network(leaking=lambda packet: True, lost=0.1, dice=random.Random(seed))
        found += verdicts(monkeypatch, network, *OUTSIDE)
    assert found.count(Verdict.SEALED) == 0


def test_one_leaking_protocol_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(packet: Probe) -> bool:
        return packet.way is OUTSIDE[2] and packet.transport is Transport.TCP

    found = verdicts(monkeypatch, Network(leaking=leaking, tokens=BURST), *OUTSIDE)
    assert [each is Verdict.LEAK for each in found] == [False] * 5 + [True] + [False] * 2


def test_a_second_or_third_router_is_asked_if_the_first_is_mute(monkeypatch: pytest.MonkeyPatch) -> None:
    for distance in (2, 3):
        assert verdicts(monkeypatch, Network(distance=distance), OUTSIDE[0]) == [Verdict.SEALED] * 2


def test_where_no_router_reports_anything_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(distance=4)
    assert verdicts(monkeypatch, network, *OUTSIDE) == [Verdict.INCONCLUSIVE] * 8
    assert network.tries == run.HOPS_MAX


def test_stun_that_is_moved_into_the_vpn_does_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    vpn = way(9, Cause.VPN, Kind.UNBOUND)
    found = verdicts(monkeypatch, Network(moved=True), vpn, OUTSIDE[0])
    assert found == [Verdict.THROUGH] * 2 + [Verdict.SEALED] * 2


def test_one_way_into_the_vpn_is_tried_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdicts(monkeypatch, Network(), *(way(number, Cause.VPN) for number in (8, 9)))
    assert found == [Verdict.THROUGH] * 2 + [Verdict.NOT_SENT] * 2


def test_what_does_not_leave_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    inside = replace(OUTSIDE[0], explanation=Explanation(Cause.INSIDE, OUTSIDE[0].explanation.path))
    assert verdicts(monkeypatch, network, inside) == [Verdict.NOT_SENT] * 2
    assert overall(run.examine([inside], frozenset(), messages.USUAL)) is Verdict.INCONCLUSIVE

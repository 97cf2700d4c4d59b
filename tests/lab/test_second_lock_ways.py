"""What passes no rules of the first lock: packet sockets, a macvlan in another namespace, bridged machines."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from socket import IPPROTO_TCP

import pytest

from lab.addresses import FAMILIES, PHYSICAL, family_name
from lab.agent import Agent
from lab.deadline import until
from lab.namespace import Namespace
from lab.observe import NO_LEAK, NOTICED
from lab.second_lock import (
    SERVICE_VLAN,
    VLAN,
    Frame,
    cables,
    comes_out,
    hardware_address,
    locked,
    owned_by_another,
    up,
)
from lab.topology import Lab

pytestmark = pytest.mark.usefixtures("vpn")

UNKNOWN_PROTOCOL = 0x88B5  # IEEE 802: for local experiments


@dataclass(frozen=True)
class Way:
    """Frames of one kind, from an interface of a namespace, and the interface of the provider by which they come."""

    name: str
    how: Frame = field(default_factory=Frame)
    namespace: str = "client"
    device: str = PHYSICAL
    end: str = "home"

    def leaks(self, lab: Lab, family: int) -> bool:
        source: Namespace = getattr(lab, self.namespace)
        return comes_out(source, self.device, family, self.how, (lab.isp, self.end))


WAYS = (
    Way("packet socket"),
    Way("packet socket, TCP", Frame(kind=IPPROTO_TCP)),
    Way("packet socket, qdisc bypass", Frame(bypass=True)),
    Way("packet socket, qdisc bypass, TCP", Frame(bypass=True, kind=IPPROTO_TCP)),
    Way("false protocol", Frame(protocol=UNKNOWN_PROTOCOL)),
    Way("false protocol, qdisc bypass", Frame(protocol=UNKNOWN_PROTOCOL, bypass=True)),
    Way("VLAN tag", Frame(tags=(VLAN,))),
    Way("two VLAN tags", Frame(tags=(SERVICE_VLAN, VLAN))),
    Way("two VLAN tags, qdisc bypass", Frame(tags=(SERVICE_VLAN, VLAN), bypass=True)),
    Way("macvlan", namespace="box", device="macvlan0"),
    Way("macvlan, TCP", Frame(kind=IPPROTO_TCP), namespace="box", device="macvlan0"),
    Way("bridged machine", namespace="box", device="guest0", end="bridged"),
    Way("bridged machine, TCP", Frame(kind=IPPROTO_TCP), namespace="box", device="guest0", end="bridged"),
    Way("bridged machine, VLAN tag", Frame(tags=(VLAN,)), namespace="box", device="guest0", end="bridged"),
    Way("bridged machine, two VLAN tags", Frame(tags=(VLAN, VLAN)), "box", "guest0", "bridged"),
)


@pytest.fixture(scope="module")
def cabled(lab: Lab) -> Iterator[None]:
    with cables(lab):
        yield


@pytest.fixture(scope="module")
def first_lock_alone(lab: Lab, cabled: None) -> dict[tuple[str, int], bool]:
    """Which ways leak without the second lock."""
    with owned_by_another(lab), Agent(lab):
        return {(way.name, family): way.leaks(lab, family) for way in WAYS for family in FAMILIES}


@pytest.fixture(scope="module")
def both_locks(lab: Lab, first_lock_alone: object) -> Iterator[Agent]:
    with Agent(lab) as agent:
        assert up(agent)
        yield agent


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_stun_that_passes_no_rules_of_the_first_lock_is_dropped(
    lab: Lab, first_lock_alone: dict[tuple[str, int], bool], both_locks: Agent, way: Way, family: int
) -> None:
    assert first_lock_alone[way.name, family], NO_LEAK
    assert not way.leaks(lab, family)


def test_a_machine_that_the_configuration_names_speaks_for_itself(lab: Lab, both_locks: Agent) -> None:
    ways = {way.name: way for way in WAYS if way.name in ("macvlan", "bridged machine", "packet socket")}
    addresses = [hardware_address(lab.box, ways[name].device) for name in ("macvlan", "bridged machine")]
    both_locks.set(bridged=addresses)
    assert both_locks.cli("reload").returncode == 0
    for family in FAMILIES:
        assert ways["macvlan"].leaks(lab, family)
        assert ways["bridged machine"].leaks(lab, family)
        assert not ways["packet socket"].leaks(lab, family)
    both_locks.set()
    assert both_locks.cli("reload").returncode == 0
    assert not ways["macvlan"].leaks(lab, FAMILIES[0])


# Interfaces that come and go


def test_interfaces_that_come_later_are_locked_too(lab: Lab, both_locks: Agent) -> None:
    lab.client.ip("link add late0 type veth peer name late1 netns isp")
    try:
        lab.isp.ip("link set late1 up")
        lab.client.ip("addr add 10.79.0.1/24 dev late0\nlink set late0 up")
        way = Way("late", device="late0", end="late1")
        assert way.leaks(lab, FAMILIES[0]), NO_LEAK  # a veth without routes is inside
        for name in ("late0", "later0"):
            lab.client.ip(f"link set {name} up\nroute add 10.80.0.0/24 via 10.79.0.2 dev {name}")
            until(lambda name=name: name in locked(both_locks), NOTICED, f"{name} to be locked")  # type: ignore[misc]
            assert not Way("late", device=name, end="late1").leaks(lab, FAMILIES[0])
            lab.client.ip(
                f"link set {name} down\nlink set {name} name {'later0' if name == 'late0' else name}"
            )
    finally:
        lab.isp.ip("link del late1")
    until(lambda: "later0" not in locked(both_locks), NOTICED, "later0 to be gone")
    assert PHYSICAL in locked(both_locks)

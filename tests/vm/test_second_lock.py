"""The second lock on what the kernel that runs the lab may not have: flowtables, VLAN interfaces, bonds.

Each test first shows the leak with the first lock alone.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM
from typing import Any

import pytest

from lab.addresses import BOX_NETWORK, ECHO_SERVER, FAMILIES, PHYSICAL, STUN_PORT, family_name
from lab.deadline import until
from lab.messages import allocate_request, binding_request
from lab.observe import NO_LEAK
from lab.probe import transport_name
from lab.second_lock import TABLE, VLAN, Frame, arrives
from lab.topology import BOX as BOX_ADDRESSES
from vm import ways
from vm.early import SLOW
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import configure, daemon_status, kill_daemon, ready, systemctl

pytestmark = pytest.mark.any_kernel

BOX = "box"
"""A namespace inside the machine: its container, or the other end of its bond."""
OWNER = f"{{ echo 'table {TABLE} {{ flags owner; }}'; exec sleep infinity; }} | nft --interactive"


@contextmanager
def first_lock_alone(machine: Machine) -> Iterator[None]:
    """stunwalld cannot make its second lock, because another program owns a table with that name."""
    systemctl(machine, "stop")
    owner = machine.start("sh", "-c", OWNER)
    until(lambda: machine.attempt("nft", "list", "table", *TABLE.split()).code == 0, SLOW, "the table")
    systemctl(machine, "start")
    ready(machine)
    assert second_lock(machine)["state"] != "up"
    yield
    owner.stop()


def lock_again(machine: Machine, *interfaces: str) -> None:
    """Returns once the second lock is on these interfaces."""
    systemctl(machine, "restart")
    until(lambda: set(interfaces) <= set(second_lock(machine)["interfaces"]), SLOW, f"a lock on {interfaces}")


def second_lock(machine: Machine) -> dict[str, Any]:
    """What the daemon says of it."""
    said = daemon_status(machine)
    assert said is not None
    lock: dict[str, Any] = said["second_lock"]
    return lock


def ip(machine: Machine, script: str, namespace: str = "") -> None:
    """Runs each line as one `ip` command, and returns once udev has done what it does to new interfaces."""
    machine.run("ip", *(("-n", namespace) if namespace else ()), "-batch", "-", text=script)
    machine.run("udevadm", "settle", seconds=SLOW)


def allow(machine: Machine, interface: str) -> None:
    """STUN may leave by it, for all that the first lock sees."""
    configure(machine, f'[[allow]]\ninterface = "{interface}"\nwhy = "a test"\n')
    systemctl(machine, "reload")


# Flowtables

FLOWS = [(family, kind) for family in FAMILIES for kind in (SOCK_DGRAM, SOCK_STREAM)]
CONTAINER = f"""
    netns add {BOX}
    link add box0 type veth peer name eth0 netns {BOX}
    addr add 10.88.0.1/24 dev box0
    addr add fd88::1/64 dev box0 nodad
    link set box0 up
"""
FLOWTABLE = f"""
    table inet lab_flowtable {{
        flowtable fast {{
            hook ingress priority filter
            devices = {{ {PHYSICAL}, box0 }}
        }}
        chain forward {{
            type filter hook forward priority filter
            meta l4proto {{ tcp, udp }} flow add @fast
        }}
    }}
    table inet lab_nat {{
        chain postrouting {{
            type nat hook postrouting priority srcnat
            ip saddr {BOX_NETWORK[AF_INET]} oifname "{PHYSICAL}" masquerade
            ip6 saddr {BOX_NETWORK[AF_INET6]} oifname "{PHYSICAL}" masquerade
        }}
    }}
"""


def flow_leaks(lab: MachineLab, flow: tuple[int, int]) -> bool:
    """Whether STUN of the container leaves the machine in a flow that is in the flowtable."""
    family, kind = flow
    server = ECHO_SERVER[family], STUN_PORT
    return arrives(
        lambda payloads: lab.call(ways.send_in_flow, BOX, server, int(kind), [p.hex() for p in payloads]),
        (lab.isp, "home"),
        allocate_request if kind == SOCK_STREAM else binding_request,
    )


def test_stun_that_takes_a_flowtable_is_dropped(lab: MachineLab, machine: Machine) -> None:
    ip(machine, CONTAINER)
    ip(machine, BOX_ADDRESSES, BOX)
    machine.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    machine.run("nft", "-f", "-", text=FLOWTABLE)
    with first_lock_alone(machine):
        for flow in FLOWS:
            assert flow_leaks(lab, flow), f"{name_of(flow)}: {NO_LEAK}"
    lock_again(machine, PHYSICAL)
    for flow in FLOWS:
        before = lab.call(ways.dropped)
        assert not flow_leaks(lab, flow), name_of(flow)
        # The first lock would have dropped it in a flow that is in no flowtable.
        assert lab.call(ways.dropped) > before, name_of(flow)


def name_of(flow: tuple[int, int]) -> str:
    return f"{family_name(flow[0])} {transport_name(flow[1])}"


# VLAN interfaces


@dataclass(frozen=True)
class Way:
    """Frames that a packet socket writes to an interface."""

    device: str
    how: Frame = field(default_factory=Frame)
    namespace: str = ""

    def leaks(self, lab: MachineLab, family: int) -> bool:
        """Whether STUN leaves the machine by it."""
        write = partial(
            lab.call, ways.write_frames, self.namespace, self.device, int(family), asdict(self.how)
        )
        return arrives(lambda payloads: write([p.hex() for p in payloads]), (lab.isp, "home"))

    def reaches_box(self, lab: MachineLab, family: int) -> bool:
        """Whether STUN arrives at the other end of the bond."""
        return bool(lab.call(ways.frames_arrive, self.device, int(family), asdict(self.how), BOX, "eth0"))


TAGGED = f"{PHYSICAL}.5"
VLAN_ROUTER = "10.77.0.1"
# vlan6 is in another namespace, so only the rules of the physical interface see its frames. There the tag is metadata
# of the packet, not in the frame.
VLANS = f"""
    netns add {BOX}
    link add link {PHYSICAL} name {TAGGED} type vlan id 5
    addr add 10.77.0.2/24 dev {TAGGED}
    link set {TAGGED} up
    neighbour add {VLAN_ROUTER} lladdr 02:00:00:00:00:01 dev {TAGGED}
    link add link {PHYSICAL} name vlan6 netns {BOX} type vlan id 6
"""
PACKET_SOCKET = Way(PHYSICAL, Frame(bypass=True))
VLAN_WAYS = (
    Way(TAGGED),
    Way(TAGGED, Frame(bypass=True)),
    Way("vlan6", namespace=BOX),
    Way(PHYSICAL, Frame(tags=(VLAN,))),
)


def allowed_leaves_by_vlan(lab: MachineLab) -> bool:
    """Whether STUN that an ordinary program sends by the VLAN interface leaves the machine."""
    send = partial(lab.call, ways.send_datagrams, TAGGED, (VLAN_ROUTER, STUN_PORT))
    return arrives(lambda payloads: send([p.hex() for p in payloads]), (lab.isp, "home"))


@pytest.mark.thorough
def test_stun_by_a_vlan_interface_leaves_only_if_allowed(lab: MachineLab, machine: Machine) -> None:
    ip(machine, VLANS)
    ip(machine, "link set vlan6 up", BOX)
    with first_lock_alone(machine):
        for way in VLAN_WAYS:
            for family in FAMILIES:
                assert way.leaks(lab, family), f"{way} {family_name(family)}: {NO_LEAK}"
    lock_again(machine, PHYSICAL, TAGGED)
    for way in VLAN_WAYS:
        for family in FAMILIES:
            assert not way.leaks(lab, family), f"{way} {family_name(family)}"
    allow(machine, TAGGED)
    until(lambda: allowed_leaves_by_vlan(lab), SLOW, "STUN that is allowed")
    assert not VLAN_WAYS[0].leaks(lab, AF_INET)


def test_the_second_lock_stays_when_the_daemon_is_killed(lab: MachineLab, machine: Machine) -> None:
    """On Debian 13, where nft and the kernel know the flag `persist`."""
    with first_lock_alone(machine):
        assert all(PACKET_SOCKET.leaks(lab, family) for family in FAMILIES), NO_LEAK
    lock_again(machine, PHYSICAL)
    kill_daemon(machine)
    for family in FAMILIES:
        assert not PACKET_SOCKET.leaks(lab, family), family_name(family)


# Bonds

BOND, PORT, PEER = "bond9", "port0", "10.79.0.2"  # the module makes a bond0 of its own
BOND_LINKS = f"""
    netns add {BOX}
    link add {BOND} type bond mode active-backup miimon 100
    link add {PORT} type veth peer name eth0 netns {BOX}
"""
# In a second step, as udev gives new interfaces other hardware addresses, and a bond's port has to have the bond's.
BOND_UP = f"""
    link set {PORT} master {BOND}
    addr add 10.79.0.1/24 dev {BOND}
    link set {BOND} up
"""
BOND_WAYS = (Way(BOND), Way(BOND, Frame(bypass=True)), Way(PORT))


def has_carrier(machine: Machine, device: str) -> bool:
    (link,) = json.loads(machine.run("ip", "-j", "link", "show", device))
    return "LOWER_UP" in link["flags"]


@pytest.mark.thorough
def test_stun_by_a_bond_leaves_only_if_allowed(lab: MachineLab, machine: Machine) -> None:
    ip(machine, BOND_LINKS)
    ip(machine, BOND_UP)
    ip(machine, f"addr add {PEER}/24 dev eth0\nlink set eth0 up", BOX)
    until(lambda: has_carrier(machine, BOND), SLOW, "the bond's carrier")
    with first_lock_alone(machine):
        for way in BOND_WAYS:
            for family in FAMILIES:
                assert way.reaches_box(lab, family), f"{way} {family_name(family)}: {NO_LEAK}"
    lock_again(machine, PHYSICAL, BOND, PORT)
    for way in BOND_WAYS:
        for family in FAMILIES:
            assert not way.reaches_box(lab, family), f"{way} {family_name(family)}"
    allow(machine, BOND)
    sends = partial(lab.call, ways.datagrams_arrive, BOND, (PEER, STUN_PORT), BOX, "eth0")
    until(sends, SLOW, "STUN that is allowed")
    assert not BOND_WAYS[0].reaches_box(lab, AF_INET)

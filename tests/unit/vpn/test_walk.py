"""walk.py: random rules and routes in the kernel, and every answer held against the kernel's own (RTM_GETROUTE)."""

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stunwall.model import VRF
from stunwall.vpn import routing
from stunwall.vpn.fib import Action, Hop, Ports, Route, Rule, Type
from stunwall.vpn.interfaces import Link
from stunwall.vpn.walk import LOOPBACK, Fib, Outcome, Packet, walk
from unit.tun import Tun, ip
from unit.vpn.made_routing import BEHIND, DEVICES, OWN, TARGETS, configure, restore, routes, rules, selectors

ERRORS = {
    Outcome.NO_ROUTE: {"Network is unreachable"},
    Outcome.BLACKHOLE: {"Invalid argument"},
    # By a route, by a rule.
    Outcome.UNREACHABLE: {"No route to host", "Network is unreachable"},
    Outcome.PROHIBIT: {"Permission denied"},
}
LOCAL = {"local", "anycast"}


@pytest.fixture(scope="module")
def indexes(lab: None) -> Iterator[tuple[int, ...]]:
    """Those of two tun devices; forwarding is on."""
    for sysctl in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", sysctl).write_text("1")
    addresses = [(f"{four}/24", f"{six}/64") for four, six in zip(OWN[4], OWN[6], strict=True)]
    with Tun(DEVICES[0], *addresses[0]), Tun(DEVICES[1], *addresses[1]):
        yield tuple(map(socket.if_nametoindex, DEVICES))
    for sysctl in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", sysctl).write_text("0")
    restore()


def packets(version: int) -> st.SearchStrategy[Packet]:
    """IPv6's look-up takes a device only for a wish where there is a source, other than for a socket that is bound."""
    sources = st.sampled_from(OWN[version]).map(ip_address)
    which = st.sampled_from((1, 2))  # of the devices
    bound = st.one_of(
        st.just((None, 0)),
        st.tuples(sources, st.just(0)),
        st.tuples(st.none() if version == 6 else st.one_of(st.none(), sources), which),
    )
    return st.builds(
        lambda to, bound_to, mark, uid, protocol, own, other: Packet(
            ip_address(to), bound_to[0], bound_to[1], mark, uid, LOOPBACK, protocol, own, other
        ),
        st.sampled_from(TARGETS[version]),
        bound,
        st.integers(0, 3),
        st.sampled_from((0, 1000)),
        st.sampled_from((17, 6)),
        st.sampled_from((40000, 53)),
        st.sampled_from((3478, 80)),
    )


Case = tuple[int, list[str], list[str], list[Packet], bool]


def cases(version: int) -> st.SearchStrategy[Case]:
    return st.tuples(
        st.just(version),
        st.lists(rules(version), max_size=5),
        st.lists(routes(version), min_size=1, max_size=6),
        st.lists(packets(version), min_size=1, max_size=6),
        st.booleans(),
    )


def answer(packet: Packet) -> tuple[str, str, str, str]:
    """What `ip route get` says: error, type, device, table."""
    asked = [str(packet.destination), "mark", str(packet.mark)]
    asked += ["ipproto", str(packet.protocol)]
    asked += ["sport", str(packet.source_port), "dport", str(packet.destination_port)]
    asked += ["from", str(packet.source)] if packet.source is not None else []
    asked += ["oif", socket.if_indextoname(packet.device)] if packet.device else []
    asked += ["iif", socket.if_indextoname(packet.incoming)] if packet.incoming != LOOPBACK else []
    # Of forwarded packets too: IPv6's RTM_GETROUTE takes no user for that, where a packet has 0 (ip6_route_input).
    asked += ["uid", str(packet.uid)]
    done = subprocess.run(
        ["ip", "-j", "-d", f"-{packet.version}", "route", "get", *asked],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return done.stderr.strip().removeprefix("RTNETLINK answers: "), "", "", ""
    (found,) = json.loads(done.stdout)
    return "", found["type"], found["dev"], found.get("table", "main")


TO = {version: ip_address(TARGETS[version][0]) for version in (4, 6)}
FROM = ip_address(OWN[6][0])
BY_SOURCE = f"2001:db8:1::/48 from {OWN[6][0]}/128 dev nswa metric 20"


@given(st.sampled_from((4, 6)).flatmap(cases))
# A rule that leads to one that is not there does nothing.
@example((4, ["goto 40", "blackhole"], ["default dev nswa"], [Packet(TO[4])], False))
@example((4, ["goto 30", "blackhole", "nop"], ["default dev nswa"], [Packet(TO[4])], False))
# The lowest metric first, whatever was added first.
@example((4, [], ["default dev nswa metric 20", "default dev nswb metric 10"], [Packet(TO[4])], False))
@example((6, [], ["default dev nswa metric 20", "default dev nswb metric 10"], [Packet(TO[6])], False))
# A source prefix counts more than the metric. Where it is another's, the wider network decides.
@example((6, [], [BY_SOURCE, "2001:db8:1::/48 dev nswb metric 10"], [Packet(TO[6], FROM)], False))
@example(
    (
        6,
        [],
        [BY_SOURCE, "2001:db8:1::/48 dev nswb", "default dev nswa"],
        [Packet(TO[6]), Packet(TO[6], FROM)],
        False,
    )
)
# IPv6's sockets that are bound to a device pass over what forbids.
@example((6, [], ["throw 2001:db8:1::/48", "default dev nswa"], [Packet(TO[6], device=1)], False))
@example((6, [], ["prohibit 2001:db8:1::/48", "default dev nswa"], [Packet(TO[6], device=1)], False))
@example((4, [], ["throw 203.0.113.0/24", "default dev nswa"], [Packet(TO[4], device=1)], False))
def test_every_answer_is_the_kernels(indexes: tuple[int, ...], case: Case) -> None:
    compare(indexes, case)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("inverted", ["", "not "])
def test_each_selector_by_itself_is_as_in_the_kernel(
    indexes: tuple[int, ...], version: int, inverted: str
) -> None:
    base = Packet(TO[version], source_port=50000, destination_port=80)
    packets = [
        base,
        replace(base, destination=ip_address(TARGETS[version][1])),
        replace(base, destination=ip_address(TARGETS[version][2])),
        *(replace(base, source=ip_address(own)) for own in OWN[version]),
        *(replace(base, device=device) for device in (1, 2)),
        *(replace(base, mark=mark) for mark in (1, 2, 3)),
        replace(base, uid=1000),
        replace(base, protocol=6),
        *(replace(base, source_port=port) for port in (40000, 53)),
        replace(base, destination_port=3478),
    ]
    for selector in selectors(version):
        for forwarded in (False, True):
            some = packets[:1] if forwarded else packets
            compare(
                indexes, (version, [f"{inverted}{selector} prohibit"], ["default dev nswb"], some, forwarded)
            )


def compare(indexes: tuple[int, ...], case: Case) -> None:
    """The kernel with these rules and routes sends the packets where walk() does."""
    version, some_rules, some_routes, some_packets, forwarded = case
    configure(version, some_rules, some_routes)
    fib = routing.read_fib([packet.destination for packet in some_packets])
    for packet in some_packets:
        packet = replace(packet, device=indexes[packet.device - 1] if packet.device else 0)
        if forwarded:
            behind = ip_address(BEHIND[version])
            packet = replace(packet, source=behind, device=0, uid=0, incoming=indexes[0])
        path = walk(fib, packet)
        error, kind, device, table = answer(packet)
        told = f"{packet}\n{path}\n{error} {kind} {device} {table}\n{case}"
        if error:
            expected = ERRORS.get(path.outcome, set())
            assert error in expected or (forwarded and expected), told
        elif kind in LOCAL:
            assert path.outcome is Outcome.LOCAL, told
        else:
            assert path.outcome is Outcome.ROUTED, told
            assert device in {fib.links[index].name for index in path.interfaces}, told
            named = {254: "main", 0: "main"} | {number: str(number) for number in (100, 101)}
            assert path.route is None or named[path.route.table] == table, told


def test_a_way_that_is_dead_is_passed_over(indexes: tuple[int, ...]) -> None:
    configure(4, [], [])
    ip(*["link", "add", "nsdead", "type", "veth", "peer", "name", "nsdeadp"])
    try:
        for name in ("nsdead", "nsdeadp"):
            ip("link", "set", name, "up")
        ip(*f"route add 198.51.100.0/24 nexthop dev nsdead nexthop dev {DEVICES[0]}".split())
        packet = Packet(ip_address("198.51.100.1"))
        both = walk(routing.read([packet.destination]).fib, packet)
        ip("link", "set", "nsdead", "down")
        left = walk(routing.read([packet.destination]).fib, packet)
        assert len(both.interfaces) == 2
        assert left.interfaces == (indexes[0],)
        assert answer(packet)[2] == DEVICES[0]
    finally:
        ip("link", "del", "nsdead")


def vrf_fib(*rules: Rule) -> Fib:
    """A VRF `red` with the table 77 and the link eth1, beside eth0; this kernel has no VRFs to ask."""
    links = {
        1: Link(1, "lo", "", tap=False, up=True, running=True),
        2: Link(2, "eth0", "", tap=False, up=True, running=True),
        3: Link(3, "eth1", "", tap=False, up=True, running=True, master=4),
        4: Link(4, "red", VRF, tap=False, up=True, running=True, table=77),
    }
    everything = ip_network("0.0.0.0/0")
    routes = (
        Route(254, everything, Type.UNICAST, hops=(Hop(2),)),
        Route(77, everything, Type.UNICAST, hops=(Hop(3),)),
    )
    by_vrf = Rule(4, 1000, Action.TO_TABLE, l3mdev=True)
    return Fib((*rules, by_vrf, Rule(4, 32766, Action.TO_TABLE, 254)), routes, links)


@pytest.mark.parametrize(
    ("device", "incoming", "way"),
    [(0, LOOPBACK, 2), (2, LOOPBACK, 2), (3, LOOPBACK, 3), (4, LOOPBACK, 3), (0, 2, 2), (0, 3, 3)],
)
def test_what_belongs_to_a_vrf_takes_its_table(device: int, incoming: int, way: int) -> None:
    packet = Packet(ip_address("203.0.113.1"), device=device, incoming=incoming)
    assert walk(vrf_fib(), packet).interfaces == (way,)


def test_a_rule_for_a_vrf_is_for_its_links_too() -> None:
    fib = vrf_fib(Rule(4, 10, Action.BLACKHOLE, outgoing="red"))
    for device, outcome in ((2, Outcome.ROUTED), (3, Outcome.BLACKHOLE), (4, Outcome.BLACKHOLE)):
        assert walk(fib, Packet(ip_address("203.0.113.1"), device=device)).outcome is outcome


def test_ports_with_a_mask_are_those_with_its_bits() -> None:
    """Linux 6.15: net/core/fib_rules.c, fib_rule_port_match."""
    even = Ports(3478, 3478, 0x1)
    assert [port for port in range(3476, 3481) if even.have(port)] == [3476, 3478, 3480]


def test_a_device_that_is_gone_or_down_leads_nowhere() -> None:
    fib = vrf_fib()
    down = replace(fib, links=dict(fib.links) | {2: replace(fib.links[2], up=False)})
    packet = Packet(ip_address("203.0.113.1"), device=2)
    assert walk(down, packet).outcome is Outcome.NO_ROUTE
    assert walk(down, replace(packet, device=9)).outcome is Outcome.NO_ROUTE

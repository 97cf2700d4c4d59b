"""check/ways.py: no way that a program has out of this machine is left out of the list."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from stunwall.check.ways import WAYS_MAX, Kind, Way, ways
from stunwall.model import Address, Transport
from stunwall.vpn.explain import Routing
from stunwall.vpn.fib import Action, Hop, Ports, Route, Rule, Type
from stunwall.vpn.inside import Evidence, Named
from stunwall.vpn.interfaces import Link, Snapshot
from stunwall.vpn.walk import Fib

ETH, WG = Link(2, "eth0", "", False, True, True), Link(3, "wg0", "wireguard", False, True, True)
SPARE = Link(4, "eth1", "", False, True, True)
LINKS = (ETH, WG, SPARE)
ANYWHERE = ip_network("0.0.0.0/0")
MAIN, VPN_TABLE = 254, 51820
WG_MARK = 0xCA6C
ROUTES = (
    Route(MAIN, ANYWHERE, Type.UNICAST, hops=(Hop(ETH.index, b"\xc0\0\2\1"),)),
    Route(VPN_TABLE, ANYWHERE, Type.UNICAST, hops=(Hop(WG.index),)),
)
# As wg-quick makes them.
RULES = (
    Rule(4, 32765, Action.TO_TABLE, VPN_TABLE, mark=WG_MARK, mask=0xFFFFFFFF, invert=True),
    Rule(4, 32766, Action.TO_TABLE, MAIN),
)
ADDRESSES: dict[int, tuple[Address, ...]] = {
    ETH.index: (ip_address("192.0.2.5"),),
    WG.index: (ip_address("10.9.0.2"),),
}
ROUTING = Routing(
    Snapshot(LINKS, (), {}, all_addresses=ADDRESSES),
    Evidence(),
    Fib(RULES, ROUTES, {each.index: each for each in LINKS}),
)


def listed(routing: Routing) -> list[Way]:
    return ways(routing, 4, Named((), ()), uid=1000)


def with_addresses(**addresses: tuple[str, ...]) -> Routing:
    by_index = {link.index: tuple(map(ip_address, addresses.get(link.name, ()))) for link in LINKS}
    return replace(ROUTING, snapshot=replace(ROUTING.snapshot, all_addresses=by_index))


def test_the_mark_that_takes_packets_around_wg_quicks_vpn_is_a_way() -> None:
    (marked,) = (way for way in listed(ROUTING) if way.kind is Kind.MARK)
    assert (marked.packet.mark, marked.interfaces) == (WG_MARK, ("eth0",))


def test_a_rule_about_the_port_of_stun_counts() -> None:
    rule = Rule(4, 50, Action.TO_TABLE, MAIN, destination_ports=Ports(3478, 3478))
    unbound = listed(replace(ROUTING, fib=replace(ROUTING.fib, rules=(rule, *RULES))))[0]
    assert (unbound.kind, unbound.interfaces) == (Kind.UNBOUND, ("eth0",))


def test_a_rule_about_one_protocol_makes_two_ways() -> None:
    rule = Rule(4, 50, Action.TO_TABLE, MAIN, protocol=Transport.TCP.number)
    found = listed(replace(ROUTING, fib=replace(ROUTING.fib, rules=(rule, *RULES))))
    unbound = [(way.transports, way.interfaces) for way in found if way.kind is Kind.UNBOUND]
    assert unbound == [((Transport.UDP,), ("wg0",)), ((Transport.TCP,), ("eth0",))]


def test_an_interface_without_an_address_is_a_way_if_a_route_leaves_by_it() -> None:
    """The kernel takes the address of another one."""
    found = listed(with_addresses(wg0=("192.0.2.5", "10.9.0.2")))
    assert [way.device for way in found if way.kind is Kind.DEVICE] == ["eth0", "wg0"]


def test_many_addresses_push_no_other_way_out_of_the_list() -> None:
    many = tuple(f"192.0.2.{number}" for number in range(1, 2 * WAYS_MAX))
    found = listed(with_addresses(eth0=many, wg0=("10.9.0.2",)))
    assert len(found) == WAYS_MAX
    assert [way.device for way in found if way.kind is Kind.DEVICE] == ["eth0", "wg0"]

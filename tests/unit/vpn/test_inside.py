"""inside.py: from links, routes and addresses to the interfaces that lead only to machines behind this one."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.vpn import inside, interfaces
from stunwall.vpn.inside import Evidence, Sign
from stunwall.vpn.interfaces import Assessment, Link, Route, Snapshot

MAIN, OTHER = 254, 77
REACHED = {4: frozenset({MAIN}), 6: frozenset({MAIN})}


def link(index: int, name: str, kind: str = "", **given: Any) -> Link:
    return Link(index, name, "tun" if kind == "tap" else kind, kind == "tap", True, True, **given)


def route(destination: str, *indexes: int, table: int = MAIN, gateway: bool = False) -> Route:
    return Route(table, ip_network(destination), indexes, gateway)


CARD = link(1, "eth0")
BRIDGE = link(2, "docker0", "bridge")
VETH = link(3, "veth1", "veth")
TAP = link(4, "vnet0", "tap")
WG = link(5, "wg0", "wireguard")
PORT, TAP_PORT, CARD_PORT = (replace(each, master=BRIDGE.index) for each in (VETH, TAP, CARD))
UPLINK = route("0.0.0.0/0", CARD.index, gateway=True)


def assessed(
    *links: Link,
    routes: tuple[Route, ...] = (UPLINK,),
    dynamic: tuple[int, ...] = (),
    interfaces_: tuple[str, ...] = (),
    named: tuple[str, ...] = (),
    seen: Evidence | None = None,
) -> tuple[dict[str, Assessment], Evidence]:
    """The assessments by name; each has a reason."""
    snapshot = Snapshot(links, routes, REACHED, dynamic=frozenset(dynamic))
    both = inside.Named(interfaces_, named)
    found, evidence = inside.assess(snapshot, interfaces.assess(snapshot, interfaces_), both, seen or {})
    assert [each.interface for each in found] == [each.name for each in links]
    assert all(each.why for each in found)
    vpn = interfaces.vpn_names(snapshot, interfaces_)
    assert vpn == {each.interface for each in found if each.counts}
    names = inside.inside_names(snapshot, vpn, both, seen or {})
    assert names == {each.interface for each in found if each.inside}
    assert names.isdisjoint(vpn)
    return {each.interface: each for each in found}, evidence


def names(
    *links: Link,
    routes: tuple[Route, ...] = (UPLINK,),
    dynamic: tuple[int, ...] = (),
    interfaces_: tuple[str, ...] = (),
    named: tuple[str, ...] = (),
) -> set[str]:
    """The interfaces that are inside."""
    found, _ = assessed(*links, routes=routes, dynamic=dynamic, interfaces_=interfaces_, named=named)
    return {name for name, each in found.items() if each.inside}


@pytest.mark.parametrize("one", [VETH, TAP, BRIDGE], ids=lambda one: one.name)
def test_veth_tap_and_a_bridge_are_inside_and_a_network_card_is_not(one: Link) -> None:
    assert names(CARD, one) == {one.name}
    # Networks on the link speak for machines behind it, also with public addresses.
    connected = (
        route("172.17.0.0/16", one.index),
        route("2001:db8:9::/64", one.index),
        route("203.0.113.9/32", one.index),
    )
    assert names(CARD, one, routes=(UPLINK, *connected)) == {one.name}


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "tun",
        "wireguard",
        "vlan",
        "bond",
        "macvlan",
        "macvtap",
        "ipvlan",
        "dummy",
        "vxlan",
        "ppp",
        "sit",
        "new",
    ],
)
def test_every_other_kind_is_a_way_out(kind: str) -> None:
    assert names(CARD, link(7, "other0", kind)) == set()


@pytest.mark.parametrize(
    "shown",
    [
        route("0.0.0.0/0", 9),
        route("::/0", 9),
        route("::/0", 9, gateway=True, table=OTHER),  # a rule may reach the table later
        route("0.0.0.0/0", 1, 9, gateway=True),  # multipath
        route("0.0.0.0/1", 9),
        route("128.0.0.0/1", 9),
        route("2000::/3", 9),
        route("10.50.0.0/16", 9, gateway=True),
        route("2001:db8:9::/64", 9, gateway=True),
    ],
    ids=lambda shown: f"{shown.destination} {shown.gateway}",
)
@pytest.mark.parametrize("kind", ["veth", "tap", "bridge"])
def test_a_default_route_or_a_gateway_makes_it_a_way_out_as_long_as_the_link_exists(
    kind: str, shown: Route
) -> None:
    one = link(9, "one0", kind)
    found, evidence = assessed(CARD, one, routes=(UPLINK, shown))
    assert not found["one0"].inside
    found, evidence = assessed(CARD, one, seen=evidence)  # its routes are gone
    assert not found["one0"].inside
    default = shown.destination.prefixlen < 8
    assert ("default route" in found["one0"].why) is default
    assert ("name it in inside" in found["one0"].why) is not default
    found, evidence = assessed(CARD, replace(one, name="renamed0"), seen=evidence)
    assert not found["renamed0"].inside
    found, evidence = assessed(CARD, seen=evidence)  # the link is gone
    assert 9 not in evidence
    found, _ = assessed(CARD, one, seen=evidence)  # another of the same name
    assert found["one0"].inside


def test_an_address_with_a_lifetime_makes_it_a_way_out_as_long_as_the_link_exists() -> None:
    found, evidence = assessed(CARD, VETH, dynamic=(VETH.index,))
    assert not found["veth1"].inside
    assert "DHCP" in found["veth1"].why
    found, _ = assessed(CARD, VETH, seen=evidence)
    assert not found["veth1"].inside


@pytest.mark.parametrize("destination", ["0.0.0.0/0", "10.0.0.0/8"])
def test_a_route_that_names_no_interface_may_lead_by_any(destination: str) -> None:
    assert names(CARD, VETH, TAP, BRIDGE, routes=(UPLINK, route(destination))) == set()


def test_the_clearest_sign_is_kept() -> None:
    gateway = route("10.0.0.0/8", 3, gateway=True)
    for routes in ((route("0.0.0.0/0", 3), gateway), (gateway, route("0.0.0.0/0", 3))):
        _, evidence = assessed(CARD, VETH, routes=routes, dynamic=(3,))
        assert evidence[3] is Sign.DEFAULT
        _, evidence = assessed(CARD, VETH, routes=(gateway,), dynamic=(3,), seen=evidence)
        assert evidence[3] is Sign.DEFAULT


def test_in_a_container_whose_only_veth_has_no_route_yet_nothing_is_inside() -> None:
    loopback = link(1, "lo")
    eth0 = link(2, "eth0", "veth")
    nested = link(3, "docker0", "bridge")
    assert names(loopback, eth0, nested, routes=()) == set()
    # With its default route it is known to be the way out, and what else there is leads inside.
    assert names(loopback, eth0, nested, routes=(route("0.0.0.0/0", 2, gateway=True),)) == {"docker0"}
    # A VPN is no way out of its own.
    vpn = link(4, "wg0", "wireguard")
    assert names(loopback, eth0, vpn, routes=(route("0.0.0.0/0", 4),)) == set()


# Bridges


def test_a_bridge_is_inside_if_all_of_its_ports_are_veth_or_tap() -> None:
    assert names(CARD, BRIDGE, PORT, TAP_PORT) == {"docker0", "veth1", "vnet0"}


@pytest.mark.parametrize(
    "other",
    [CARD_PORT, link(8, "vx0", "vxlan", master=2), link(8, "eth0.7", "vlan", master=2)],
    ids=lambda one: one.name,
)
def test_next_to_a_network_card_the_ports_of_machines_are_inside_and_the_bridge_is_not(other: Link) -> None:
    home = route("0.0.0.0/0", BRIDGE.index, gateway=True)
    for routes in ((home,), (UPLINK,), ()):
        found = names(link(20, "wlan0"), BRIDGE, PORT, TAP_PORT, other, routes=routes)
        assert found == {"veth1", "vnet0"}


def test_a_bridge_that_leads_out_through_a_machine_on_it_takes_its_ports_along() -> None:
    home = route("0.0.0.0/0", BRIDGE.index, gateway=True)
    assert names(CARD, BRIDGE, PORT, TAP_PORT, routes=(UPLINK, home)) == set()
    assert names(CARD, BRIDGE, PORT, TAP_PORT, dynamic=(BRIDGE.index,)) == set()
    assert names(CARD, BRIDGE, PORT, TAP_PORT, dynamic=(PORT.index,)) == set()


def test_a_vpn_on_a_bridge_is_a_way_out_of_it() -> None:
    assert names(CARD, BRIDGE, PORT, TAP_PORT, interfaces_=("vnet0",)) == {"veth1"}


def test_a_port_of_a_bond_or_an_unknown_master_is_a_way_out_and_one_in_a_vrf_stands_for_itself() -> None:
    for kind in ("bond", "team", "openvswitch"):
        assert names(CARD, link(8, "master0", kind), replace(VETH, master=8)) == set()
    assert names(CARD, link(8, "red", "vrf"), replace(VETH, master=8)) == {"veth1", "red"}


def test_a_vrf_is_no_way_out_of_its_own() -> None:
    red = link(8, "red", "vrf", table=77)
    for routes in ((UPLINK,), (route("0.0.0.0/0", 8), UPLINK), (route("0.0.0.0/0", 1, table=77),)):
        assert names(replace(CARD, master=8), red, routes=routes) == {"red"}
    assert names(CARD, red, interfaces_=("red",)) == set()
    assert names(CARD, red, interfaces_=("wg0",)) == {"red"}


# Veth pairs with both ends here


def pair(one: int, other: int, master: int = 0) -> tuple[Link, Link]:
    return link(one, f"v{one}", "veth", peer=other), link(other, f"v{other}", "veth", peer=one, master=master)


def test_a_pair_with_both_ends_here_leads_where_either_end_leads() -> None:
    assert names(CARD, *pair(8, 9)) == {"v8", "v9"}
    assert names(CARD, *pair(8, 9), routes=(UPLINK, route("0.0.0.0/0", 9))) == set()
    assert names(CARD, BRIDGE, *pair(8, 9, master=2)) == {"docker0", "v8", "v9"}
    # The host's own end of a cable into the bridge with the network card: STUN into it leaves by the card.
    assert names(BRIDGE, CARD_PORT, *pair(8, 9, master=2), routes=()) == set()


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan", "vlan"])
def test_an_interface_that_lies_on_another_leads_where_that_leads(kind: str) -> None:
    assert names(CARD, VETH, link(8, "upper", kind, peer=VETH.index)) == set()
    assert names(CARD, VETH, link(8, "upper", kind, peer=CARD.index)) == {"veth1"}
    assert names(CARD, VETH, link(8, "upper", kind, peer=VETH.index), named=("upper",)) == {"veth1", "upper"}


def test_bridges_that_a_pair_joins_are_one() -> None:
    second = link(10, "br1", "bridge")
    first_end, second_end = replace(pair(8, 9)[0], master=10), pair(8, 9, master=2)[1]
    machine = link(11, "vnet1", "tap", master=10)
    for links in (
        (BRIDGE, CARD_PORT, second, first_end, second_end, machine),
        (machine, second_end, first_end, second, CARD_PORT, BRIDGE),
    ):
        assert names(*links, routes=()) == {"vnet1"}
    assert names(CARD, BRIDGE, second, first_end, second_end, machine) == {
        "docker0",
        "br1",
        "v8",
        "v9",
        "vnet1",
    }


# Named in the configuration


@pytest.mark.parametrize("kind", ["", "veth", "tap", "bridge", "vlan", "wireguard", "tun"])
def test_what_the_configuration_names_is_inside_whatever_it_is(kind: str) -> None:
    lan = link(9, "lan0", kind)
    carrying = route("10.0.0.0/8", 9, gateway=True)
    for glob in ("lan0", "lan*"):
        found, _ = assessed(CARD, lan, routes=(UPLINK, carrying), dynamic=(9,), named=(glob,))
        assert (found["lan0"].inside, found["lan0"].doubt) == (True, False)
        assert glob in found["lan0"].why
        assert not found["eth0"].inside


def test_a_named_interface_with_a_default_route_is_in_doubt() -> None:
    found, _ = assessed(
        CARD, link(9, "lan0"), routes=(UPLINK, route("0.0.0.0/0", 9, gateway=True)), named=("lan0",)
    )
    assert (found["lan0"].inside, found["lan0"].doubt) == (True, True)
    assert "default route" in found["lan0"].why


def test_naming_a_bridge_names_its_ports() -> None:
    assert names(link(20, "wan0"), BRIDGE, PORT, CARD_PORT, routes=(), named=("docker0",)) == {
        "docker0",
        "veth1",
        "eth0",
    }
    # A named port leads inside, so it does not speak against the bridge.
    assert names(link(20, "wan0"), BRIDGE, PORT, CARD_PORT, routes=(), named=("eth0",)) == {
        "docker0",
        "veth1",
        "eth0",
    }


def test_the_vpn_and_the_loopback_are_never_inside() -> None:
    default = route("0.0.0.0/0", WG.index)
    assert names(CARD, WG, routes=(UPLINK, default), named=("wg0",)) == set()
    assert names(CARD, TAP, interfaces_=("vnet*",), named=("vnet0",)) == set()
    down = replace(TAP, up=False)  # named as the VPN, but does not count now
    assert names(CARD, down, interfaces_=("vnet0",)) == set()
    assert names(CARD, link(9, "lo"), named=("lo",)) == set()


def test_a_name_that_could_be_syntax_is_never_inside() -> None:
    assert names(CARD, link(9, 've"th', "veth"), named=("ve*",)) == set()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "veth", "tap", "bridge", "bond", "wireguard"]),
            st.integers(0, 6),
            st.integers(0, 6),
        ),
        max_size=6,
    ),
    st.lists(
        st.tuples(st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "::/0"]), st.integers(0, 6), st.booleans()),
        max_size=4,
    ),
)
def test_whatever_the_kernel_says_what_shows_that_it_leads_out_is_not_inside(
    kinds: list[tuple[str, int, int]], shown: list[tuple[str, int, bool]]
) -> None:
    links = tuple(
        link(index, f"if{index}", kind, master=master, peer=peer if kind == "veth" else 0)
        for index, (kind, master, peer) in enumerate(kinds, 1)
    )
    routes = tuple(route(destination, index, gateway=gateway) for destination, index, gateway in shown)
    found, evidence = assessed(*links, routes=routes)
    for each in links:
        if found[each.name].inside:
            assert each.index not in evidence
            assert each.tap or each.kind in ("veth", "bridge")

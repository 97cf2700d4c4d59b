"""interfaces.py: from links, routes and rules to the interfaces that count as the VPN."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.model import VPN_KINDS, Address
from stunwall.vpn.interfaces import (
    Link,
    Route,
    Snapshot,
    assess,
    lying_on,
    on_link,
    own_addresses,
    redirect_target,
    vpn_names,
)

MAIN, OTHER = 254, 51820
REACHED = {4: frozenset({MAIN, 255, 253}), 6: frozenset({MAIN, 255})}


def link(
    name: str = "vpn0",
    kind: str = "wireguard",
    tap: bool = False,
    up: bool = True,
    running: bool = True,
    index: int = 7,
    **more: Any,
) -> Link:
    return Link(index, name, kind, tap, up, running, **more)


def routes(*destinations: str, table: int = MAIN, index: int = 7) -> tuple[Route, ...]:
    return tuple(Route(table, ip_network(destination), (index,)) for destination in destinations)


def counts(
    one: Link,
    there: tuple[Route, ...] = routes("0.0.0.0/0"),
    named: tuple[str, ...] = (),
    tables: dict[int, frozenset[int]] = REACHED,
) -> bool:
    """Whether the only link counts; its standing says why in a sentence in any case."""
    snapshot = Snapshot((one,), there, tables)
    (standing,) = assess(snapshot, named)
    assert (standing.interface, standing.kind) == (one.name, one.kind)
    assert standing.why
    assert vpn_names(snapshot, named) == ({one.name} if standing.counts else set())
    return standing.counts


@pytest.mark.parametrize("kind", sorted(VPN_KINDS))
def test_each_vpn_kind_with_a_default_route_counts(kind: str) -> None:
    assert counts(link(kind=kind))


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "tap",
        "bridge",
        "veth",
        "ppp",
        "sit",
        "gre",
        "ip6tnl",
        "ipip",
        "vlan",
        "macvlan",
        "bond",
        "dummy",
        "vxlan",
        "ipvlan",
        "wwan",
        "WireGuard",
        "tun2",
        "hostile\nkind",
    ],
)
def test_other_kinds_with_a_default_route_do_not_count_unless_named(kind: str) -> None:
    assert not counts(link(kind=kind))
    assert counts(link(kind=kind), named=("vpn0",))


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (link(), True),
        (link(up=False), False),
        (link(running=False), False),  # a tun device that no program holds
        (link(up=False, running=False), False),
        (link(kind="tun"), True),
        (link(kind="tun", tap=True), False),
        (link(name="lo", kind=""), False),
    ],
)
def test_it_must_be_up_and_running_and_no_tap(one: Link, expected: bool) -> None:
    assert counts(one) is expected


def without(everything: str, left_out: str) -> list[str]:
    """The networks that hold `everything` but `left_out`."""
    parts = [ip_network(everything)]
    hole = ip_network(left_out)
    for _ in range(hole.prefixlen - parts[0].prefixlen):
        whole = next(part for part in parts if hole.network_address in part)
        parts.remove(whole)
        parts += whole.subnets()
    return [str(part) for part in parts if hole.network_address not in part]


# What WireGuard's app for Android makes of "exclude private IPs".
_PUBLIC_ONLY = """
    0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/3 160.0.0.0/5
    168.0.0.0/6 172.0.0.0/12 172.32.0.0/11 172.64.0.0/10 172.128.0.0/9 173.0.0.0/8 174.0.0.0/7 176.0.0.0/4
    192.0.0.0/9 192.128.0.0/11 192.160.0.0/13 192.169.0.0/16 192.170.0.0/15 192.172.0.0/14 192.176.0.0/12
    192.192.0.0/10 193.0.0.0/8 194.0.0.0/7 196.0.0.0/6 200.0.0.0/5 208.0.0.0/4 8.8.8.8/32
"""


@pytest.mark.parametrize(
    ("destinations", "expected"),
    [
        ([], False),
        (["0.0.0.0/0"], True),
        (["::/0"], True),
        (["0.0.0.0/0", "::/0"], True),
        (["0.0.0.0/1", "128.0.0.0/1"], True),  # OpenVPN's redirect-gateway def1
        (["0.0.0.0/1"], False),
        (["128.0.0.0/1"], False),
        (["0.0.0.0/1", "0.0.0.0/1"], False),
        (["0.0.0.0/1", "0.0.0.0/2", "64.0.0.0/2"], False),  # the same half again
        (["0.0.0.0/1", "128.0.0.0/2"], True),
        (["::/1", "8000::/1"], True),
        (["8000::/1"], False),
        (["2000::/3"], True),  # OpenVPN's redirect-gateway ipv6
        (["2000::/4", "3000::/4"], True),
        (["2000::/4"], False),
        (["::/3", "2000::/4", "3000::/4", "fc00::/7"], True),  # OpenVPN's redirect-private ipv6 and def1
        (["fc00::/7", "fe80::/10", "ff00::/8", "4000::/2"], False),  # much, but nothing of the Internet
        (without("0.0.0.0/0", "192.168.0.0/16"), True),
        (without("0.0.0.0/0", "203.0.113.7/32"), True),
        (_PUBLIC_ONLY.split(), True),
        (without("2000::/3", "2001:db8::7/128"), True),
        (["10.0.0.0/8"], False),  # a company's VPN
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"], False),
        ([f"{first}.0.0.0/8" for first in range(128)], False),
        ([f"{first}.0.0.0/8" for first in range(129)], True),
        (["203.0.113.7/32", "2001:db8::7/128"], False),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_a_default_route_is_what_holds_more_than_half_of_the_internet(
    destinations: list[str], expected: bool
) -> None:
    assert counts(link(), routes(*destinations)) is expected


def test_half_of_ipv4_and_half_of_ipv6_are_no_default_route() -> None:
    assert not counts(link(), routes("0.0.0.0/1", "2000::/4"))


@pytest.mark.parametrize(
    ("there", "tables", "expected"),
    [
        (routes("0.0.0.0/0", table=OTHER), REACHED, False),
        (routes("0.0.0.0/0", table=OTHER), {4: frozenset({OTHER}), 6: frozenset()}, True),
        (routes("0.0.0.0/0", table=OTHER), {4: frozenset({MAIN}), 6: frozenset({OTHER})}, False),
        (routes("::/0", table=OTHER), {4: frozenset({OTHER}), 6: frozenset({MAIN})}, False),
        (routes("::/0", table=OTHER), {4: frozenset(), 6: frozenset({OTHER})}, True),
        (routes("0.0.0.0/1", table=OTHER) + routes("128.0.0.0/1"), {4: frozenset({OTHER, MAIN})}, True),
        (routes("0.0.0.0/1", table=OTHER) + routes("128.0.0.0/1"), REACHED, False),
        (routes("0.0.0.0/0"), {}, False),
        (routes("0.0.0.0/0", index=8), REACHED, False),  # another interface's
        ((Route(MAIN, ip_network("0.0.0.0/0"), (3, 7)),), REACHED, True),  # multipath
        ((Route(MAIN, ip_network("0.0.0.0/0"), ()),), REACHED, False),
    ],
)
def test_a_default_route_counts_in_any_table_that_a_rule_of_its_version_reaches(
    there: tuple[Route, ...], tables: dict[int, frozenset[int]], expected: bool
) -> None:
    assert counts(link(), there, tables=tables) is expected


@pytest.mark.parametrize(
    ("name", "named", "expected"),
    [
        ("eth0", ["eth0"], True),
        ("eth0", ["eth1"], False),
        ("eth0", ["ETH0"], False),
        ("wg0", ["wg*"], True),
        ("wg0", ["wg?"], True),
        ("wg01", ["wg?"], False),
        ("wg0", ["wg[0-3]"], True),
        ("wg7", ["wg[!7]"], False),
        ("wg7", ["eth0", "wg7"], True),
        ("xwg7", ["wg*"], False),
        ("wg", ["wg*"], True),
        ("tun0", ["wg0"], False),  # a VPN by kind, but the configuration names another
        ("lo", ["*"], False),
        ("lo", ["lo"], False),
    ],
)
def test_with_names_given_they_alone_decide(name: str, named: list[str], expected: bool) -> None:
    assert counts(link(name, "tun"), named=tuple(named)) is expected


def test_a_named_interface_needs_neither_kind_nor_route_nor_carrier_but_must_be_up() -> None:
    assert counts(link(kind="tun", tap=True, running=False), (), named=("vpn0",))
    assert not counts(link(up=False), named=("vpn0",))


UNSUPPORTED = [
    *("", 'wg0"', "wg 0", "wg*", "*", "wg/0", "a" * 16, "é" * 8),
    *("wg0\n", "wg0\0", "\x1b[31m", "\u202ewg", "\u3000wg", "wg\x85", "wg\udcff"),
]


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_name_that_nft_cannot_express_or_a_terminal_cannot_show_never_counts(name: str) -> None:
    for named in ((), ("*",)):
        (found,) = assess(Snapshot((link(name),), routes("0.0.0.0/0"), REACHED), named)
        assert not found.counts
        assert "rename it" in found.why


@pytest.mark.parametrize(
    "name",
    ["us+ny", "de=1", "wg0;", "wg0}", "#wg", "wg'0", "w*g", "*wg", "wg$0", "wg\\", "(wg", "wgé", "é" * 7],
)
def test_other_characters_in_a_name_do_not_matter(name: str) -> None:
    assert counts(link(name))
    assert counts(link(name), named=(f"{name[0]}*",))


@given(st.text(max_size=20))
def test_what_counts_can_stand_between_quotes_in_a_rule_and_be_printed(name: str) -> None:
    if counts(link(name), named=("*",)):
        assert 0 < len(name.encode()) <= 15
        assert '"' not in name
        assert not name.endswith("*")
        assert name.isprintable()


# A tun that only translates


@pytest.mark.parametrize(
    ("addresses", "there", "expected"),
    [
        ("192.0.0.1", "0.0.0.0/0", False),  # clatd
        ("192.0.0.7", "0.0.0.0/1 128.0.0.0/1", False),
        ("192.0.0.8", "0.0.0.0/0", True),  # outside RFC 7335's network
        ("2001:0:1234::5", "::/0", False),  # miredo
        ("2001:0:1234::5", "2000::/3", False),
        ("2001:1::5", "::/0", True),
        ("10.8.0.2 192.0.0.1", "0.0.0.0/0", False),  # not only the first
        ("192.0.0.1 10.8.0.2", "0.0.0.0/0", False),
        ("192.0.0.1 fe80::1", "0.0.0.0/0", False),
        # An IPv6 VPN that translates IPv4 itself; no CLAT has IPv6's default route.
        ("192.0.0.1 fd00::2", "0.0.0.0/0 ::/0", True),
        ("192.0.0.1 fd00::2", "0.0.0.0/0 64:ff9b::/96", False),
        ("10.8.0.2 2001:0:1234::5", "0.0.0.0/0 ::/0", True),
        ("10.8.0.2 fd00::2", "0.0.0.0/0 ::/0", True),
    ],
)
def test_a_tun_with_the_address_of_a_clat_or_of_teredo_is_no_vpn(
    addresses: str, there: str, expected: bool
) -> None:
    own = tuple(ip_address(address) for address in addresses.split())
    (found,) = assess(
        Snapshot((link(kind="tun"),), routes(*there.split()), REACHED, all_addresses={7: own}), ()
    )
    assert found.counts is expected
    assert ("does not encrypt; name it in interfaces" in found.why) is not expected


def test_the_address_of_a_clat_does_not_matter_where_the_kind_or_the_user_says_that_it_is_a_vpn() -> None:
    clat: dict[int, tuple[Address, ...]] = {7: (ip_address("192.0.0.1"),)}
    for one, named in ((link(), ()), (link(kind="amneziawg"), ()), (link(kind="tun"), ("vpn*",))):
        (found,) = assess(Snapshot((one,), routes("0.0.0.0/0"), REACHED, all_addresses=clat), named)
        assert found.counts
    (found,) = assess(
        Snapshot((link(kind="tun"),), routes("0.0.0.0/0"), REACHED, all_addresses={8: clat[7]}), ()
    )
    assert found.counts  # another interface's


def test_several_links_stand_each_for_itself() -> None:
    links = (
        link("eth0", "", index=1),
        link("wg0", index=2),
        link("wg1", index=3),
        link("tun0", "tun", index=4),
    )
    there = routes("0.0.0.0/0", index=1) + routes("0.0.0.0/0", index=2) + routes("::/0", index=4)
    snapshot = Snapshot(links, there, REACHED)
    assert [standing.interface for standing in assess(snapshot, ())] == ["eth0", "wg0", "wg1", "tun0"]
    assert vpn_names(snapshot, ()) == {"wg0", "tun0"}


@given(
    st.lists(
        st.integers(0, 2**32 - 1).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, 32))), max_size=8
    )
)
def test_networks_that_overlap_are_counted_once(nets: list[tuple[int, int]]) -> None:
    given_routes = [ip_network((address, length), strict=False) for address, length in nets]
    # The independent count: of the 256 /8s (and what is smaller counts only if its whole /8 is there).
    eights = {
        eight
        for net in given_routes
        for eight in range(256)
        if net.prefixlen <= 8 and ip_network((eight << 24, 8)).subnet_of(net)  # type: ignore[arg-type]
    }
    smaller = sum(net.num_addresses for net in given_routes if net.prefixlen > 8)
    there = tuple(Route(MAIN, net, (7,)) for net in given_routes)
    if len(eights) << 24 > 1 << 31:
        assert counts(link(), there)
    elif (len(eights) << 24) + smaller <= 1 << 31:
        assert not counts(link(), there)


def test_no_links_at_all_is_no_vpn() -> None:
    assert assess(Snapshot((), (), {}), ("wg0",)) == ()
    assert vpn_names(Snapshot((), (), {}), ("wg0",)) == frozenset()


# Where redirected packets go

WG0, WG1 = link("wg0", index=2), link("wg1", index=3)
HOME = link("eth0", "", index=1)


def carried_by(
    *links: Link,
    there: tuple[Route, ...],
    named: tuple[str, ...] = (),
    family: int = 4,
    addressed: tuple[tuple[int, int], ...] | None = None,
    egress: dict[int, int] | None = None,
) -> int | None:
    """The index of the VPN's link; unless told otherwise each link has addresses of both IP versions."""
    if addressed is None:
        addressed = tuple((each.index, version) for each in links for version in (4, 6))
    addresses = {key: OWN[key[1]] for key in addressed}
    snapshot = Snapshot(links, there, REACHED, addresses, egress or {})
    return redirect_target(snapshot, vpn_names(snapshot, named), named, family)


OWN: dict[int, Address] = {4: ip_address("10.9.8.7"), 6: ip_address("fd00::7")}
EVERYWHERE = (
    *(routes("0.0.0.0/0", "::/0", index=1) + routes("0.0.0.0/0", "::/0", index=2)),
    *routes("0.0.0.0/0", "::/0", index=3),
)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("egress", "named", "expected"),
    [
        (2, (), 2),
        (3, (), 3),  # the default route's
        (1, (), 2),  # it leads outside: the first by index
        (0, (), 2),
        (0, ("wg1", "wg0"), 3),  # the first by the configuration
        (1, ("wg1", "wg*"), 3),
        (0, ("wg*",), 2),  # named by the same glob: by index
        (2, ("wg1", "wg0"), 2),  # the default route is more than the configuration's order
        (0, ("wg1",), 3),
        (2, ("wg1",), 3),
        (1, ("eth0", "wg0"), 1),
    ],
)
def test_of_several_vpns_the_default_routes_carries_else_the_first_named_else_the_first(
    family: int, egress: int, named: tuple[str, ...], expected: int
) -> None:
    for links in ((HOME, WG0, WG1), (WG1, WG0, HOME)):
        found = carried_by(*links, there=EVERYWHERE, named=named, family=family, egress={family: egress})
        assert found == expected


def test_each_ip_version_has_a_carrier_of_its_own() -> None:
    there = routes("0.0.0.0/0", index=2) + routes("::/0", index=3)
    assert carried_by(WG0, WG1, there=there, family=4) == 2
    assert carried_by(WG0, WG1, there=there, family=6) == 3
    assert carried_by(WG0, WG1, there=EVERYWHERE, egress={4: 2, 6: 3}, family=6) == 3


@pytest.mark.parametrize(
    ("there", "named", "addressed", "expected"),
    [
        (EVERYWHERE, (), ((2, 4),), None),  # no address of IPv6
        (EVERYWHERE, (), ((2, 6),), 2),
        (EVERYWHERE, (), (), None),
        (EVERYWHERE, (), ((3, 6),), None),  # another interface's
        (routes("0.0.0.0/0", index=2), (), ((2, 4), (2, 6)), None),  # it carries IPv4 alone
        (routes("0.0.0.0/0", index=2), ("wg0",), ((2, 4), (2, 6)), None),
        (routes("::/0", index=2), ("wg0",), ((2, 6),), 2),
        ((), ("wg0",), ((2, 6),), 2),  # named, and routed by the user's own means
        (routes("10.0.0.0/8", "fd00::/8", index=2), ("wg*",), ((2, 6),), 2),
        ((), ("wg0",), ((2, 4),), None),
        ((), ("wg1",), ((2, 6),), None),  # another is named
        ((), (), ((2, 6),), None),  # neither named nor routed
        (routes("::/0", index=2, table=OTHER), (), ((2, 6),), None),  # in a table that no rule reaches
    ],
)
def test_it_has_an_address_and_a_default_route_of_that_version_or_is_named_and_has_no_default_route_at_all(
    there: tuple[Route, ...],
    named: tuple[str, ...],
    addressed: tuple[tuple[int, int], ...],
    expected: int | None,
) -> None:
    assert carried_by(WG0, there=there, named=named, family=6, addressed=addressed) == expected


def test_an_interface_in_a_vrf_carries_nothing_for_the_sockets_outside_of_it() -> None:
    vrf, bridge = (link(kind, kind, index=8) for kind in ("vrf", "bridge"))
    inside = replace(WG0, master=8)
    assert carried_by(inside, vrf, there=EVERYWHERE) is None
    assert carried_by(inside, WG1, vrf, there=EVERYWHERE, egress={4: 2}) == 3
    assert carried_by(inside, bridge, there=EVERYWHERE) == 2


def test_what_does_not_count_carries_nothing() -> None:
    down = link("wg0", up=False, index=2)
    assert carried_by(down, HOME, there=EVERYWHERE, egress={4: 1}) is None
    assert carried_by(down, HOME, there=EVERYWHERE, named=("wg0",), egress={4: 2}) is None
    assert carried_by(there=()) is None


def test_the_addresses_of_redirected_flows_are_those_of_the_vpns_interfaces() -> None:
    addresses = {(1, 4): ip_address("192.0.2.17"), (2, 4): OWN[4], (2, 6): OWN[6], (9, 4): OWN[4]}
    snapshot = Snapshot((HOME, WG0, WG1), (), REACHED, addresses)
    assert own_addresses(snapshot, {"wg0", "wg1", "gone"}) == {("wg0", OWN[4]), ("wg0", OWN[6])}
    assert own_addresses(snapshot, ()) == frozenset()


# The LAN


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        *(
            (network, True)
            for network in ("10.0.0.0/8", "172.16.5.0/24", "192.168.1.20/32", "169.254.0.0/16")
        ),
        *((network, True) for network in ("100.64.0.0/10", "100.101.102.103/32")),  # Tailscale's
        *((network, True) for network in ("fd00:1::/64", "fe80::/64", "fc00::/7")),
        *(
            (network, False)
            for network in ("0.0.0.0/0", "::/0", "0.0.0.0/1", "203.0.113.0/24", "198.18.0.0/15")
        ),
        *((network, False) for network in ("100.0.0.0/8", "172.0.0.0/8", "192.0.2.0/24", "8.8.8.8/32")),
        *(
            (network, False)
            for network in ("2001:db8::/32", "2000::/3", "::/7", "64:ff9b::/96", "127.0.0.0/8")
        ),
    ],
)
def test_private_networks_without_a_gateway_are_the_lan(network: str, expected: bool) -> None:
    (route,) = routes(network, index=1)
    found = on_link(Snapshot((HOME,), (route,), REACHED))
    assert found == ({(ip_network(network), "eth0")} if expected else set())
    assert on_link(Snapshot((HOME,), (replace(route, gateway=True),), REACHED)) == set()


@pytest.mark.parametrize(
    ("network", "own", "shared", "expected"),
    [
        ("2001:db8:1::/64", "2001:db8:1::2", True, True),
        ("2001:db8:1::/64", "fe80::2 2001:db8:1::2", True, True),
        ("2001:db8:1::/120", "2001:db8:1::2", True, True),
        ("203.0.113.0/24", "203.0.113.7", True, False),
        ("203.0.0.0/16", "192.168.1.2 203.0.113.7", True, False),
        ("2001:db8:1::/64", "2001:db8:1::2", False, False),  # point-to-point, as a mobile network's
        ("203.0.113.0/24", "203.0.113.7", False, False),
        ("2001:db8:1::/63", "2001:db8:1::2", True, False),  # wider than a LAN
        ("203.0.0.0/15", "203.0.113.7", True, False),
        ("2000::/3", "2001:db8:1::2", True, False),
        ("::/0", "2001:db8:1::2", True, False),
        ("0.0.0.0/0", "203.0.113.7", True, False),
        ("128.0.0.0/1", "203.0.113.7", True, False),
        ("203.0.113.0/24", "198.51.100.7", True, False),  # a route that DHCP's option 121 gave
        ("203.0.113.9/32", "203.0.113.7", True, False),
        ("2001:db8:2::/64", "2001:db8:1::2", True, False),
        ("2001:db8:1::/64", "", True, False),
    ],
)
def test_of_the_public_networks_the_ipv6_ones_with_an_address_of_a_shared_interface_are_the_lan(
    network: str, own: str, shared: bool, expected: bool
) -> None:
    one = link("eth0", "", index=1, shared=shared)
    (route,) = routes(network, index=1)
    addresses = {1: tuple(ip_address(address) for address in own.split()), 2: (ip_address("2001:db8:1::3"),)}
    found = on_link(Snapshot((one, WG0), (route,), REACHED, all_addresses=addresses))
    assert found == ({(ip_network(network), "eth0")} if expected else set())
    gateway = replace(route, gateway=True)
    assert on_link(Snapshot((one, WG0), (gateway,), REACHED, all_addresses=addresses)) == set()


def test_the_lan_is_of_the_interface_that_the_route_leads_to() -> None:
    there = (
        *routes("10.1.0.0/16", index=1),
        *routes("10.2.0.0/16", index=2),
        Route(MAIN, ip_network("10.3.0.0/16"), (1, 2)),
        *routes("10.4.0.0/16", index=9),  # an interface that is gone
        *routes("10.5.0.0/16", index=5),
        *routes("127.0.0.0/8", "10.6.0.0/16", index=6),
    )
    strange, loopback = link('e"th0', "", index=5), link("lo", "", index=6)
    assert on_link(Snapshot((HOME, WG0, strange, loopback), there, REACHED)) == {
        (ip_network("10.1.0.0/16"), "eth0"),
        (ip_network("10.3.0.0/16"), "eth0"),
        (ip_network("10.2.0.0/15"), "wg0"),  # two halves
    }


def test_a_way_out_carries_what_lies_on_it_and_the_bond_or_bridge_that_it_belongs_to() -> None:
    links = (
        Link(1, "eth0", "", False, True, True, master=2),
        Link(2, "bond0", "bond", False, True, True),
        Link(3, "bond0.7", "vlan", False, True, True, peer=2),
        Link(4, "macvlan0", "macvlan", False, True, True, peer=3),
        Link(5, "vxlan0", "vxlan", False, True, True, peer=2),
        Link(6, "veth0", "veth", False, True, True, peer=1),
        Link(7, "vnet0", "tun", True, True, True, master=8),
        Link(8, "virbr0", "bridge", False, True, True),
    )
    assert lying_on(links, [1]) == {1, 2, 3, 4}
    assert lying_on(links, [3]) == {3, 4}
    assert lying_on(links, [7]) == {7, 8}
    assert lying_on(links, []) == set()


def test_a_vrf_carries_nothing_in_the_clear_as_its_interfaces_ask_the_rules_again() -> None:
    vrf = link("red", "vrf", index=8)
    assert lying_on((replace(HOME, master=8), vrf), [1]) == {1}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**24 - 1).map(lambda n: 10 << 24 | n), st.integers(8, 32), st.sampled_from([1, 2])
        ),
        max_size=8,
    )
)
def test_no_network_of_the_lan_lies_in_another_as_the_walls_sets_take_none(
    nets: list[tuple[int, int, int]],
) -> None:
    there = tuple(
        Route(MAIN, ip_network((address, length), strict=False), (index,)) for address, length, index in nets
    )
    found = on_link(Snapshot((HOME, WG0), there, REACHED))
    for network, name in found:
        assert not any(network.overlaps(other) for other, its in found if its == name and other != network)
    for route in there:
        name = {1: "eth0", 2: "wg0"}[route.interfaces[0]]
        assert any(route.destination.subnet_of(network) for network, its in found if its == name)  # type: ignore[arg-type]

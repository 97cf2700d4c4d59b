"""Which interfaces are the VPN, from a snapshot of links, routes and routing rules. No I/O."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from stunwall.config import Network, is_interface
from stunwall.model import VPN_KINDS, VRF, Address
from stunwall.vpn import coverage

# Kinds that hand their packets as they are to the interface on which they lie. Tunnels, such as vxlan and gre, wrap
# them in others, and so does macsec.
_LYING = frozenset({"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"})

# Addresses that no server on the Internet has: RFC 1918, RFC 6598 (as Tailscale's), RFC 3927, RFC 4193, RFC 4291 §2.5.6
_PRIVATE = tuple(
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
        *("fc00::/7", "fe80::/10"),
    )
)
# No network of machines behind this one is wider than 10.0.0.0/8; halves of a default route are /1.
_WIDEST = 8
# RFC 4291 §2.5.1: an interface identifier has 64 bits. Machines of a wider network are behind a router.
_WIDEST_LAN = 64
# The addresses of a tun whose program translates packets and does not encrypt them: RFC 7335 §4 (464XLAT, RFC 6877) and
# RFC 4380 §2.6.
_TRANSLATORS: dict[Network, str] = {IPv4Network("192.0.0.0/29"): "a CLAT", IPv6Network("2001::/32"): "Teredo"}


@dataclass(frozen=True, slots=True)
class Link:
    """An interface: `kind` is IFLA_INFO_KIND or "" for hardware, `tap` a tun device in tap mode.

    `up`: administratively up; `running`: it has a carrier, which for a tun device means a program holds it. `master`:
    the index of the bridge, bond or VRF that it belongs to, 0 if none. `peer`: the index of the other end of a veth
    pair, or of the interface on which it lies (VLAN, macvlan), 0 if there is none in this network namespace. `table`:
    the routing table of a VRF, 0 for other kinds. `shared`: it leads to several machines, which are found by ARP or
    neighbour discovery.
    """

    index: int
    name: str
    kind: str
    tap: bool
    up: bool
    running: bool
    master: int = 0
    peer: int = 0
    table: int = 0
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route: its table, destination, the indexes of its outgoing links, and whether by a gateway.

    A route by a nexthop object names no link where the sysctl nexthop_compat_mode is 0.
    """

    table: int
    destination: Network
    interfaces: tuple[int, ...]
    gateway: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The network at one moment.

    `routes`: those that matter; the default route may stand for others, which together are one (see network.py).
    `tables`: by IP version, the routing tables that a rule reaches. `addresses`: by (link's index, IP version)
    its first address that is not link-local. `egress`: by IP version, the index of the link that a packet
    without source or mark to the Internet leaves by, 0 if none. `dynamic`: the indexes of the links with an address
    that has a lifetime, or is from a router advertisement. `all_addresses`: by link's index.
    """

    links: tuple[Link, ...]
    routes: tuple[Route, ...]
    tables: dict[int, frozenset[int]]
    addresses: dict[tuple[int, int], Address] = field(default_factory=dict)
    egress: dict[int, int] = field(default_factory=dict)
    dynamic: frozenset[int] = frozenset()
    all_addresses: dict[int, tuple[Address, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assessment:
    """Whether an interface counts as the VPN or is inside (see inside.py), and a sentence that says why.

    `doubt`: the configuration says that it is inside, but it has carried a default route.
    """

    interface: str
    kind: str
    counts: bool
    why: str
    inside: bool = False
    doubt: bool = False


def may_count(link: Link, named: Iterable[str]) -> bool:
    """Whether an interface is the VPN once it is up and routes lead to it."""
    return (link.kind in VPN_KINDS and not link.tap) or bool(matching(link.name, tuple(named)))


@lru_cache(4096)
def matching(name: str, globs: tuple[str, ...]) -> str:
    """Return the first glob that matches a name, "" if none does."""
    return next((glob for glob in globs if fnmatchcase(name, glob)), "")


def is_default(prefix: int) -> bool:
    """Whether a route to a network with a prefix of this length is, or may be a part of, a default route."""
    return prefix < _WIDEST


def assess(snapshot: Snapshot, named: Iterable[str]) -> tuple[Assessment, ...]:
    """Return for each interface whether it counts as the VPN; `named` has the configuration's names and globs.

    Names win: with any given, nothing else counts. Otherwise an interface counts if its kind is a VPN's, it
    is up, and a default route that some routing rule reaches leads to it. A tun with the address of a CLAT or of Teredo
    is no VPN for that IP version.
    """
    globs = tuple(named)
    return tuple(_assess_link(link, snapshot, globs) for link in snapshot.links)


def vpn_names(snapshot: Snapshot, named: Iterable[str]) -> frozenset[str]:
    """Return the names of the interfaces that count in what `assess` returns, without what it says of all others."""
    globs = tuple(named)
    return frozenset(
        link.name
        for link in snapshot.links
        if may_count(link, globs) and _assess_link(link, snapshot, globs).counts
    )


def redirect_target(
    snapshot: Snapshot, vpn: Collection[str], named: Iterable[str], family: int
) -> int | None:
    """Return the index of the VPN's link that packets of an IP version are redirected to, None if there is none.

    `vpn`: the names of the interfaces that count.

    The link has an address of that version, and a default route or, if it is named, none at all. It is in no VRF, where
    replies do not reach the sockets outside. With several: the one that the default route leads to, else the first by
    the names in the configuration, then by index.
    """
    globs = tuple(named)
    vrfs = {link.index for link in snapshot.links if link.kind == VRF}
    able = [
        link
        for link in snapshot.links
        if link.name in vpn and link.master not in vrfs and _carries(link, snapshot, globs, family)
    ]

    def rank(link: Link) -> tuple[bool, int, int]:
        matching = (place for place, glob in enumerate(globs) if fnmatchcase(link.name, glob))
        return link.index != snapshot.egress.get(family), next(matching, 0), link.index

    return min(able, key=rank).index if able else None


def on_link(snapshot: Snapshot) -> frozenset[tuple[Network, str]]:
    """Return (network, interface) of the networks that are reached without a gateway.

    They are private, or the IPv6 network of one of the interface's own addresses: one without an address of this
    machine in it, or behind a point-to-point interface, is behind a router, whatever the route says. Public IPv4
    networks never count: machines on a LAN have private addresses, and by DHCP any network can say that a STUN server
    is local, and pass on what is sent there (TunnelCrack LocalNet, CVE-2023-36672).
    """
    links = {link.index: link for link in snapshot.links if is_interface(link.name) and link.name != "lo"}
    networks: dict[str, list[Network]] = {}
    for route in snapshot.routes:
        for link in () if route.gateway else filter(None, map(links.get, route.interfaces)):
            if _is_lan(route.destination, link, snapshot):
                networks.setdefault(link.name, []).append(route.destination)
    return frozenset((network, name) for name, some in networks.items() for network in _collapsed(some))


def may_be_lan(network: Network) -> bool:
    """Whether `on_link` may return a network, if a route without a gateway leads to it."""
    return _is_private(network) or (network.version == 6 and network.prefixlen >= _WIDEST_LAN)


def lying_on(links: Collection[Link], carriers: Iterable[int]) -> set[int]:
    """Return the indexes of the links whose packets leave by one of the carriers in the clear, themselves included.

    Those are links that lie on it, and the bonds and bridges that it belongs to. Not a VRF: what it gets passes
    postrouting again.
    """
    above: dict[int, set[int]] = {}
    vrfs = {link.index for link in links if link.kind == VRF}
    for link in links:
        if link.kind in _LYING:
            above.setdefault(link.peer, set()).add(link.index)
        if link.master and link.master not in vrfs:
            above.setdefault(link.index, set()).add(link.master)
    found = set(carriers)
    wanted = list(found)
    while wanted:
        new = above.get(wanted.pop(), set()) - found
        wanted += new
        found |= new
    return found


def own_addresses(snapshot: Snapshot, names: Iterable[str]) -> frozenset[tuple[str, Address]]:
    """Return (interface, address) of each IP version that the named interfaces have an address of."""
    wanted = frozenset(names)
    links = [link for link in snapshot.links if link.name in wanted]
    found = ((link.name, snapshot.addresses.get((link.index, family))) for link in links for family in (4, 6))
    return frozenset((name, address) for name, address in found if address is not None)


def _collapsed(networks: Iterable[Network]) -> list[Network]:
    # The sets take no network inside another one, such as a route to the gateway alone next to that of its LAN.
    found = tuple(networks)
    four = collapse_addresses(net for net in found if isinstance(net, IPv4Network))
    six = collapse_addresses(net for net in found if isinstance(net, IPv6Network))
    return [*four, *six]


def _is_private(network: Network) -> bool:
    # Not ipaddress' is_private, which also holds for documentation, benchmarking and reserved networks.
    return any(network.version == own.version and network.subnet_of(own) for own in _PRIVATE)  # type: ignore[arg-type]


def _is_lan(network: Network, link: Link, snapshot: Snapshot) -> bool:
    if _is_private(network):
        return True
    own = snapshot.all_addresses.get(link.index, ())
    return may_be_lan(network) and link.shared and any(address in network for address in own)


def _carries(link: Link, snapshot: Snapshot, globs: tuple[str, ...], family: int) -> bool:
    if (link.index, family) not in snapshot.addresses:
        return False
    if _carries_default(link, snapshot, family):
        return True
    return bool(globs) and not any(_carries_default(link, snapshot, version) for version in (4, 6))


def _assess_link(link: Link, snapshot: Snapshot, globs: tuple[str, ...]) -> Assessment:
    def says(counts: bool, why: str) -> Assessment:
        return Assessment(link.name, link.kind, counts, why)

    if not is_interface(link.name):
        return says(False, "nft cannot express its name, or a terminal cannot show it: rename it")
    if link.name == "lo":
        return says(False, "it is the loopback interface: nothing leaves the machine there")
    if globs:
        glob = matching(link.name, globs)
        if not glob:
            return says(False, "the key interfaces in the configuration does not name it")
        if not link.up:
            return says(False, f'named by interfaces = ["{glob}"], but it is down')
        return says(True, f'named by interfaces = ["{glob}"], and up')
    if link.tap:
        return says(
            False, "a tap device often belongs to a virtual machine; name it in interfaces if it is your VPN"
        )
    if link.kind not in VPN_KINDS:
        return says(False, f"{_kind(link)} does not count as a VPN; name it in interfaces if it is yours")
    if not link.up:
        return says(False, f"a {link.kind} interface, but it is down")
    if not link.running:
        return says(False, f"a {link.kind} interface, but no program uses it")
    carried = [family for family in (4, 6) if _carries_default(link, snapshot, family)]
    if not carried:
        return says(False, f"a {link.kind} interface, but no default route leads to it")
    translated = _translated(link, snapshot)
    families = " and ".join(f"IPv{family}" for family in carried if family not in translated)
    if not families:
        what = translated[carried[0]]
        return says(False, f"{what}, which does not encrypt; name it in interfaces if it is your VPN")
    return says(True, f"a {link.kind} interface that carries the default route of {families}")


def _translated(link: Link, snapshot: Snapshot) -> dict[int, str]:
    """Return what a tun is by its addresses if its program only translates packets, by IP version."""
    return {
        address.version: f"a tun interface with the address {address}, as {program} has it"
        for address in snapshot.all_addresses.get(link.index, ())
        for network, program in _TRANSLATORS.items()
        if link.kind == "tun" and address in network
    }


def _kind(link: Link) -> str:
    return f"an interface of kind {link.kind}" if link.kind else "a network card"


def _carries_default(link: Link, snapshot: Snapshot, family: int) -> bool:
    tables = snapshot.tables.get(family, frozenset())
    routed = [
        route.destination
        for route in snapshot.routes
        if link.index in route.interfaces and route.destination.version == family and route.table in tables
    ]
    return coverage.covers(((int(net.network_address), net.prefixlen) for net in routed), family)

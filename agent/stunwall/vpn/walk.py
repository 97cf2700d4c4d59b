"""Which way a packet takes, by routing rules and routes, as the kernel decides it. No I/O.

Theory of operation

The kernel answers the same question (RTM_GETROUTE, `ip route get`), but not by which rule, and what would be if the
packet were not bound, or a rule were not there. So this goes through rules and routes itself
(net/core/fib_rules.c, fib_rules_lookup; net/ipv4/fib_trie.c, fib_table_lookup; net/ipv6/route.c, fib6_table_lookup).
tests/unit/vpn/test_walk.py holds it against the kernel.

A rule that matches leads to a table. There the longest prefix decides, then, for IPv6, the longest source prefix, then
the lowest metric. Where nothing fits, or a `throw` route does, or the rule suppresses the route, the next rule has its
turn. Each IP version has its own idea of a socket that is bound to a device:

*IPv4.* Routes by other devices are passed over. Where rules and routes give nothing, or forbid it, the destination is
taken to be on the device's own network (net/ipv4/route.c, ip_route_output_key_hash_rcu).

*IPv6.* Routes by other devices are passed over, also those that forbid, as they belong to the loopback device. What has
no route does not leave.

Not looked at: the groups of interfaces (suppress_ifgroup), whether IPv6 gateways answer, which way of several is
taken, and TOS, flow labels and tunnel IDs: a packet has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from stunwall.model import VRF, Address
from stunwall.vpn.fib import Action, Route, Rule, Type
from stunwall.vpn.interfaces import Link

LOOPBACK = 1  # the index that packets of this machine come from (net/core/dev.h, LOOPBACK_IFINDEX)


@dataclass(frozen=True, slots=True)
class Packet:
    """What rules and routes can select.

    `source` is None for a socket that is not bound to an address. `device` is the index of the link that it is bound
    to, 0 for none. `incoming` is the index of the link that a forwarded packet comes in by.
    """

    destination: Address
    source: Address | None = None
    device: int = 0
    mark: int = 0
    uid: int = 0
    incoming: int = LOOPBACK
    protocol: int = 17  # UDP
    source_port: int = 0
    destination_port: int = 0

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.destination.version


class Outcome(StrEnum):
    """What becomes of a packet."""

    ROUTED = "routed"
    LOCAL = "local"
    NO_ROUTE = "no-route"
    BLACKHOLE = "blackhole"
    UNREACHABLE = "unreachable"
    PROHIBIT = "prohibit"


_FORBID = {
    Type.BLACKHOLE: Outcome.BLACKHOLE,
    Type.UNREACHABLE: Outcome.UNREACHABLE,
    Type.PROHIBIT: Outcome.PROHIBIT,
}
_RULES_FORBID = {
    Action.BLACKHOLE: Outcome.BLACKHOLE,
    Action.UNREACHABLE: Outcome.UNREACHABLE,
    Action.PROHIBIT: Outcome.PROHIBIT,
}


@dataclass(frozen=True, slots=True)
class Path:
    """The way of a packet: `interfaces` has the indexes of the links that it may leave by, one of which it takes.

    `rule` and `route` decided; both are None if nothing did, also where IPv4 takes the destination to be on the
    network of the device that the socket is bound to.
    """

    outcome: Outcome
    interfaces: tuple[int, ...] = ()
    rule: Rule | None = None
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Fib:
    """The rules of one IP version in their order, the routes that may matter, in any, and all links by index."""

    rules: tuple[Rule, ...]
    routes: tuple[Route, ...]
    links: Mapping[int, Link]


def walk(fib: Fib, packet: Packet) -> Path:
    """Return the way that a packet takes."""
    device = fib.links.get(packet.device)
    if packet.device and (device is None or not device.up):
        return Path(Outcome.NO_ROUTE)
    found = _by_rules(fib, packet)
    leaves = found.outcome in (Outcome.ROUTED, Outcome.LOCAL)
    if packet.version == 4 and device is not None and not leaves and _vrf(fib, packet) is None:
        return Path(Outcome.ROUTED, (packet.device,))
    return found


def _by_rules(fib: Fib, packet: Packet) -> Path:
    position = 0
    while position < len(fib.rules):
        rule = fib.rules[position]
        position += 1
        if not _matches(rule, packet, fib):
            continue
        if rule.action is Action.GOTO:
            later = range(position, len(fib.rules))
            position = next((at for at in later if fib.rules[at].priority == rule.target), position)
        elif rule.action is Action.TO_TABLE:
            found = _in_table(rule, packet, fib)
            if found is not None:
                return found
        elif rule.action is not Action.NOP:
            return Path(_RULES_FORBID[rule.action], rule=rule)
    return Path(Outcome.NO_ROUTE)


def _matches(rule: Rule, packet: Packet, fib: Fib) -> bool:
    return _selected(rule, packet, fib) is not rule.invert


def _selected(rule: Rule, packet: Packet, fib: Fib) -> bool:
    """Whether all selectors of a rule apply, as if it had no `not`."""
    vrf = _vrf(fib, packet)
    if (
        rule.unusual
        or not _is_by(rule.incoming, packet.incoming, vrf, fib)
        or not _is_by(rule.outgoing, packet.device, vrf, fib)
        or (packet.mark ^ rule.mark) & rule.mask
        or (rule.l3mdev and vrf is None)
    ):
        return False
    if rule.uids is not None and not rule.uids[0] <= packet.uid <= rule.uids[1]:
        return False
    if rule.destination is not None and packet.destination not in rule.destination:
        return False
    if rule.source is not None and (packet.source is None or packet.source not in rule.source):
        return False
    return (
        rule.protocol in (0, packet.protocol)
        and (rule.source_ports is None or rule.source_ports.have(packet.source_port))
        and (rule.destination_ports is None or rule.destination_ports.have(packet.destination_port))
    )


def _is_by(name: str, index: int, vrf: Link | None, fib: Fib) -> bool:
    link = fib.links.get(index)
    return not name or (link is not None and link.name == name) or (vrf is not None and vrf.name == name)


def _vrf(fib: Fib, packet: Packet) -> Link | None:
    """Return the VRF that a packet belongs to, None if none (net/l3mdev/l3mdev.c, l3mdev_update_flow)."""
    link = fib.links.get(packet.device or packet.incoming)
    if link is None or link.kind == VRF:
        return link
    master = fib.links.get(link.master)
    return master if master is not None and master.kind == VRF else None


def _in_table(rule: Rule, packet: Packet, fib: Fib) -> Path | None:
    """Return the way by the table that a rule leads to, None if the next rule has its turn."""
    vrf = _vrf(fib, packet)
    table = vrf.table if rule.l3mdev and vrf is not None else rule.table
    # The VRF's own device stands for all of its links.
    device = 0 if vrf is not None and vrf.index == packet.device else packet.device
    for route in _candidates(table, packet, fib):
        if route.type is Type.THROW and (packet.version == 4 or not device):
            return None
        if route.type in _FORBID and (packet.version == 4 or not device):
            return Path(_FORBID[route.type], rule=rule, route=route)
        usable = tuple(hop.index for hop in route.hops if not hop.dead and device in (0, hop.index))
        if usable and route.type not in _FORBID and route.type is not Type.THROW:
            if route.destination.prefixlen <= rule.suppress:
                return None
            outcome = Outcome.LOCAL if route.type in (Type.LOCAL, Type.ANYCAST) else Outcome.ROUTED
            return Path(outcome, usable, rule, route)
    return None


def _candidates(table: int, packet: Packet, fib: Fib) -> list[Route]:
    """Return the routes of a table that a packet can take, in the order in which the kernel looks at them."""
    there = sorted(
        (
            each
            for each in fib.routes
            if each.table == table
            and packet.destination in each.destination
            and not (each.tos and packet.version == 4)
        ),
        key=_rank,
    )
    # net/ipv6/ip6_fib.c, fib6_node_lookup_1: where a network has routes for some sources only, and the packet's is none
    # of these, the kernel begins with the next wider network, even if there is a route for all other sources.
    while there and there[0].destination.prefixlen:
        network = there[0].destination
        same = [each for each in there if each.destination == network]
        if not any(each.source for each in same) or any(
            _is_from(each, packet) for each in same if each.source
        ):
            break
        there = there[len(same) :]
    return [each for each in there if each.source is None or _is_from(each, packet)]


def _is_from(route: Route, packet: Packet) -> bool:
    return packet.source is not None and route.source is not None and packet.source in route.source


def _rank(route: Route) -> tuple[int, int, int]:
    source = 0 if route.source is None else route.source.prefixlen
    return -route.destination.prefixlen, -source, route.priority

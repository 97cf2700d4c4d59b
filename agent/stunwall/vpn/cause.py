"""Why a packet bypasses the VPN: which of its properties, which rule, which route. No I/O.

Each cause is found by taking something away, and asking which way the packet then takes: that its socket
is bound to an address is the cause only if the same packet from a socket that is not bound goes into the VPN.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address

from stunwall.model import Address
from stunwall.vpn.fib import Rule
from stunwall.vpn.walk import LOOPBACK, Fib, Outcome, Packet, Path, walk

# Internet addresses that no VPN routes specially (RFC 2544, RFC 5180).
ORDINARY: dict[int, Address] = {4: ip_address("198.18.0.1"), 6: ip_address("2001:2::1")}
_GUILTY_MAX = 8  # rules that are taken away to see what would be without them


class Cause(StrEnum):
    """Why a packet goes where it goes; the value is the JSON field `cause`, `Cause.sentence` is what people read."""

    VPN = "vpn"
    LOCAL = "local"
    INSIDE = "inside"
    NO_ROUTE = "no-route"
    NO_VPN = "no-vpn"
    FORWARDED = "forwarded"
    DEVICE_BOUND = "device-bound"
    SOURCE_BOUND = "source-bound"
    MARK = "mark"
    RULE = "rule"
    NO_FAMILY = "no-family"
    ROUTE = "route"
    NOT_DEFAULT = "not-default"
    CHANGED = "changed"

    @property
    def sentence(self) -> str:
        """The cause in a sentence."""
        return _SENTENCES[self]


_SENTENCES = {
    Cause.VPN: "the packet goes into the VPN",
    Cause.LOCAL: "the packet stays on this machine",
    Cause.INSIDE: "the packet goes to a machine behind this one",
    Cause.NO_ROUTE: "no route leads there, or one forbids it: the packet does not leave",
    Cause.NO_VPN: "no interface counts as the VPN",
    Cause.FORWARDED: "the packet is forwarded for another machine, and its route bypasses the VPN",
    Cause.DEVICE_BOUND: "its socket is bound to an interface that is not the VPN",
    Cause.SOURCE_BOUND: "its socket is bound to an address that is routed around the VPN",
    Cause.MARK: "its mark takes it around the VPN",
    Cause.RULE: "a routing rule takes it around the VPN",
    Cause.NO_FAMILY: "the VPN does not carry its IP version",
    Cause.ROUTE: "a route that is more specific than the VPN's leads there",
    Cause.NOT_DEFAULT: "the default route does not lead into the VPN",
    Cause.CHANGED: "rules and routes have changed since, or the packet had a mark: now it would go another way",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a packet goes, and why; `guilty` has the rules without which it would go into the VPN."""

    cause: Cause
    path: Path
    guilty: tuple[Rule, ...] = ()


def explain(
    fib: Fib, packet: Packet, vpn: frozenset[int], inside: frozenset[int] = frozenset()
) -> Explanation:
    """Return why a packet goes where it goes.

    Args:
        fib: with the routes to the packet's destination, and to ORDINARY of its IP version.
        packet: the packet.
        vpn: the indexes of the links that are the VPN.
        inside: the indexes of the links that lead only to machines behind this one.
    """
    path = walk(fib, packet)
    if path.outcome is Outcome.LOCAL:
        return Explanation(Cause.LOCAL, path)
    if path.outcome is not Outcome.ROUTED:
        return Explanation(Cause.NO_ROUTE, path)
    if vpn.issuperset(path.interfaces):
        return Explanation(Cause.VPN, path)
    if inside.issuperset(path.interfaces):
        return Explanation(Cause.INSIDE, path)
    if not vpn:
        return Explanation(Cause.NO_VPN, path)

    def enters(changed: Packet, rules: tuple[Rule, ...] = fib.rules) -> bool:
        found = walk(replace(fib, rules=rules), changed)
        return found.outcome is Outcome.ROUTED and vpn.issuperset(found.interfaces)

    cause = _by_itself(packet, enters)
    guilty = _guilty(fib, packet, enters)
    if cause is None:
        cause = Cause.RULE if guilty else _by_routes(fib, packet, vpn, enters)
    return Explanation(cause, path, guilty)


def _by_itself(packet: Packet, enters: Callable[[Packet], bool]) -> Cause | None:
    """Return which property of the packet takes it around the VPN, None if none of them does."""
    without = (
        (Cause.FORWARDED, of_this_machine(packet)),
        (Cause.DEVICE_BOUND, replace(packet, device=0)),
        (Cause.SOURCE_BOUND, replace(packet, source=None)),
        (Cause.MARK, replace(packet, mark=0)),
    )
    there = [(cause, changed) for cause, changed in without if changed != packet]
    for cause, changed in there:
        if enters(changed):
            return cause
    plain = replace(of_this_machine(packet), device=0, source=None, mark=0)
    return there[0][0] if there and enters(plain) else None


def of_this_machine(packet: Packet) -> Packet:
    """Return the packet as it would be if this machine had sent it, and not just forwarded."""
    return packet if packet.incoming == LOOPBACK else replace(packet, incoming=LOOPBACK, source=None)


def _guilty(fib: Fib, packet: Packet, enters: Callable[[Packet, tuple[Rule, ...]], bool]) -> tuple[Rule, ...]:
    """Return the rules without which the packet would go into the VPN, () if that takes more than rules."""
    rules, found = fib.rules, list[Rule]()
    while len(found) < _GUILTY_MAX:
        rule = walk(replace(fib, rules=rules), packet).rule
        if rule is None or not rule.selects or rule.invert:
            break
        found.append(rule)
        rules = tuple(each for each in rules if each is not rule)
        if enters(packet, rules):
            return tuple(found)
    return ()


def _by_routes(fib: Fib, packet: Packet, vpn: frozenset[int], enters: Callable[[Packet], bool]) -> Cause:
    ordinary = replace(packet, destination=ORDINARY[packet.version], device=0, source=None, mark=0)
    if enters(ordinary):
        return Cause.ROUTE
    carries = any(
        vpn.intersection(hop.index for hop in route.hops)
        for route in fib.routes
        if ordinary.destination in route.destination
    )
    return Cause.NOT_DEFAULT if carries else Cause.NO_FAMILY

"""Rules and routes in the words of ip(8), to show them, and to remove them. No I/O.

The names of interfaces are quoted for a shell, as they may have any character but a slash and white space.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from shlex import quote

from stunwall.config import Network
from stunwall.model import Transport
from stunwall.vpn.fib import Action, Ports, Route, Rule, Type
from stunwall.vpn.interfaces import Link

_TABLES = {253: "default", 254: "main", 255: "local"}  # /etc/iproute2/rt_tables, and linux/rtnetlink.h
_ALL_BITS = 0xFFFFFFFF
_PROTOCOLS = {each.number: each for each in Transport}


def table(number: int) -> str:
    """Return the name of a routing table, or its number."""
    return _TABLES.get(number, str(number))


def rule(one: Rule) -> str:
    """Return what a rule selects and what it does, as `ip rule` shows it."""
    words = [
        *(["not"] if one.invert else []),
        f"from {_network(one.source)}",
        *([f"to {_network(one.destination)}"] if one.destination is not None else []),
        *([f"fwmark {_hexadecimal(one.mark)}{_slash(one.mask)}"] if one.mask else []),
        *([f"iif {quote(one.incoming)}"] if one.incoming else []),
        *([f"oif {quote(one.outgoing)}"] if one.outgoing else []),
        *([f"uidrange {one.uids[0]}-{one.uids[1]}"] if one.uids is not None else []),
        *([f"ipproto {_PROTOCOLS.get(one.protocol, one.protocol)}"] if one.protocol else []),
        *(_ports("sport", one.source_ports)),
        *(_ports("dport", one.destination_ports)),
        _action(one),
    ]
    return " ".join(words)


def remove_rule(one: Rule) -> str:
    """Return the command that removes a rule, until whatever made it makes it again."""
    return f"sudo ip{family(one.version)} rule del pref {one.priority} {rule(one)}"


def route(one: Route, links: Mapping[int, Link]) -> str:
    """Return a route as `ip route` shows it."""
    hops = [
        *(
            (f"via {ip_address(hop.gateway)}" if hop.gateway else "", _device(hop.index, links))
            for hop in one.hops
        )
    ]
    words = [*_key(one)]
    if len(hops) == 1:
        words += filter(None, hops[0])
    else:
        words += (" ".join(["nexthop", *filter(None, hop)]) for hop in hops)
    return " ".join(words + ([f"metric {one.priority}"] if one.priority else []))


def remove_route(one: Route) -> str:
    """Return the command that removes a route, until whatever made it makes it again."""
    metric = [f"metric {one.priority}"] if one.priority else []
    words = [*_key(one), "table", table(one.table), *metric]
    return f"sudo ip{family(one.destination.version)} route del {' '.join(words)}"


def _key(one: Route) -> list[str]:
    kind = [] if one.type is Type.UNICAST else [one.type.name.lower()]
    source = [f"from {_network(one.source)}"] if one.source is not None else []
    return [*kind, _network(one.destination if one.destination.prefixlen else None, "default"), *source]


def _action(one: Rule) -> str:
    if one.action is Action.GOTO:
        return f"goto {one.target}"
    if one.action is not Action.TO_TABLE:
        return one.action.name.lower()
    if one.l3mdev:
        return "lookup [l3mdev-table]"
    return f"lookup {table(one.table)}" + (
        f" suppress_prefixlength {one.suppress}" if one.suppress >= 0 else ""
    )


def _ports(word: str, ports: Ports | None) -> list[str]:
    if ports is None:
        return []
    several = f"-{ports.last}" if ports.last != ports.first else ""
    return [f"{word} {ports.first}{several}"]


def _network(one: Network | None, everything: str = "all") -> str:
    if one is None:
        return everything
    return str(one.network_address) if one.prefixlen == one.max_prefixlen else str(one)


def _hexadecimal(mark: int) -> str:
    return f"{mark:#x}" if mark else "0"  # as C's printf has it


def _slash(mask: int) -> str:
    return "" if mask == _ALL_BITS else f"/{mask:#x}"


def _device(index: int, links: Mapping[int, Link]) -> str:
    return f"dev {links[index].name}" if index in links else ""


def family(version: int) -> str:
    """Return the option of `ip` for an IP version, with a space before it."""
    return " -6" if version == 6 else ""

"""Routing rules and routes with all that decides about a packet, as rtnetlink dumps them (ip-rule(8)). No I/O.

messages.py reads less of them, as it follows every change on a machine with 100,000 routes. This is for one look.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_network
from typing import NamedTuple

from stunwall import netlink
from stunwall.config import Network
from stunwall.model import FAMILIES, Address
from stunwall.netlink import Message, attributes

# linux/fib_rules.h: FRA_*
_DST, _SRC, _IIFNAME, _GOTO, _PRIORITY = 1, 2, 3, 4, 6
_FWMARK, _TUN_ID, _SUPPRESS_PREFIXLEN, _TABLE, _FWMASK, _OIFNAME = 10, 12, 14, 15, 16, 17
_L3MDEV, _UID_RANGE, _IP_PROTO, _SPORT_RANGE, _DPORT_RANGE = 19, 20, 22, 23, 24
_DSCP, _FLOWLABEL, _SPORT_MASK, _DPORT_MASK = 25, 26, 28, 29
_INVERT = 0x2  # FIB_RULE_INVERT
# linux/rtnetlink.h: RTA_*
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 2, 4, 5, 6
_RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 9, 15, 18
_DEAD = 0x1  # RTNH_F_DEAD

# struct fib_rule_hdr and struct rtmsg: family, prefixes, TOS, table, then what differs, action or type, flags
_HEADER = struct.Struct("=BBBBBBBBI")
_NEXTHOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, weight, index
_FAMILIES = {version: int(family) for version, family in FAMILIES.items()}
_VERSIONS = {family: version for version, family in _FAMILIES.items()}
_BITS = {4: 32, 6: 128}
_ALL_BITS = 0xFFFFFFFF


class Action(IntEnum):
    """What a rule does (linux/fib_rules.h: FR_ACT_*). The kernel takes any other one for BLACKHOLE."""

    TO_TABLE = 1
    GOTO = 2
    NOP = 3
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8


class Type(IntEnum):
    """What a route does (linux/rtnetlink.h: RTN_*)."""

    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8
    THROW = 9


class Ports(NamedTuple):
    """The ports that a rule selects; with a mask, those with the bits of the first (Linux 6.15)."""

    first: int
    last: int
    mask: int = 0

    def have(self, port: int) -> bool:
        """Whether it selects a port."""
        if self.mask:
            return not (port ^ self.first) & self.mask
        return self.first <= port <= self.last


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing rule. None, "" and 0 select everything.

    `l3mdev`: it leads to the table of the VRF that the packet belongs to. `suppress`: routes with prefixes of at most
    this length do not count. `unusual`: it selects by TOS, flow label or tunnel what ordinary packets do not have.
    """

    version: int
    priority: int
    action: Action
    table: int = 0
    target: int = 0
    invert: bool = False
    source: Network | None = None
    destination: Network | None = None
    incoming: str = ""
    outgoing: str = ""
    mark: int = 0
    mask: int = 0
    uids: tuple[int, int] | None = None
    protocol: int = 0
    source_ports: Ports | None = None
    destination_ports: Ports | None = None
    l3mdev: bool = False
    suppress: int = -1
    unusual: bool = False

    @property
    def selects(self) -> bool:
        """Whether it is about some packets only."""
        chosen = (self.source, self.destination, self.uids, self.source_ports, self.destination_ports)
        return any(each is not None for each in chosen) or bool(
            self.incoming or self.outgoing or self.mask or self.protocol
        )


@dataclass(frozen=True, slots=True)
class Hop:
    """A way that a route offers: the index of the link, the gateway (b"" for none), and whether it is unusable."""

    index: int
    gateway: bytes = b""
    dead: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A route. `source`: it is for packets from there only, which IPv6 has."""

    table: int
    destination: Network
    type: Type
    priority: int = 0
    tos: int = 0
    source: Network | None = None
    hops: tuple[Hop, ...] = ()


def rule(message: Message) -> Rule | None:
    """Return a routing rule, None if it is of neither IP version."""
    data, start, end = message.data, message.start, message.end
    if end - start < _HEADER.size:
        return None
    family, to_length, from_length, tos, table, _, _, action, flags = _HEADER.unpack_from(data, start)
    if family not in _VERSIONS:
        return None
    found = attributes(data, start + _HEADER.size, end)
    version = _VERSIONS[family]
    uids = found.get(_UID_RANGE, b"")
    # FRA_FWMARK without FRA_FWMASK: all bits (net/core/fib_rules.c, fib_nl2rule).
    mark = _number(found, _FWMARK)
    return Rule(
        version=version,
        priority=_number(found, _PRIORITY),
        action=Action(action) if action in set(Action) else Action.BLACKHOLE,
        table=_number(found, _TABLE) or table,
        target=_number(found, _GOTO),
        invert=bool(flags & _INVERT),
        source=_network(found.get(_SRC, b""), from_length, version) if from_length else None,
        destination=_network(found.get(_DST, b""), to_length, version) if to_length else None,
        incoming=_text(found.get(_IIFNAME, b"")),
        outgoing=_text(found.get(_OIFNAME, b"")),
        mark=mark,
        mask=_number(found, _FWMASK) or (_ALL_BITS if mark else 0),
        uids=struct.unpack("=II", uids) if len(uids) == 8 else None,
        protocol=_number(found, _IP_PROTO),
        source_ports=_ports(found, _SPORT_RANGE, _SPORT_MASK),
        destination_ports=_ports(found, _DPORT_RANGE, _DPORT_MASK),
        l3mdev=bool(_number(found, _L3MDEV)),
        suppress=_signed(found.get(_SUPPRESS_PREFIXLEN, b"")),
        unusual=bool(tos) or any(any(found.get(each, b"")) for each in (_DSCP, _FLOWLABEL, _TUN_ID)),
    )


def leading_to(addresses: Iterable[Address]) -> frozenset[bytes]:
    """Return what a route to one of these addresses can have as its destination, for `route`."""
    return frozenset(
        bytes((_FAMILIES[each.version], length)) + _masked(each, length)
        for each in addresses
        for length in range(_BITS[each.version] + 1)
    )


def _masked(address: Address, length: int) -> bytes:
    """Return a prefix as RTA_DST has it, which a default route does not have."""
    host = _BITS[address.version] - length
    return (int(address) >> host << host).to_bytes(_BITS[address.version] // 8) if length else b""


def route(message: Message, wanted: frozenset[bytes]) -> Route | None:
    """Return a route if its destination is one of `leading_to`, else None, as soon as that is known."""
    data, start, end = message.data, message.start, message.end
    if end - start < _HEADER.size:
        return None
    # struct rtmsg begins with the family and the length of the destination.
    to = netlink.first(data, start + _HEADER.size, end, _RTA_DST) if data[start + 1] else b""
    if data[start : start + 2] + to not in wanted:
        return None
    family, to_length, from_length, tos, table, _, _, kind, flags = _HEADER.unpack_from(data, start)
    if kind not in set(Type):
        return None
    version = _VERSIONS[family]
    found = attributes(data, start + _HEADER.size, end)
    hops = _hops(found[_RTA_MULTIPATH]) if _RTA_MULTIPATH in found else ()
    if _RTA_OIF in found:
        hops += (Hop(_number(found, _RTA_OIF), _gateway(found), bool(flags & _DEAD)),)
    return Route(
        table=_number(found, _RTA_TABLE) or table,
        destination=_network(to, to_length, version),
        type=Type(kind),
        priority=_number(found, _RTA_PRIORITY),
        tos=tos,
        source=_network(found.get(_RTA_SRC, b""), from_length, version) if from_length else None,
        hops=hops,
    )


def _hops(data: bytes) -> tuple[Hop, ...]:
    found: list[Hop] = []
    start = 0
    while start + _NEXTHOP.size <= len(data):
        length, flags, _, index = _NEXTHOP.unpack_from(data, start)
        if length < _NEXTHOP.size:
            break
        gateway = _gateway(attributes(data, start + _NEXTHOP.size, min(start + length, len(data))))
        found.append(Hop(index, gateway, bool(flags & _DEAD)))
        start += length + 3 & ~3
    return tuple(found)


def _gateway(found: dict[int, bytes]) -> bytes:
    # struct rtvia: the family in two bytes, then the address
    return found.get(_RTA_GATEWAY) or found.get(_RTA_VIA, b"")[2:]


def _network(packed: bytes, length: int, version: int) -> Network:
    size = _BITS[version] // 8
    return ip_network((packed[:size].ljust(size, b"\0"), min(length, 8 * size)), strict=False)


def _ports(found: dict[int, bytes], kind: int, mask: int) -> Ports | None:
    if len(found.get(kind, b"")) != 4:
        return None
    first, last = struct.unpack("=HH", found[kind])
    bits = found.get(mask, b"")
    return Ports(first, last, struct.unpack("=H", bits)[0] if len(bits) == 2 else 0)


def _number(found: dict[int, bytes], kind: int) -> int:
    data = found.get(kind, b"")
    return int(struct.unpack("=I", data)[0]) if len(data) == 4 else data[0] if len(data) == 1 else 0


def _signed(data: bytes) -> int:
    return int(struct.unpack("=i", data)[0]) if len(data) == 4 else -1


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="surrogateescape")

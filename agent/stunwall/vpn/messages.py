"""What rtnetlink's messages say of links, addresses, routes and routing rules (rtnetlink(7)). No I/O.

By pyroute2 a message takes 100 µs, as it decodes every attribute; this takes some 5, and machines have 100,000 routes.
"""

import struct
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from stunwall.config import Network
from stunwall.model import FAMILIES, VRF, Address
from stunwall.netlink import Message, attribute, attributes
from stunwall.vpn.interfaces import Link

# linux/rtnetlink.h: RTM_*
NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWRULE, DELRULE, GETRULE = 32, 33, 34
NEWNEXTHOP, DELNEXTHOP = 104, 105

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # struct rtmsg: family, prefixes, TOS, table, protocol, scope, type, flags
_RULE = struct.Struct(
    "=BBBBBBBBI"
)  # struct fib_rule_hdr: family, prefixes, TOS, table, two reserved, action, flags
_NEXTHOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, weight, index
_NHMSG = 8  # bytes of struct nhmsg
_NUMBERS = {1: struct.Struct("=B"), 4: struct.Struct("=I")}  # by their size
_ERROR = struct.Struct("=i")

# linux/if_link.h
_IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_WIRELESS, _IFLA_LINKINFO = 3, 5, 10, 11, 18
_IFLA_EXT_MASK, _IFLA_LINK_NETNSID = 29, 37
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_TUN_TYPE, _IFLA_VRF_TABLE = 1, 2, 3, 1
_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_TAP = 2  # linux/if_tun.h: IFF_TAP
# linux/if.h: IFF_*
_UP, _BROADCAST, _POINTOPOINT, _RUNNING, _NOARP = 0x1, 0x2, 0x10, 0x40, 0x80
# linux/if_addr.h; IFA_LOCAL is the own end of a point-to-point link, IFA_ADDRESS the other.
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_PROTO = 1, 2, 8, 11
_PERMANENT, _BY_ADVERTISEMENT = 0x80, 2  # IFA_F_PERMANENT: without a lifetime; IFAPROT_KERNEL_RA
_SCOPE_LINK = 253  # linux/rtnetlink.h
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 9, 15, 18
_UNICAST, _BY_KERNEL = 1, 2  # RTN_UNICAST, RTPROT_KERNEL
_TO_TABLE = 1  # linux/fib_rules.h: FR_ACT_TO_TBL, and FRA_*
_FRA_TABLE, _FRA_L3MDEV = 15, 19
_NHA_OIF = 5  # linux/nexthop.h

# The table of a rule that leads to those of all VRFs.
TABLES_OF_VRFS = -1

_VERSIONS = {int(family): version for version, family in FAMILIES.items()}


@dataclass(frozen=True, slots=True)
class AddressMessage:
    """An address of a link; `dynamic`: it has a lifetime, or is from a router advertisement."""

    index: int
    version: int
    address: Address
    link_local: bool
    dynamic: bool


class RouteKey(NamedTuple):
    """What tells routes apart: the kernel has several with the same only where one was appended to another."""

    version: int
    table: int
    start: int
    length: int
    tos: int
    priority: int

    @property
    def network(self) -> Network:
        """Its destination."""
        packed = self.start.to_bytes(4 if self.version == 4 else 16)
        return ip_network((packed, self.length), strict=False)


class RouteMessage(NamedTuple):
    """A route. `nexthops`: (link's index, gateway) of each, the gateway b"" if there is none.

    `unicast`: it is one; others lead nowhere. `gateway`: it may lead to a gateway. `by_kernel`: as for an address.
    A route by a nexthop object names no link where the sysctl nexthop_compat_mode is 0.
    """

    key: RouteKey
    nexthops: tuple[tuple[int, bytes], ...]
    unicast: bool
    gateway: bool
    source: bytes
    by_kernel: bool


@dataclass(frozen=True, slots=True)
class Read:
    """What is to be read: RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE or RTM_GETRULE; of a link, 0 for all."""

    kind: int
    version: int = 0
    index: int = 0


def link(message: Message) -> tuple[Link, bool] | None:
    """Return a link, and whether the other end, or what it lies on, is in another namespace.

    None for what says only something about it: a bridge's view of its port (AF_BRIDGE), a wireless event.
    """
    data, start, end = message.data, message.start, message.end
    if end - start < _LINK.size:
        return None
    family, _, index, flags, _ = _LINK.unpack_from(data, start)
    found = attributes(data, start + _LINK.size, end)
    if family or _IFLA_WIRELESS in found:
        return None
    info = _nested(found.get(_IFLA_LINKINFO, b""))
    kind = _text(info.get(_IFLA_INFO_KIND, b""))
    details = _nested(info.get(_IFLA_INFO_DATA, b"")) if kind in ("tun", VRF) else {}
    foreign = _IFLA_LINK_NETNSID in found
    return Link(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        kind=kind,
        tap=kind == "tun" and _number(details.get(_IFLA_TUN_TYPE, b"")) == _TAP,
        up=bool(flags & _UP),
        running=bool(flags & _RUNNING),
        master=_number(found.get(_IFLA_MASTER, b"")),
        # An index in that namespace, which is not named if it is our own.
        peer=0 if foreign else _number(found.get(_IFLA_LINK, b"")),
        table=_number(details.get(_IFLA_VRF_TABLE, b"")) if kind == VRF else 0,
        shared=flags & (_BROADCAST | _POINTOPOINT | _NOARP) == _BROADCAST,
    ), foreign


def address(message: Message) -> AddressMessage | None:
    """Return an address, None if it is of neither IP version."""
    data, start, end = message.data, message.start, message.end
    if end - start < _ADDRESS.size:
        return None
    family, _, flags, scope, index = _ADDRESS.unpack_from(data, start)
    found = attributes(data, start + _ADDRESS.size, end)
    flags = _number(found.get(_IFA_FLAGS, b"")) or flags
    own = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS) or b""
    if family not in _VERSIONS or len(own) not in (4, 16):
        return None
    advertised = _number(found.get(_IFA_PROTO, b"")) == _BY_ADVERTISEMENT
    dynamic = not flags & _PERMANENT or advertised
    return AddressMessage(index, _VERSIONS[family], ip_address(own), scope >= _SCOPE_LINK, dynamic)


def route(message: Message) -> RouteMessage | None:
    """Return a route, None if it is of neither IP version."""
    data, start, end = message.data, message.start, message.end
    if end - start < _ROUTE.size:
        return None
    family, length, _, tos, table, protocol, _, kind, _ = _ROUTE.unpack_from(data, start)
    if family not in _VERSIONS:
        return None
    found = attributes(data, start + _ROUTE.size, end)
    if _RTA_TABLE in found:
        table = _number(found[_RTA_TABLE])
    key = RouteKey(
        _VERSIONS[family],
        table,
        int.from_bytes(found.get(_RTA_DST, b"")),
        length,
        tos,
        _number(found.get(_RTA_PRIORITY, b"")),
    )
    gateway = found.get(_RTA_GATEWAY) or found.get(_RTA_VIA) or b""
    nexthops = _nexthops(found[_RTA_MULTIPATH]) if _RTA_MULTIPATH in found else ()
    if _RTA_OIF in found:
        nexthops += ((_number(found[_RTA_OIF]), gateway),)
    several = bool(gateway) or _RTA_MULTIPATH in found
    source = found.get(_RTA_PREFSRC, b"")
    return RouteMessage(key, nexthops, kind == _UNICAST, several, source, protocol == _BY_KERNEL)


def _nexthops(data: bytes) -> tuple[tuple[int, bytes], ...]:
    hops = []
    start = 0
    while start + _NEXTHOP.size <= len(data):
        length, _, _, index = _NEXTHOP.unpack_from(data, start)
        if length < _NEXTHOP.size:
            break
        found = attributes(data, start + _NEXTHOP.size, min(start + length, len(data)))
        hops.append((index, found.get(_RTA_GATEWAY) or found.get(_RTA_VIA) or b""))
        start += length + 3 & ~3
    return tuple(hops)


def rule(message: Message) -> tuple[int, int] | None:
    """Return the IP version of a routing rule and the table that it leads to, None if it leads to none.

    The table of the rule for VRFs (`l3mdev`) is TABLES_OF_VRFS.
    """
    data, start, end = message.data, message.start, message.end
    if end - start < _RULE.size:
        return None
    family, _, _, _, table, _, _, action, _ = _RULE.unpack_from(data, start)
    if family not in _VERSIONS or action != _TO_TABLE:
        return None
    found = attributes(data, start + _RULE.size, end)
    if _number(found.get(_FRA_L3MDEV, b"")):
        table = TABLES_OF_VRFS
    elif _FRA_TABLE in found:
        table = _number(found[_FRA_TABLE])
    return _VERSIONS[family], table


def family(message: Message) -> int:
    """Return the IP version that a message is about, 0 if none."""
    return _VERSIONS.get(message.data[message.start], 0) if message.end > message.start else 0


def nexthop(message: Message) -> int:
    """Return the index of the link that a nexthop object names, 0 if none."""
    found = attributes(message.data, message.start + _NHMSG, message.end)
    return _number(found.get(_NHA_OIF, b""))


def error(message: Message) -> int:
    """Return the error number at the end of what was read, or in place of it; 0 if there is none."""
    body = message.data[message.start : message.start + 4]
    return -int(_ERROR.unpack(body)[0]) if len(body) == 4 else 0


def request(read: Read) -> bytes:
    """Return the body of the request for it."""
    family = int(FAMILIES[read.version]) if read.version else 0
    if read.kind == GETLINK:
        mask = attribute(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS))
        return _LINK.pack(family, 0, read.index, 0, 0) + mask
    if read.kind == GETADDR:
        return _ADDRESS.pack(family, 0, 0, 0, read.index)
    only = attribute(_RTA_OIF, struct.pack("=I", read.index)) if read.index else b""
    return _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + only  # struct fib_rule_hdr has the same size


def towards(destination: Address) -> bytes:
    """Return the body of a request for the route to an address."""
    packed = destination.packed
    header = _ROUTE.pack(int(FAMILIES[destination.version]), 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
    return header + attribute(_RTA_DST, packed)


def routes_of(version: int, table: int) -> bytes:
    """Return the body of a request for the routes in a table."""
    only = attribute(_RTA_TABLE, struct.pack("=I", table))
    return _ROUTE.pack(int(FAMILIES[version]), 0, 0, 0, 0, 0, 0, 0, 0) + only


def _nested(data: bytes) -> dict[int, bytes]:
    return attributes(data, 0, len(data))


def _number(data: bytes) -> int:
    return int(_NUMBERS[len(data)].unpack(data)[0]) if len(data) in _NUMBERS else 0


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="surrogateescape")

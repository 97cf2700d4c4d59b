"""Reads links, addresses, routes and routing rules from the kernel, and notices changes (rtnetlink(7))."""

import os
import socket
from errno import ENOBUFS
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkDecodeError, NetlinkDumpInterrupted, NetlinkError

from stunwall.model import FAMILIES, REDIRECT_TABLE, Address, StunwallError
from stunwall.vpn.interfaces import Link, Route, Snapshot

# linux/rtnetlink.h: RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE, and
# RTNLGRP_IPV6_RULE (19) as a bit
_GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << (19 - 1)
_IFA_F_PERMANENT, _IFAPROT_KERNEL_RA = (
    0x80,
    2,
)  # linux/if_addr.h: without a lifetime; by a router advertisement
# linux/if.h
_IFF_UP, _IFF_BROADCAST, _IFF_POINTOPOINT, _IFF_RUNNING, _IFF_NOARP = 0x1, 0x2, 0x10, 0x40, 0x80
_RTN_UNICAST = 1  # linux/rtnetlink.h
_FR_ACT_TO_TBL = 1  # linux/fib_rules.h
_TUN_TAP = 2  # IFLA_TUN_TYPE as in linux/if_tun.h: IFF_TAP
_VERSIONS = {family: version for version, family in FAMILIES.items()}
_RT_SCOPE_LINK = 253  # linux/rtnetlink.h
# Internet addresses that no VPN routes specially (RFC 2544, RFC 5180). Nothing is sent there.
_OUT_THERE = {4: "198.18.0.1", 6: "2001:2::1"}
_TRIES = 20  # dumps in a row that a change interrupted; more are an error
_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


class RtnetlinkError(StunwallError):
    """The kernel's links or routes could not be read."""


class Rtnetlink:
    """The network as the kernel has it, in the namespace where this was made.

    A notification is only a signal to take a new snapshot, as what it says may be out of date. `versions` are the IP
    versions that the system has: a dump for another one returns the wrong family's entries or fails.
    """

    def __init__(self, versions: frozenset[int]) -> None:
        self._versions = versions
        # Subscribed before the first snapshot, so that no change is missed.
        self._changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._changes.setblocking(False)
        self._changes.bind((0, _GROUPS))
        self._netlink = IPRoute()

    def close(self) -> None:
        """Close both sockets."""
        self._changes.close()
        self._netlink.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable once something changed."""
        return self._changes.fileno()

    def drain(self) -> None:
        """Discard the notifications so far. Call it before `snapshot`: a later change then notifies again."""
        while True:
            try:
                self._changes.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                # ENOBUFS: some were lost, but the next snapshot includes what they said.
                if error.errno != ENOBUFS:
                    raise RtnetlinkError(f"cannot receive the kernel's notifications: {error}") from error

    def snapshot(self) -> Snapshot:
        """Return the network as it is now. Raises RtnetlinkError."""
        for _ in range(_TRIES):
            try:
                return self._dump()
            except NetlinkDumpInterrupted:  # a change came in between
                continue
            except (NetlinkError, NetlinkDecodeError, OSError) as error:
                raise RtnetlinkError(f"cannot read interfaces and routes from the kernel: {error}") from error
        raise RtnetlinkError("interfaces and routes change too fast to be read")

    def _dump(self) -> Snapshot:
        links = tuple(_link(message) for message in self._netlink.get_links())
        vrfs = frozenset(link.table for link in links if link.table)
        routes: list[Route] = []
        tables = {}
        for version in self._versions:
            family = FAMILIES[version]
            routes += filter(None, (_route(m, version) for m in self._netlink.get_routes(family=family)))
            rules = self._netlink.get_rules(family=family)
            to_table = (_tables(m, vrfs) for m in rules if m["action"] == _FR_ACT_TO_TBL)
            tables[version] = frozenset().union(*to_table)
        addresses: dict[tuple[int, int], Address] = {}
        every: dict[int, tuple[Address, ...]] = {}
        dynamic = set()
        for message in self._netlink.get_addr():
            if not message["flags"] & _IFA_F_PERMANENT or message.get("proto") == _IFAPROT_KERNEL_RA:
                dynamic.add(message["index"])
            if message["family"] not in _VERSIONS:
                continue
            # IFA_LOCAL is the own end of a point-to-point link, IFA_ADDRESS the other (linux/if_addr.h).
            own = ip_address(message.get("local") or message.get("address"))
            every[message["index"]] = (*every.get(message["index"], ()), own)
            if message["scope"] < _RT_SCOPE_LINK:
                addresses.setdefault((message["index"], _VERSIONS[message["family"]]), own)
        egress = {version: self._egress(version) for version in self._versions}
        return Snapshot(links, tuple(routes), tables, addresses, egress, frozenset(dynamic), every)

    def _egress(self, version: int) -> int:
        try:
            found = self._netlink.route("get", family=FAMILIES[version], dst=_OUT_THERE[version])
            return int(next(iter(found)).get("oif") or 0)
        except (NetlinkError, StopIteration):  # no route
            return 0


def _link(message: Any) -> Link:  # noqa: ANN401 - pyroute2 is not typed
    info = message.get("linkinfo")
    kind = (info.get("kind") if info else None) or ""
    data = (info.get("data") if info and kind in ("tun", "vrf") else None) or {}
    reached = message["flags"] & (_IFF_BROADCAST | _IFF_POINTOPOINT | _IFF_NOARP)
    return Link(
        index=message["index"],
        name=os.fsdecode(message.get("ifname") or ""),  # pyroute2 leaves what is not UTF-8 as bytes
        kind=kind,
        tap=data.get("tun_type") == _TUN_TAP,
        up=bool(message["flags"] & _IFF_UP),
        running=bool(message["flags"] & _IFF_RUNNING),
        master=message.get("master") or 0,
        peer=_peer(message),
        table=data.get("vrf_table") or 0,
        shared=reached == _IFF_BROADCAST,
    )


def _peer(message: Any) -> int:  # noqa: ANN401
    # IFLA_LINK is an index in the namespace IFLA_LINK_NETNSID, which is not there if that is our own.
    return int(message.get("link") or 0) if message.get("link_netnsid") is None else 0


def _route(message: Any, version: int) -> Route | None:  # noqa: ANN401
    if message["type"] != _RTN_UNICAST or _table(message) == REDIRECT_TABLE:
        return None
    address = message.get("dst")
    destination = f"{address}/{message['dst_len']}" if address else _EVERYTHING[version]
    interfaces = [hop["oif"] for hop in message.get("multipath") or ()]
    if message.get("oif"):
        interfaces.append(message.get("oif"))
    gateway = bool(message.get("gateway") or message.get("via") or message.get("multipath"))
    return Route(_table(message), ip_network(destination, strict=False), tuple(interfaces), gateway)


def _tables(message: Any, vrfs: frozenset[int]) -> frozenset[int]:  # noqa: ANN401
    """Return the tables that a rule leads to: the one for VRFs (`l3mdev`) leads to those of all of them."""
    return vrfs if message.get("l3mdev") else frozenset({_table(message)})


def _table(message: Any) -> int:  # noqa: ANN401
    return int(message.get("table") or message["table"])

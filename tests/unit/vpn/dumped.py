"""The network as pyroute2 dumps it, as an independent opinion: it shares no code with the agent."""

from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from stunwall.model import FAMILIES, REDIRECT_TABLE, Address
from stunwall.vpn.interfaces import Link, Route, Snapshot

# linux/if_addr.h: IFA_F_PERMANENT, IFAPROT_KERNEL_RA; linux/rtnetlink.h: RTN_UNICAST, RT_SCOPE_LINK
PERMANENT, BY_ADVERTISEMENT = 0x80, 2
UNICAST, SCOPE_LINK = 1, 253
TO_TABLE = 1  # linux/fib_rules.h: FR_ACT_TO_TBL
UP, BROADCAST, POINTOPOINT, RUNNING, NOARP, TAP = 0x1, 0x2, 0x10, 0x40, 0x80, 2  # linux/if.h, linux/if_tun.h
TO_INTERNET = {4: "198.18.0.1", 6: "2001:2::1"}
EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


def dumped(netlink: IPRoute) -> Snapshot:
    """The network now, with all unicast routes."""
    routes, tables, egress = [], {}, {}
    for version, family in FAMILIES.items():
        routes += [found for each in netlink.get_routes(family=family) if (found := _route(each, version))]
        rules = netlink.get_rules(family=family)
        tables[version] = frozenset(_table(each) for each in rules if each["action"] == TO_TABLE)
        try:
            (found,) = netlink.route("get", family=family, dst=TO_INTERNET[version])
            egress[version] = found.get("oif") or 0
        except NetlinkError:  # no route
            egress[version] = 0
    addresses: dict[tuple[int, int], Address] = {}
    every: dict[int, tuple[Address, ...]] = {}
    dynamic = set()
    for each in netlink.get_addr():
        if not each["flags"] & PERMANENT or each.get("proto") == BY_ADVERTISEMENT:
            dynamic.add(each["index"])
        own = ip_address(each.get("local") or each.get("address"))
        every[each["index"]] = (*every.get(each["index"], ()), own)
        if each["scope"] < SCOPE_LINK:
            addresses.setdefault((each["index"], own.version), own)
    links = tuple(map(_link, netlink.get_links()))
    return Snapshot(links, tuple(routes), tables, addresses, egress, frozenset(dynamic), every)


def _link(each: Any) -> Link:
    info = each.get("linkinfo")
    kind = (info.get("kind") if info else None) or ""
    data = info.get("data") if info and kind == "tun" else None
    return Link(
        index=each["index"],
        name=each.get("ifname"),
        kind=kind,
        tap=bool(data and data.get("tun_type") == TAP),
        up=bool(each["flags"] & UP),
        running=bool(each["flags"] & RUNNING),
        master=each.get("master") or 0,
        peer=(each.get("link") or 0) if each.get("link_netnsid") is None else 0,
        shared=each["flags"] & (BROADCAST | POINTOPOINT | NOARP) == BROADCAST,
    )


def _route(each: Any, version: int) -> Route | None:
    if each["type"] != UNICAST or _table(each) == REDIRECT_TABLE:
        return None
    address = each.get("dst")
    destination = f"{address}/{each['dst_len']}" if address else EVERYTHING[version]
    interfaces = [hop["oif"] for hop in each.get("multipath") or ()]
    if each.get("oif"):
        interfaces.append(each.get("oif"))
    gateway = bool(each.get("gateway") or each.get("via") or each.get("multipath"))
    return Route(_table(each), ip_network(destination, strict=False), tuple(interfaces), gateway)


def _table(each: Any) -> int:
    return int(each.get("table") or each["table"])

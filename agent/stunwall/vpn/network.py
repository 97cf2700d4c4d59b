"""The network as rtnetlink's messages tell it, one by one, and what has to be read again. No I/O.

Theory of operation

A machine may have 100,000 routes, and 1,000 links. A message about one of them costs what it changes: of the routes
only those are kept that matter, which are those into an interface that may be the VPN, and with `lan` those that may
lead to the LAN. Of all others just the evidence counts (see inside.py).

The kernel does not say everything. Without any message about routes, it removes the IPv4 routes of a link that goes
down, or that loses its last address, the routes with a source address that is gone, and those by a nexthop object that
is gone or changed (net/ipv4/fib_frontend.c, fib_disable_ip; fib_semantics.c, fib_sync_down_addr; nexthop.c). IPv6's
too, with the sysctl skip_notify_on_dev_down. A route that was replaced is the first of several with the same key. Where
such a thing may have happened, `wanted` says what to read again: the routes of one link, the addresses of one link, the
rules of one IP version.

Nothing is kept of a link that is down: its routes lead nowhere. They are read once it is up.
"""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network

from stunwall.model import REDIRECT_TABLE, Address
from stunwall.netlink import REPLACED, Message
from stunwall.vpn import interfaces, messages
from stunwall.vpn.inside import Evidence, Sign, sign
from stunwall.vpn.interfaces import Link, Route, Snapshot
from stunwall.vpn.messages import AddressMessage, Read, RouteMessage
from stunwall.vpn.routes import LinkRoutes

_EVERYTHING = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


class Network:
    """Links, addresses, rules, and the routes that matter.

    Args:
        versions: the IP versions that the system has.
        named: the names and globs of the VPN's interfaces in the configuration.
        lan: whether routes to the LAN matter.
    """

    def __init__(self, versions: frozenset[int], named: tuple[str, ...] = (), *, lan: bool = False) -> None:
        self.evidence: Evidence = {}
        """What shows that an interface leads out, as long as the link exists."""
        self.open = frozenset[int]()
        """The indexes of the links by which STUN may leave; to be set by whoever let it."""
        self.changed = False
        """Whether anything is not as in the last snapshot, or was not for a moment."""
        self.wanted: dict[Read, None] = {}
        """What has to be read again, in this order."""
        self._gone: set[int] = set()
        self._versions = versions
        self._named = named
        self._lan = lan
        self._links: dict[int, Link] = {}
        self._foreign: set[int] = set()  # whose peer is in another namespace
        self._addresses: dict[tuple[int, int], tuple[AddressMessage, ...]] = {}  # by index and IP version
        self._rules = dict.fromkeys(versions, frozenset[int]())  # the tables that they lead to
        self._tables = dict(self._rules)  # those in place of TABLES_OF_VRFS, too
        self._routes: dict[tuple[int, int], LinkRoutes] = {}  # by index and IP version
        # Of the links in _routes; those missing are to be counted.
        self._covered: dict[tuple[int, int], bool] = {}
        self._default: frozenset[tuple[int, int]] = frozenset()  # that were covered in the last snapshot
        self._anywhere: Sign | None = None  # of routes that name no link
        self._urgent = False

    @property
    def urgent(self) -> bool:
        """Whether STUN may leave by a link that can be something else now, or that has lost its default route."""
        return self._urgent or not all(map(self._covers, self._default))

    def vpn(self) -> list[int]:
        """Return the indexes of the links by which STUN may leave as they are the VPN."""
        links = (self._links[index] for index in self.open if index in self._links)
        return [link.index for link in links if interfaces.may_count(link, self._named)]

    def take_gone(self) -> set[int]:
        """Return the indexes of the links that have gone since the last call; other links may have them by now."""
        gone, self._gone = self._gone, set()
        return gone

    def everything(self) -> None:
        """Want everything to be read, as anything may have changed."""
        self.changed = self._urgent = True
        self.wanted.clear()
        self._want(Read(messages.GETLINK))
        for kind in (messages.GETADDR, messages.GETRULE, messages.GETROUTE):
            for version in sorted(self._versions):
                self._want(Read(kind, version))

    def configure(self, named: tuple[str, ...], *, lan: bool) -> None:
        """Follow other interfaces from now on."""
        if (named, lan) == (self._named, self._lan):
            return
        anew, self._named, self._lan = lan != self._lan, named, lan
        self.changed = True
        for link in self._links.values():
            self._follow_routes(link)
        if anew:
            for version in self._versions:
                self._want(Read(messages.GETROUTE, version))

    def take(self, message: Message) -> None:
        """Take a notification."""
        match message.kind:
            case messages.NEWLINK | messages.DELLINK:
                self.take_link(message)
            case messages.NEWADDR | messages.DELADDR:
                self._take_address(message)
            case messages.NEWROUTE | messages.DELROUTE:
                self.take_route(message)
            case messages.NEWRULE | messages.DELRULE:
                if (version := messages.family(message)) in self._versions:
                    self.changed = True
                    self._want(Read(messages.GETRULE, version))
            case messages.NEWNEXTHOP | messages.DELNEXTHOP:
                self._note(messages.nexthop(message), Sign.GATEWAY)
                for index, version in self._routes:
                    self._want(Read(messages.GETROUTE, version, index))

    # Links

    def take_link(self, message: Message) -> None:
        """Take a link that is there or gone."""
        parsed = messages.link(message)
        if parsed is None:
            return
        link, foreign = parsed
        if message.kind == messages.DELLINK:
            self.remove_link(link.index)
            return
        before = self._links.get(link.index)
        (self._foreign.add if foreign else self._foreign.discard)(link.index)
        if link != before:
            self._set_link(link)
        if before is None:
            self._appear(link)

    def remove_link(self, index: int) -> None:
        """Forget a link."""
        self._gone.add(index)
        link = self._links.pop(index, None)
        if link is None:
            return
        if link.table:
            self._reach()
        self.changed = True
        self._urgent |= index in self.open
        self._foreign.discard(index)
        self.evidence.pop(index, None)
        for version in self._versions:
            self._addresses.pop((index, version), None)
            self._forget_routes(index, version)
        # It may have gone to another namespace, without what was connected to it.
        for other in [link for link in self._links.values() if link.peer == index]:
            self._links[other.index] = replace(other, peer=0)
            self._foreign.add(other.index)

    def replace_links(self, found: Iterable[Message]) -> None:
        """Take all links that there are."""
        links = {parsed[0].index: message for message in found if (parsed := messages.link(message))}
        for index in self._links.keys() - links.keys():
            self.remove_link(index)
        for message in links.values():
            self.take_link(message)

    def _set_link(self, link: Link) -> None:
        self._links[link.index] = link
        self.changed = True
        self._urgent |= link.index in self.open
        self._follow_routes(link)
        if link.table:
            self._reach()

    def _appear(self, link: Link) -> None:
        self._links = dict(sorted(self._links.items()))
        if self._anywhere is not None:
            self._note(link.index, self._anywhere)
        # It may have come from another namespace, and be what others are connected to.
        other = self._links.get(link.peer)
        if other is not None and link.kind == other.kind == "veth":
            self._links[other.index] = replace(other, peer=link.index)
            self._foreign.discard(other.index)
        for index in self._foreign:
            if self._links[index].kind != "veth":
                self._want(Read(messages.GETLINK, 0, index))

    # Addresses

    def _take_address(self, message: Message) -> None:
        own = messages.address(message)
        if own is None or own.version not in self._versions:
            return
        self._want(Read(messages.GETADDR, own.version, own.index))
        if message.kind == messages.NEWADDR:
            if own.dynamic:
                self._note(own.index, Sign.ADDRESS)
            return
        for (index, version), routes in self._routes.items():
            if version == own.version and (index == own.index or own.address.packed in routes.sources):
                self._want(Read(messages.GETROUTE, version, index))

    def replace_addresses(self, read: Read, found: Iterable[Message]) -> None:
        """Take all addresses of an IP version that there are, of one link or of all."""
        by_link: dict[tuple[int, int], list[AddressMessage]] = {}
        for own in map(messages.address, found):
            if own is not None and own.index in self._links:
                by_link.setdefault((own.index, own.version), []).append(own)
                if own.dynamic:
                    self._note(own.index, Sign.ADDRESS)
        asked = [(read.index, read.version)] if read.index else list(self._addresses)
        known = (key for key in asked if key in self._addresses and _is_of(key, read))
        old = {key: self._addresses.pop(key) for key in known}
        new = {key: tuple(own) for key, own in by_link.items()}
        self._addresses |= new
        if new != old:
            self.changed = True
            self._urgent |= read.index in self.open  # perhaps that of a CLAT

    # Rules

    def replace_rules(self, version: int, found: Iterable[Message]) -> None:
        """Take all rules of an IP version that there are."""
        rules = map(messages.rule, found)
        self._rules[version] = frozenset(rule[1] for rule in rules if rule and rule[0] == version)
        self._reach()

    def _reach(self) -> None:
        """Find the tables that rules reach."""
        vrfs = frozenset(link.table for link in self._links.values() if link.table)
        before = self._tables
        self._tables = {
            version: (tables | vrfs if messages.TABLES_OF_VRFS in tables else tables)
            - {messages.TABLES_OF_VRFS}
            for version, tables in self._rules.items()
        }
        if self._tables != before:
            self._covered.clear()
            self.changed = True

    # Routes

    def take_route(self, message: Message, into: dict[tuple[int, int], LinkRoutes] | None = None) -> None:
        """Take a route that is there or gone. `into`: those that are being read, if it is one of them."""
        route = messages.route(message)
        if route is None or route.key.version not in self._versions:
            return
        if route.key.table == REDIRECT_TABLE:  # ours; another program may have removed it
            self.changed |= into is None
            return
        routes = self._routes if into is None else into
        if message.flags & REPLACED and message.kind == messages.NEWROUTE and into is None:
            self._replace(route)
        if message.kind == messages.DELROUTE:
            self._remove(route)
        elif route.unicast:
            self._add(route, routes)
            if into is None and route.by_kernel and route.key.version == 6:
                # For an address, of which there is no notification before nobody else has it (RFC 4862 §5.4).
                for index, _ in route.nexthops:
                    self._want(Read(messages.GETADDR, 6, index))
        if into is None and interfaces.is_default(route.key.length):
            self.changed = True  # what a packet to the Internet leaves by

    def fresh_routes(self, read: Read) -> dict[tuple[int, int], LinkRoutes]:
        """Return what routes are to be read into, by the indexes of their links."""
        return {
            key: LinkRoutes(mine.version, mine.every)
            for key, mine in self._routes.items()
            if _is_of(key, read)
        }

    def replace_routes(self, found: dict[tuple[int, int], LinkRoutes]) -> None:
        """Take all routes of some links that there are."""
        for key, routes in found.items():
            if key in self._routes:  # else it has gone down meanwhile
                self._routes[key] = routes
                self._covered.pop(key, None)
        self.changed = True

    def _follow_routes(self, link: Link) -> None:
        """Keep the routes to a link from now on, or no longer."""
        every = interfaces.may_count(link, self._named)
        for key in ((link.index, version) for version in self._versions):
            mine = self._routes.get(key)
            if not link.up or not (every or self._lan):
                self._forget_routes(*key)
            elif mine is None or mine.every is not every:
                self._routes[key] = LinkRoutes(key[1], every)
                self._covered.pop(key, None)
                self._want(Read(messages.GETROUTE, key[1], link.index))

    def _forget_routes(self, index: int, version: int) -> None:
        self._routes.pop((index, version), None)
        self._covered.pop((index, version), None)

    def _add(self, route: RouteMessage, routes: dict[tuple[int, int], LinkRoutes]) -> None:
        key = route.key
        found = sign(key.length, gateway=route.gateway, anywhere=not route.nexthops)
        if found is not None and not route.nexthops:
            self._anywhere = max(found, self._anywhere or found)
            for index in self._links:
                self._note(index, found)
        for index, gateway in route.nexthops:
            if found is not None:
                self._note(index, found)
            mine = routes.get((index, key.version))
            if mine is None or index not in self._links:  # it has gone while routes were read
                continue
            lan = self._lan and not route.gateway and interfaces.may_be_lan(key.network)
            if lan or mine.every:
                mine.add(key, gateway, route.source)
                self._touch(index, key.version)
            if lan:
                mine.lan[key] = Route(key.table, key.network, (index,))

    def _remove(self, route: RouteMessage) -> None:
        version = route.key.version
        for index, gateway in route.nexthops:
            mine = self._routes.get((index, version))
            known = mine.gateways.get(route.key) if mine is not None else None
            if mine is None or known is None:
                continue
            if known != (gateway,):  # one of several
                self._want(Read(messages.GETROUTE, version, index))
            mine.remove(route.key)
            self._touch(index, version)

    def _replace(self, route: RouteMessage) -> None:
        """Forget what a route may have replaced."""
        version = route.key.version
        nexthops = dict(route.nexthops)
        for (index, its_version), mine in self._routes.items():
            known = mine.gateways.get(route.key) if its_version == version else None
            if known is None:
                continue
            if index not in nexthops or len(known) > 1:
                self._want(Read(messages.GETROUTE, version, index))
            mine.remove(route.key)
            self._touch(index, version)

    def _touch(self, index: int, version: int) -> None:
        self._covered.pop((index, version), None)
        self.changed = True

    def _covers(self, key: tuple[int, int]) -> bool:
        """Whether the routes of an IP version to a link are a default route."""
        if key not in self._routes:
            return False
        if key not in self._covered:
            self._covered[key] = self._routes[key].cover(self._tables[key[1]])
        return self._covered[key]

    # All together

    def snapshot(self, egress: dict[int, int]) -> Snapshot:
        """Return the network as it is now; `egress` as Snapshot has it."""
        self.changed = self._urgent = False
        self._default = frozenset(filter(self._covers, self._routes))
        routes = [
            Route(min(self._tables[version]), _EVERYTHING[version], (index,))
            for index, version in sorted(self._default)
        ]
        routes += (route for mine in self._routes.values() for route in mine.lan.values())
        addresses: dict[tuple[int, int], Address] = {}
        every: dict[int, tuple[Address, ...]] = {}
        dynamic = set()
        for (index, version), owns in self._addresses.items():
            every[index] = (*every.get(index, ()), *(own.address for own in owns))
            for own in owns:
                if own.dynamic:
                    dynamic.add(index)
                if not own.link_local:
                    addresses.setdefault((index, version), own.address)
        return Snapshot(
            links=tuple(self._links.values()),
            routes=tuple(routes),
            tables=dict(self._tables),
            addresses=addresses,
            egress=egress,
            dynamic=frozenset(dynamic),
            all_addresses=every,
        )

    def _want(self, read: Read) -> None:
        self.wanted[read] = None

    def _note(self, index: int, found: Sign) -> None:
        """Note evidence against a link."""
        if index in self._links and self.evidence.get(index, 0) < found:
            self.evidence[index] = found
            self.changed = True
            # Against a VPN it is no evidence.
            self._urgent |= index in self.open and not interfaces.may_count(self._links[index], self._named)


def _is_of(key: tuple[int, int], read: Read) -> bool:
    return key[1] == read.version and read.index in (0, key[0])

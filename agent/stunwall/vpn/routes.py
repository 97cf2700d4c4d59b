"""The routes that lead to one link. No I/O."""

from dataclasses import dataclass, field

from stunwall.vpn import coverage
from stunwall.vpn.coverage import Coverage
from stunwall.vpn.interfaces import Route
from stunwall.vpn.messages import RouteKey

_DIRECT = (b"",)


@dataclass(slots=True)
class LinkRoutes:
    """The routes of one IP version that lead to one link.

    `every`: all of them are kept, not only those to the LAN. `lan`: those to the
    LAN. `by_table`: what all of them cover. `sources`: the source addresses that they prefer.
    """

    version: int
    every: bool
    gateways: dict[RouteKey, tuple[bytes, ...]] = field(default_factory=dict)
    """Those of each route, b"" where there is none."""
    by_table: dict[int, Coverage] = field(default_factory=dict)
    sources: set[bytes] = field(default_factory=set)
    lan: dict[RouteKey, Route] = field(default_factory=dict)

    def add(self, key: RouteKey, gateway: bytes, source: bytes) -> None:
        """Add a route, or another nexthop of one."""
        known = self.gateways.get(key, ())
        if not known:
            self.by_table.setdefault(key.table, Coverage(self.version)).add((key.start, key.length))
        if gateway not in known:
            self.gateways[key] = (*known, gateway) if known or gateway else _DIRECT
        if source:
            self.sources.add(source)

    def remove(self, key: RouteKey) -> None:
        """Remove all routes with a key, of which there is one."""
        del self.gateways[key]
        self.lan.pop(key, None)
        self.by_table[key.table].add((key.start, key.length), -1)

    def cover(self, tables: frozenset[int]) -> bool:
        """Whether those in these tables are a default route together."""
        blocks = ((key.start, key.length) for key in self.gateways if key.table in tables)
        reached = [self.by_table[table] for table in tables & self.by_table.keys()]
        return coverage.cover(reached, blocks, self.version)

"""Which interfaces lead only to machines behind this one, from a snapshot and what was seen before. No I/O.

Theory of operation

STUN to a container or a virtual machine tells nobody the real address, so it passes. But an interface does not say
where it leads: the host's end of a veth pair looks like the container's, where it is the way to the Internet. So an
interface is inside only if its kind makes that likely, and nothing speaks against it:

*Kind.* veth, a tun device in tap mode, or a bridge. Everything else leads out: hardware, and what is not known here.

*Evidence.* A default route, a route with a gateway, or an address with a lifetime, which is from DHCP or a router
advertisement. Routes count in any table, as a rule may reach it later. Evidence holds as long as the link exists: a
route that is gone may come back, and STUN could leave until that is noticed.

*Segment.* Bridges, veth pairs with both ends here, and interfaces that lie on another, as a macvlan does, join
interfaces, so what speaks against one of them speaks against all. One exception: next to a network card on a bridge, a
veth or tap port still leads to one machine only, and is inside, while the bridge is not.

*Another way out.* In a container the only veth is the way out, but has no route at first. So nothing is inside as
long as there is neither a network card nor evidence on another interface.

The configuration's word wins over all of that, except that the VPN is never inside.

*VRF.* No packet leaves by a VRF's own device: it hands each one to an interface of the VRF, and what passed postrouting
with the device passes it once more with that interface (drivers/net/vrf.c); what comes in passes prerouting twice as
well. So the device is inside, and the interface decides.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from stunwall.config import is_interface
from stunwall.model import VPN_KINDS, VRF
from stunwall.vpn.interfaces import Assessment, Link, Snapshot, is_default, matching

_KINDS = ("veth", "bridge")  # and tap devices


class Sign(IntEnum):
    """What shows that an interface leads out, the clearest last; only a default route leaves no doubt."""

    ADDRESS = 1
    GATEWAY = 2
    DEFAULT = 3

    @property
    def sentence(self) -> str:
        """What the interface did, and what to do if it leads inside nevertheless."""
        return _SENTENCES[self] + ("" if self is Sign.DEFAULT else _NAME_IT)


_NAME_IT = "; name it in inside if it leads only to machines behind this one"
_SENTENCES = {
    Sign.ADDRESS: "has had an address from DHCP or a router advertisement",
    Sign.GATEWAY: "has carried a route with a gateway",
    Sign.DEFAULT: "has carried a default route",
}
Evidence = dict[int, Sign]
"""By a link's index."""


@dataclass(frozen=True, slots=True)
class Named:
    """The names and globs in the configuration: of the VPN's interfaces, and of those that are inside."""

    interfaces: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()


def assess(
    snapshot: Snapshot, found: tuple[Assessment, ...], named: Named, seen: Mapping[int, Sign]
) -> tuple[tuple[Assessment, ...], Evidence]:
    """Return the assessments with what is inside, and all evidence so far, which is `seen` for the next call.

    Args:
        snapshot: the network, to whose links `found` belongs, in their order.
        named: what the configuration names.
        seen: the evidence that the last call returned.
    """
    evidence = _evidence(snapshot, seen)
    network = _Network(snapshot, {each.interface for each in found if each.counts}, named, evidence)
    both = zip(snapshot.links, found, strict=True)
    return tuple(network.assess(link, before) for link, before in both), evidence


def inside_names(
    snapshot: Snapshot, vpn: Collection[str], named: Named, seen: Mapping[int, Sign]
) -> frozenset[str]:
    """Return the names of the interfaces that are inside in what `assess` returns; those in `vpn` count as the VPN."""
    network = _Network(snapshot, vpn, named, _evidence(snapshot, seen))
    return frozenset(link.name for link in snapshot.links if network.judge(link)[0])


def sign(prefix: int, *, gateway: bool, anywhere: bool) -> Sign | None:
    """Return what a route shows of the interfaces to which it leads, of all if it names none (`anywhere`)."""
    if is_default(prefix):
        return Sign.DEFAULT
    return Sign.GATEWAY if gateway or anywhere else None


def _evidence(snapshot: Snapshot, seen: Mapping[int, Sign]) -> Evidence:
    found: Evidence = {}

    def note(index: int, sign: Sign) -> None:
        found[index] = max(sign, found.get(index, sign))

    every = [link.index for link in snapshot.links]
    for index in every:
        if index in seen:
            found[index] = seen[index]
    for index in snapshot.dynamic:
        note(index, Sign.ADDRESS)
    for route in snapshot.routes:
        shown = sign(route.destination.prefixlen, gateway=route.gateway, anywhere=not route.interfaces)
        if shown is not None:
            for index in route.interfaces or every:
                note(index, shown)
    return found


class _Network:
    """The links of a snapshot, with what is known of each."""

    def __init__(
        self, snapshot: Snapshot, vpn: Collection[str], named: Named, evidence: Mapping[int, Sign]
    ) -> None:
        self._evidence = evidence
        self._links = {link.index: link for link in snapshot.links}
        self._never = {
            link.index
            for link in snapshot.links
            if link.name in vpn or link.name == "lo" or matching(link.name, named.interfaces)
        }
        self._trusted = self._trust(named.inside) if named.inside else {}
        untrusted = [self._links[index] for index in sorted(self._links.keys() - self._trusted.keys())]
        neighbours = self._neighbours()
        # Each with the first one by which it leads out.
        self._foreign = _connected((link for link in untrusted if not self._candidate(link)), neighbours)
        self._evidenced = _connected((link for link in untrusted if link.index in evidence), neighbours)
        self._elsewhere = any(map(self._leads_out, untrusted))

    def assess(self, link: Link, before: Assessment) -> Assessment:
        inside, why = self.judge(link)
        doubt = link.index in self._trusted and self._evidence.get(link.index) is Sign.DEFAULT
        return replace(before, inside=inside, why=why, doubt=doubt) if why else before

    def judge(self, link: Link) -> tuple[bool, str]:
        """Return whether a link is inside, and why, "" if it is none that could be."""
        if link.index in self._never or not is_interface(link.name):
            return False, ""
        if link.index in self._trusted:
            doubt = self._evidence.get(link.index) is Sign.DEFAULT
            although = f", although it {Sign.DEFAULT.sentence}" if doubt else ""
            return True, self._trusted[link.index] + although
        if link.kind == VRF:
            return True, "a VRF: STUN leaves by one of its interfaces, and is judged there"
        if not self._candidate(link):
            return False, ""
        against = self._against(link)
        what = _what(link)
        if against:
            return False, f"{what}{against}"
        if link.tap:
            what += " (name it in interfaces if it is your VPN)"
        return True, f"{what}, and nothing shows that it leads out"

    def _against(self, link: Link) -> str:
        """Return what shows that an interface of such a kind leads out, "" if nothing does."""
        if link.index in self._evidence:
            return f" that {self._evidence[link.index].sentence}"
        foreign = self._foreign.get(link.index)
        evidenced = self._evidenced.get(link.index)
        if foreign is not None:
            master = self._links.get(link.master)
            alone = link.kind != "bridge" and not link.peer and master is not None and master.kind == "bridge"
            if not alone:
                return f" that is connected to {foreign.name}, which leads out"
        elif evidenced is not None:
            sign = self._evidence[evidenced.index]
            return f" that is connected to {evidenced.name}, which {sign.sentence}"
        return "" if self._elsewhere else f", but perhaps the only way out{_NAME_IT}"

    def _trust(self, inside: tuple[str, ...]) -> dict[int, str]:
        """Return why an interface is inside, by index, for those that the configuration names, and a bridge's ports."""
        named = {}
        for link in self._links.values():
            master = self._links.get(link.master)
            if link.index in self._never:
                continue
            if glob := matching(link.name, inside):
                named[link.index] = f'named by inside = ["{glob}"]'
            elif master and master.kind == "bridge" and (glob := matching(master.name, inside)):
                named[link.index] = f'a port of {master.name}, which is named by inside = ["{glob}"]'
        return named

    def _candidate(self, link: Link) -> bool:
        return (link.tap or link.kind in _KINDS) and link.index not in self._never

    def _leads_out(self, link: Link) -> bool:
        """Whether it is hardware, or has evidence, and is no VPN."""
        if link.index in self._never or (link.kind in VPN_KINDS and not link.tap):
            return False
        return not link.kind or link.index in self._evidence

    def _neighbours(self) -> dict[int, list[int]]:
        """Return the indexes of the links that each one is connected to directly."""
        found: dict[int, list[int]] = {}
        for link in self._links.values():
            master = self._links.get(link.master)
            # A VRF joins nothing on layer 2.
            bridge = link.master if master and master.kind != VRF else 0
            for other in (bridge, link.peer):
                if other and other in self._links:
                    found.setdefault(link.index, []).append(other)
                    found.setdefault(other, []).append(link.index)
        return found


def _connected(links: Iterable[Link], neighbours: Mapping[int, list[int]]) -> dict[int, Link]:
    """Return for each link that is connected to some of these, themselves included, the first one."""
    found: dict[int, Link] = {}
    for first in links:
        wanted = [first.index]
        while wanted:
            index = wanted.pop()
            if index not in found:
                found[index] = first
                wanted += neighbours.get(index, ())
    return found


def _what(link: Link) -> str:
    if link.tap:
        return "a tap device"
    return "a bridge" if link.kind == "bridge" else f"a {link.kind} interface"

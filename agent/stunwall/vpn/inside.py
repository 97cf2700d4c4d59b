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
from fnmatch import fnmatchcase

from stunwall.config import is_interface
from stunwall.model import VPN_KINDS, VRF
from stunwall.vpn.interfaces import Assessment, Link, Snapshot, is_default


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
class _Segment:
    """What speaks against a segment: the name of a member that leads out by its kind, and of one with evidence."""

    foreign: str
    evidenced: str


def assess(
    snapshot: Snapshot,
    found: Iterable[Assessment],
    interfaces: Collection[str],
    inside: Collection[str],
    seen: Mapping[int, Sign],
) -> tuple[tuple[Assessment, ...], Evidence]:
    """Return the assessments with what is inside, and all evidence so far, which is `seen` for the next call.

    Args:
        snapshot: the network, to whose links `found` belongs, in their order.
        interfaces: the names and globs of the VPN's interfaces in the configuration.
        inside: those of the interfaces that lead to machines behind this one.
        seen: the evidence that the last call returned.
    """
    evidence = _evidence(snapshot, seen)
    network = _Network(snapshot, tuple(found), interfaces, inside, evidence)
    return network.assessments(), evidence


def inside_names(found: Iterable[Assessment]) -> frozenset[str]:
    """Return the names of the interfaces that are inside."""
    return frozenset(each.interface for each in found if each.inside)


def sign(prefix: int, *, gateway: bool, anywhere: bool) -> Sign | None:
    """Return what a route shows of the interfaces to which it leads, of all if it names none (`anywhere`)."""
    if is_default(prefix):
        return Sign.DEFAULT
    return Sign.GATEWAY if gateway or anywhere else None


def _evidence(snapshot: Snapshot, seen: Mapping[int, Sign]) -> Evidence:
    found: Evidence = {}

    def note(index: int, sign: Sign) -> None:
        found[index] = max(sign, found.get(index, sign))

    for link in snapshot.links:
        if link.index in seen:
            note(link.index, seen[link.index])
    for index in snapshot.dynamic:
        note(index, Sign.ADDRESS)
    every = tuple(link.index for link in snapshot.links)
    for route in snapshot.routes:
        shown = sign(route.destination.prefixlen, gateway=route.gateway, anywhere=not route.interfaces)
        if shown is not None:
            for index in route.interfaces or every:
                note(index, shown)
    return found


class _Network:
    """The links of a snapshot, with what is known of each."""

    def __init__(
        self,
        snapshot: Snapshot,
        found: tuple[Assessment, ...],
        interfaces: Collection[str],
        inside: Collection[str],
        evidence: Evidence,
    ) -> None:
        self._found = found
        self._evidence = evidence
        self._links = {link.index: link for link in snapshot.links}
        counting = {each.interface for each in found if each.counts}
        self._never = {
            link.index
            for link in snapshot.links
            if link.name in counting or link.name == "lo" or _matching(link.name, interfaces)
        }
        self._trusted = self._named(inside)
        self._segments = self._join()
        self._elsewhere = any(map(self._leads_out, snapshot.links))

    def assessments(self) -> tuple[Assessment, ...]:
        return tuple(
            self._assess(link, before) for link, before in zip(self._links.values(), self._found, strict=True)
        )

    def _assess(self, link: Link, before: Assessment) -> Assessment:
        if not is_interface(link.name) or link.index in self._never:
            return before
        if link.index in self._trusted:
            doubt = self._evidence.get(link.index) is Sign.DEFAULT
            although = f", although it {Sign.DEFAULT.sentence}" if doubt else ""
            return replace(before, inside=True, why=self._trusted[link.index] + although, doubt=doubt)
        if link.kind == VRF:
            return replace(
                before, inside=True, why="a VRF: STUN leaves by one of its interfaces, and is judged there"
            )
        if not self._candidate(link):
            return before
        against = self._against(link)
        what = _what(link)
        if against:
            return replace(before, why=f"{what}{against}")
        if link.tap:
            what += " (name it in interfaces if it is your VPN)"
        return replace(before, inside=True, why=f"{what}, and nothing shows that it leads out")

    def _against(self, link: Link) -> str:
        """Return what shows that an interface of such a kind leads out, "" if nothing does."""
        if link.index in self._evidence:
            return f" that {self._evidence[link.index].sentence}"
        segment = self._segments[link.index]
        master = self._links.get(link.master)
        alone = link.kind != "bridge" and not link.peer and master is not None and master.kind == "bridge"
        if segment.foreign and not alone:
            return f" that is connected to {segment.foreign}"
        if segment.evidenced and not segment.foreign:
            return f" that is connected to {segment.evidenced}"
        return "" if self._elsewhere else f", but perhaps the only way out{_NAME_IT}"

    def _named(self, inside: Collection[str]) -> dict[int, str]:
        """Return why an interface is inside, by index, for those that the configuration names, and a bridge's ports."""
        named = {}
        for link in self._links.values():
            master = self._links.get(link.master)
            if link.index in self._never:
                continue
            if glob := _matching(link.name, inside):
                named[link.index] = f'named by inside = ["{glob}"]'
            elif master and master.kind == "bridge" and (glob := _matching(master.name, inside)):
                named[link.index] = f'a port of {master.name}, which is named by inside = ["{glob}"]'
        return named

    def _candidate(self, link: Link) -> bool:
        return link.index not in self._never and (link.tap or link.kind in ("veth", "bridge"))

    def _leads_out(self, link: Link) -> bool:
        """Whether it is hardware, or has evidence, and is no VPN."""
        if (
            link.index in self._never
            or link.index in self._trusted
            or (link.kind in VPN_KINDS and not link.tap)
        ):
            return False
        return not link.kind or link.index in self._evidence

    def _join(self) -> dict[int, _Segment]:
        """Return the segment of each link, by index."""
        members = {index: {index} for index in self._links}
        for link in self._links.values():
            master = self._links.get(link.master)
            # A VRF joins nothing on layer 2.
            bridge = link.master if master and master.kind != VRF else 0
            for other in (bridge, link.peer):
                if other in members and members[other] is not members[link.index]:
                    small, large = sorted((members[other], members[link.index]), key=len)
                    large |= small
                    members |= dict.fromkeys(small, large)
        groups = {id(group): group for group in members.values()}
        segments = {key: self._segment(group) for key, group in groups.items()}
        return {index: segments[id(group)] for index, group in members.items()}

    def _segment(self, group: set[int]) -> _Segment:
        untrusted = [self._links[index] for index in sorted(group) if index not in self._trusted]
        foreign = (f"{link.name}, which leads out" for link in untrusted if not self._candidate(link))
        evidenced = (
            f"{link.name}, which {self._evidence[link.index].sentence}"
            for link in untrusted
            if link.index in self._evidence
        )
        return _Segment(next(foreign, ""), next(evidenced, ""))


def _matching(name: str, globs: Iterable[str]) -> str:
    return next((glob for glob in globs if fnmatchcase(name, glob)), "")


def _what(link: Link) -> str:
    if link.tap:
        return "a tap device"
    return "a bridge" if link.kind == "bridge" else f"a {link.kind} interface"

"""Why a packet goes where it goes, by the routing that was read for it. No I/O."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address

from stunwall.model import Address, Event, Sender, Transport
from stunwall.vpn import cause, interfaces, iproute
from stunwall.vpn.cause import Cause, Explanation
from stunwall.vpn.inside import Evidence, Named, inside_names
from stunwall.vpn.interfaces import Snapshot
from stunwall.vpn.walk import LOOPBACK, Fib, Packet, Path, walk

Sent = tuple[Event, Sender | None, int]

_UNKNOWN = "its socket was closed before it could be looked up, so it is not known what it was bound to"
_ROOT = 0  # whose a forwarded packet is, to routing rules (net/ipv4/route.c, ip_route_input_slow)


@dataclass(frozen=True, slots=True)
class Routing:
    """The network, what shows that interfaces lead out, and the rules and routes for the destinations."""

    snapshot: Snapshot
    evidence: Evidence
    fib: Fib


def destinations(destination: Address, source: Address | None) -> list[Address]:
    """Return the addresses whose routes have to be read for a packet."""
    return [destination, cause.ORDINARY[destination.version], *([source] if source is not None else [])]


def explain(packet: Packet, found: Routing, named: Named) -> Explanation:
    """Return why a packet goes where it goes. `named`: the interfaces that the configuration names."""
    return cause.explain(found.fib, packet, *_vpn_and_inside(found, named))


def _vpn_and_inside(found: Routing, named: Named) -> tuple[frozenset[int], frozenset[int]]:
    """Return the indexes of the links that are the VPN, and of those that are inside."""
    vpn = interfaces.vpn_names(found.snapshot, named.interfaces)
    behind = inside_names(found.snapshot, vpn, named, found.evidence)
    links = found.snapshot.links
    return (
        frozenset(link.index for link in links if link.name in vpn),
        frozenset(link.index for link in links if link.name in behind),
    )


def names(path: Path, fib: Fib) -> list[str]:
    """Return the interfaces that a packet leaves by."""
    return [fib.links[index].name for index in path.interfaces if index in fib.links]


def explain_events(
    sent: Iterable[Sent], fib: Fib, vpn: frozenset[str], inside: frozenset[str]
) -> list[Event]:
    """Return events with their cause, which is CHANGED where by this routing the packet would leave elsewhere.

    Args:
        sent: events about packets with addresses of one IP version, which left, or would have left, by their
            interface; what is known of the socket, None if that is gone, and for a forwarded packet; and the mark.
        fib: with the routes to `destinations` of the packets.
        vpn: the names of the interfaces that are the VPN.
        inside: those of the interfaces that lead only to machines behind this one.
    """
    ours = frozenset(index for index, link in fib.links.items() if link.name in vpn)
    behind = frozenset(index for index, link in fib.links.items() if link.name in inside)

    def explained(event: Event, sender: Sender | None, mark: int) -> Event:
        for packet in _possible(event, sender, mark, fib):
            if event.interface in names(walk(fib, packet), fib):
                why = cause.explain(fib, packet, ours, behind)
                return replace(event, cause=why.cause.value, cause_text=_sentence(why, fib))
        if sender is None and not event.incoming:
            return replace(event, cause_text=_UNKNOWN)
        return replace(event, cause=Cause.CHANGED.value, cause_text=Cause.CHANGED.sentence)

    return [explained(*each) for each in sent]


def _possible(event: Event, sender: Sender | None, mark: int, fib: Fib) -> Iterator[Packet]:
    """Yield the packet as it may have been sent: forwarded; or from a socket that is not bound, or to its source."""
    source = ip_address(event.source)
    packet = Packet(
        ip_address(event.destination),
        protocol=Transport(event.transport or Transport.UDP).number,
        source_port=event.source_port,
        destination_port=event.destination_port,
        uid=sender.uid if sender else _ROOT,
        mark=mark,
    )
    if event.incoming:
        incoming = next((index for index, link in fib.links.items() if link.name == event.incoming), LOOPBACK)
        yield replace(packet, source=source, incoming=incoming)
        return
    if sender is not None and sender.device:
        yield replace(packet, source=source, device=sender.device)
        return
    yield packet
    yield replace(packet, source=source)


def _sentence(why: Explanation, fib: Fib) -> str:
    """Return the cause with the rule and the route that decide."""
    rule, route = why.path.rule, why.path.route
    said = [
        *([f"rule {rule.priority}: {iproute.rule(rule)}"] if rule is not None else []),
        *(
            [f"route {iproute.route(route, fib.links)} in table {iproute.table(route.table)}"]
            if route is not None
            else []
        ),
    ]
    return f"{why.cause.sentence} ({'; '.join(said)})" if said else why.cause.sentence

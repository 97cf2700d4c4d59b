"""What `stunwall explain` says about a packet: its way, the rule and the route that decide, and what to do."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from stunwall.cli import terminal
from stunwall.config import Config, Mode, WhenVpnDown
from stunwall.model import Address, Event, Reason, Transport
from stunwall.text import endpoint
from stunwall.vpn import inside, iproute, routing
from stunwall.vpn.advice import advice, removable
from stunwall.vpn.cause import Cause, Explanation
from stunwall.vpn.explain import Routing, destinations, explain, names
from stunwall.vpn.walk import LOOPBACK, Outcome, Packet, walk

_TRANSPORTS = {each.number: each.value for each in Transport}
_ROOT = 0  # whose a forwarded packet is, to routing rules (net/ipv4/route.c, ip_route_input_slow)
# The recorded packet came in: the way in question is that of the request.
_ANSWERS = {Reason.EXPOSED.value, Reason.UNASKED.value}
_NOWHERE = {
    Outcome.NO_ROUTE: "there is no route",
    Outcome.BLACKHOLE: "it is dropped in silence (blackhole)",
    Outcome.UNREACHABLE: "its program is told that the destination cannot be reached (unreachable)",
    Outcome.PROHIBIT: "its program is told that it may not (prohibit)",
}


def read(destination: Address, source: Address | None, config: Config) -> Routing:
    """Return the routing as far as packets to a destination are concerned. Raises RoutingError."""
    return routing.read(destinations(destination, source), config.interfaces)


def sent_from(packet: Packet, source: Address, found: Routing) -> Packet:
    """Return the packet with a source address: forwarded, if the address is none of this machine."""
    if any(source in own for own in found.snapshot.all_addresses.values()):
        return replace(packet, source=source)
    back = walk(found.fib, Packet(source))
    return replace(packet, source=source, device=0, uid=_ROOT, incoming=next(iter(back.interfaces), LOOPBACK))


def answer(packet: Packet, found: Routing, config: Config) -> dict[str, Any]:
    """Return which way a packet takes and why: the fields of the JSON."""
    explanation = explain(packet, found, inside.Named(config.interfaces, config.inside))
    path, links = explanation.path, found.fib.links
    incoming = links.get(packet.incoming)
    return {
        "destination": str(packet.destination),
        "port": packet.destination_port,
        "protocol": _TRANSPORTS[packet.protocol],
        "source": str(packet.source) if packet.source is not None else "",
        "device": links[packet.device].name if packet.device else "",
        "mark": packet.mark,
        "uid": packet.uid,
        "incoming": incoming.name if incoming is not None and packet.incoming != LOOPBACK else "",
        "way": _way(explanation, found, config),
        "interfaces": names(path, found.fib),
        "cause": explanation.cause.value,
        "why": explanation.cause.sentence,
        "rule": f"{path.rule.priority}: {iproute.rule(path.rule)}" if path.rule is not None else "",
        "route": iproute.route(path.route, links) if path.route is not None else "",
        "table": iproute.table(path.route.table) if path.route is not None else "",
        "remove": [iproute.remove_rule(each) for each in removable(explanation, packet)],
        "next": advice(explanation, packet, found.fib),
    }


def of_event(event: Event, config: Config) -> dict[str, Any]:
    """Return as `answer` does for the packet of an entry, which has one.

    The record does not say how the packet was sent. So this takes the first way to send it by which it leaves as it
    did; `other_causes` has the causes of the other ways.

    Raises RoutingError, and ValueError if the entry is damaged.
    """
    if ip_address(event.source).version != ip_address(event.destination).version:
        raise ValueError("its addresses are of two IP versions")
    packet = Packet(
        ip_address(event.destination),
        protocol=Transport(event.transport or Transport.UDP).number,
        source_port=event.source_port,
        destination_port=event.destination_port,
    )
    source = ip_address(event.source)
    if event.reason in _ANSWERS:
        source, packet = (
            packet.destination,
            replace(
                packet,
                destination=source,
                source_port=packet.destination_port,
                destination_port=packet.source_port,
            ),
        )
    found = read(packet.destination, source, config)
    ways = [
        answer(possible, found, config)
        for possible in _possible(packet, source, event.interface, found)
        if event.interface in names(walk(found.fib, possible), found.fib)
    ]
    if not ways:
        now = answer(sent_from(packet, source, found), found, config)
        why = Cause.CHANGED.sentence + (f". At that time: {event.cause_text}" if event.cause else "")
        changed = {"cause": Cause.CHANGED.value, "why": why, "remove": [], "next": ""}
        return now | changed | {"other_causes": []}
    others = dict.fromkeys(way["cause"] for way in ways)
    return ways[0] | {"other_causes": [cause for cause in others if cause != ways[0]["cause"]]}


def _possible(packet: Packet, source: Address, interface: str, found: Routing) -> Iterator[Packet]:
    """Yield the packet as it may have been sent, of what the record does not have.

    Not bound; by a user that a rule is about; bound to its source; bound to the interface; with a mark of a rule.
    """
    bound = sent_from(packet, source, found)
    if bound.incoming != LOOPBACK:
        yield bound
    else:
        yield packet
        yield from (replace(packet, uid=rule.uids[0]) for rule in found.fib.rules if rule.uids is not None)
        yield bound
        index = next((link.index for link in found.snapshot.links if link.name == interface), 0)
        if index:
            yield replace(bound, device=index)
    # What has the mark of a rule with `not` is the VPN's own, as a rule.
    yield from (replace(bound, mark=each.mark) for each in found.fib.rules if each.mark and not each.invert)


def show(said: dict[str, Any]) -> None:
    """Print what `answer` returned."""
    to = f"{said['protocol']} to {endpoint(said['destination'], said['port'])}"
    bound = [each for each in (said["source"], said["device"]) if each]
    if said["incoming"]:
        to += f", forwarded from {said['source']}, which is reached by {said['incoming']}"
    elif bound:
        to += f", from a socket bound to {' and '.join(bound)}"
    if said["mark"]:
        to += f", with the mark {said['mark']:#x}"
    route = f"{said['route']}, in table {said['table']}" if said["route"] else ""
    pairs = (
        ("Packet", to),
        ("Way", said["way"]),
        ("Why", said["why"]),
        ("Or", "; or ".join(Cause(other).sentence for other in said.get("other_causes", ()))),
        ("Rule", said["rule"]),
        ("Route", route),
        ("Browser", said.get("contradiction", "")),
        ("Next", said["next"]),
        ("Preset", _preset(said.get("preset"))),
    )
    terminal.rows([(name, text) for name, text in pairs if text])


def _preset(found: dict[str, Any] | None) -> str:
    """Return what a preset would do for the program that was blocked, "" if there is none."""
    if found is None:
        return ""
    name = "a program of this name, which any can have" if found["by_name_only"] else "this program"
    return f"`{found['command']}` is for {name}, and reveals {found['reveals']}"


def _way(explanation: Explanation, found: Routing, config: Config) -> str:
    ways = " or ".join(names(explanation.path, found.fib))
    if explanation.cause is Cause.VPN:
        return f"into the VPN by {ways}; stunwall leaves it alone"
    if explanation.cause is Cause.INSIDE:
        return f"by {ways} to a machine behind this one; stunwall leaves it alone"
    if explanation.cause is Cause.LOCAL:
        return "it stays on this machine"
    if explanation.cause is Cause.NO_ROUTE:
        return f"it does not leave: {_NOWHERE[explanation.path.outcome]}"
    if explanation.cause is Cause.NO_VPN and config.when_vpn_down is WhenVpnDown.ALLOW:
        return f'by {ways}; stunwall lets STUN pass, by when_vpn_down = "allow"'
    if config.mode is Mode.REDIRECT:
        return f"by {ways}, outside the VPN; stunwall redirects STUN into the VPN, or blocks it if it cannot"
    return f"by {ways}, outside the VPN; stunwall blocks STUN there, unless an exception applies"

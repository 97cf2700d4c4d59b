"""The ways in which a program can send a packet, and where it would leave by them. No I/O."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address

from stunwall.check import messages
from stunwall.model import Address, Transport
from stunwall.vpn import explain
from stunwall.vpn.cause import Cause, Explanation
from stunwall.vpn.explain import Routing
from stunwall.vpn.inside import Named
from stunwall.vpn.walk import Packet, walk

# Documentation addresses, which no server has (RFC 5737 §3, RFC 3849 §2): what is sent there ends on its way.
DESTINATIONS: dict[int, Address] = {4: ip_address("203.0.113.9"), 6: ip_address("2001:db8:ffff::9")}
WAYS_MAX = 40  # of an IP version: a machine may have thousands of addresses


class Kind(StrEnum):
    """What is special about the socket."""

    UNBOUND = "unbound"
    SOURCE = "source"
    DEVICE = "device"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send: the packet, and where rules and routes take it. `transports`: with what they take it there."""

    kind: Kind
    packet: Packet
    transports: tuple[Transport, ...]
    device: str
    """The name of the interface that the socket is bound to, or ""."""
    explanation: Explanation
    interfaces: tuple[str, ...]

    @property
    def leaves(self) -> bool:
        """Whether it leaves the machine: into the VPN, or outside it."""
        return self.explanation.cause not in (Cause.LOCAL, Cause.INSIDE, Cause.NO_ROUTE)

    @property
    def into_vpn(self) -> bool:
        """Whether it goes into the VPN."""
        return self.explanation.cause is Cause.VPN

    @property
    def needs_root(self) -> bool:
        """Whether only root can send so (SO_MARK in socket(7): CAP_NET_ADMIN)."""
        return self.kind is Kind.MARK


def ways(
    found: Routing, version: int, named: Named, uid: int, server: tuple[Address, int] | None = None
) -> list[Way]:
    """Return the ways of a user's programs to DESTINATIONS over an IP version, or to a server's address and port.

    Addresses are left out where there would be more than WAYS_MAX.

    `found`: with the routes there. `named`: the interfaces that the configuration names.
    """
    destination, port = server or (DESTINATIONS[version], messages.PORT)
    plain = Packet(destination, uid=uid, destination_port=port)
    special = [*_devices(found, plain), *_marks(found, plain)]
    sources = [*_sources(found, plain)][: max(0, WAYS_MAX - 1 - len(special))]
    packets = [(Kind.UNBOUND, plain), *sources, *special]
    return [way for kind, packet in packets for way in _forecast(found, named, kind, packet)]


def _forecast(found: Routing, named: Named, kind: Kind, packet: Packet) -> list[Way]:
    """Return the way of a packet, or one for each transport protocol if a rule tells them apart."""
    links = found.fib.links
    device = links[packet.device].name if packet.device else ""
    made: list[Way] = []
    for transport in Transport:
        sent = replace(packet, protocol=transport.number)
        explanation = explain.explain(sent, found, named)
        interfaces = tuple(explain.names(explanation.path, found.fib))
        if made and (made[0].interfaces, made[0].explanation) == (interfaces, explanation):
            return [replace(made[0], transports=tuple(Transport))]
        made.append(Way(kind, sent, (transport,), device, explanation, interfaces))
    return made


def _sources(found: Routing, plain: Packet) -> Iterator[tuple[Kind, Packet]]:
    yield from ((Kind.SOURCE, replace(plain, source=address)) for address in _addresses(found, plain.version))


def _devices(found: Routing, plain: Packet) -> Iterator[tuple[Kind, Packet]]:
    for link in found.snapshot.links:
        packet = replace(plain, device=link.index)
        # One without an address takes that of another interface, if a route leaves by it.
        has_address = any(_usable(each, plain.version) for each in _of(found, link.index))
        if link.up and (has_address or walk(found.fib, packet).route is not None):
            yield Kind.DEVICE, packet


def _marks(found: Routing, plain: Packet) -> Iterator[tuple[Kind, Packet]]:
    marks = (rule.mark for rule in found.fib.rules if rule.mark)
    yield from ((Kind.MARK, replace(plain, mark=mark)) for mark in dict.fromkeys(marks))


def _addresses(found: Routing, version: int) -> Iterable[Address]:
    up = [link.index for link in found.snapshot.links if link.up]
    return dict.fromkeys(each for index in up for each in _of(found, index) if _usable(each, version))


def _of(found: Routing, index: int) -> tuple[Address, ...]:
    return found.snapshot.all_addresses.get(index, ())


def _usable(address: Address, version: int) -> bool:
    return address.version == version and not (address.is_loopback or address.is_link_local)

"""Parses Ethernet frames into what the tests ask about. Shares no code with stunwall."""

import struct
from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP

ETHERNET_IPV4, ETHERNET_IPV6 = 0x0800, 0x86DD
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60  # RFC 8200 §4.1


@dataclass(frozen=True, slots=True)
class Packet:
    """One IP packet, or one fragment of it.

    Ports are None unless it is UDP or TCP, and None in every fragment but the first.
    """

    family: int
    protocol: int
    source: str
    destination: str
    source_port: int | None
    destination_port: int | None
    payload: bytes
    """What follows the UDP or TCP header, or the IP headers if there is no such header."""
    frame: bytes
    fragment: tuple[int, int] | None = None
    """(identification, offset in bytes) of a fragment."""
    opens: bool = False
    """Whether it is the first segment of a TCP connection."""

    def __str__(self) -> str:
        name = {IPPROTO_TCP: "TCP", IPPROTO_UDP: "UDP"}.get(self.protocol, f"protocol {self.protocol}")
        ports = f"{self.source_port} → {self.destination_port}"
        return f"{name} {self.source} → {self.destination}, {ports}, {len(self.payload)} bytes"


def parse(frame: bytes) -> Packet | None:
    """The IP packet in an Ethernet frame, or None if it carries something else."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == ETHERNET_IPV4:
        return _ipv4(frame, frame[14:])
    return _ipv6(frame, frame[14:]) if kind == ETHERNET_IPV6 else None


def _ipv4(frame: bytes, ip: bytes) -> Packet:
    header = (ip[0] & 15) * 4
    total, identification, flags = struct.unpack_from("!HHH", ip, 2)
    offset = (flags & 0x1FFF) * 8
    fragment = (identification, offset) if flags & 0x2000 or offset else None
    # A total length of 0 means a segment that is too long for the field, and not cut to size yet (GSO over veth).
    data = ip[header : total or None]
    return _transport(frame, AF_INET, ip[9], ip[12:16], ip[16:20], data, fragment)


def _ipv6(frame: bytes, ip: bytes) -> Packet:
    (length,) = struct.unpack_from("!H", ip, 4)
    following, data, fragment = ip[6], ip[40 : 40 + length if length else None], None
    while following in (HOP_BY_HOP, ROUTING, DESTINATION, FRAGMENT) and len(data) >= 8:
        if following == FRAGMENT:
            offset, identification = struct.unpack_from("!HI", data, 2)
            fragment, size = (identification, offset & 0xFFF8), 8
        else:
            size = data[1] * 8 + 8
        following, data = data[0], data[size:]
        if fragment and fragment[1]:
            break
    return _transport(frame, AF_INET6, following, ip[8:24], ip[24:40], data, fragment)


def _transport(
    frame: bytes,
    family: int,
    protocol: int,
    source: bytes,
    destination: bytes,
    data: bytes,
    fragment: tuple[int, int] | None,
) -> Packet:
    ports: tuple[int, int] | tuple[None, None] = (None, None)
    payload, first = data, fragment is None or fragment[1] == 0
    opens = False
    if first and protocol == IPPROTO_UDP and len(data) >= 8:
        ports, payload = struct.unpack_from("!HH", data), data[8:]
    elif first and protocol == IPPROTO_TCP and len(data) >= 20:
        ports, payload = struct.unpack_from("!HH", data), data[(data[12] >> 4) * 4 :]
        opens = data[13] & 0x12 == 0x02  # RFC 9293 §3.1: SYN without ACK
    return Packet(
        family=family,
        protocol=protocol,
        source=str(ip_address(source)),
        destination=str(ip_address(destination)),
        source_port=ports[0],
        destination_port=ports[1],
        payload=payload,
        frame=frame,
        fragment=fragment,
        opens=opens,
    )


def join_fragments(packets: list[Packet]) -> list[bytes]:
    """The payload of each fragmented packet, joined from the fragments that are there."""
    groups: dict[tuple[str, str, int], dict[int, bytes]] = {}
    for packet in packets:
        if packet.fragment is not None:
            identification, offset = packet.fragment
            pieces = groups.setdefault((packet.source, packet.destination, identification), {})
            pieces[offset] = packet.payload
    return [b"".join(data for _, data in sorted(pieces.items())) for pieces in groups.values()]

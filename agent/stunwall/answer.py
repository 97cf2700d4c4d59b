"""The refusal that a blocked application gets at once, as if the server had sent it (raw sockets)."""

import socket
from ipaddress import IPv4Address
from struct import pack

from stunwall.model import Address, Datagram, Framing, Transport

# Both of stunwall's mark bits: chains `refusals` and `stun` of the wall know it.
MARK = 0x30000000
_IPV6_HDRINCL = 36  # linux/in6.h; not in Python's socket module
_TTL = 64
_PSH_ACK = 0x18


class Refuser:
    """Sends refusals; made with CAP_NET_RAW, in the namespace that it speaks in."""

    def __init__(self) -> None:
        self._sockets = {
            4: _raw(socket.AF_INET, socket.IPPROTO_IP, socket.IP_HDRINCL),
            6: _raw(socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_HDRINCL),
        }

    def close(self) -> None:
        """Close both sockets."""
        for raw in self._sockets.values():
            raw.close()

    def refuse(self, blocked: Datagram, framing: Framing, answer: bytes) -> None:
        """Send `answer` to the sender of `blocked`, in the server's name. Raises OSError."""
        packet = reply(blocked, framing, answer)
        self._sockets[blocked.family].sendto(packet, (str(blocked.source), 0))


def reply(blocked: Datagram, framing: Framing, answer: bytes) -> bytes:
    """Return the IP packet that carries `answer` back from the blocked datagram's destination."""
    match framing:
        case Framing.PLAIN:
            payload = answer
        case Framing.RFC4571:
            payload = len(answer).to_bytes(2, "big") + answer
        case Framing.TEAMS:
            payload = blocked.payload[:2] + pack("!H", len(answer) + 8) + blocked.payload[4:12] + answer
    if blocked.transport is Transport.UDP:
        segment, checksum_at = _udp(blocked, payload), 6
    else:
        segment, checksum_at = _tcp(blocked, payload), 16
    source, destination = blocked.destination, blocked.source
    protocol = 17 if blocked.transport is Transport.UDP else 6
    # RFC 768, RFC 9293 §3.1, RFC 8200 §8.1: the pseudo header. A UDP checksum of 0 would mean 'none'.
    pseudo = source.packed + destination.packed + pack("!II", len(segment), protocol)
    checksum = _checksum(pseudo + segment) or 0xFFFF
    segment = segment[:checksum_at] + pack("!H", checksum) + segment[checksum_at + 2 :]
    return _ip_header(source, destination, protocol, len(segment)) + segment


def _udp(blocked: Datagram, payload: bytes) -> bytes:
    return pack("!HHHH", blocked.destination_port, blocked.source_port, 8 + len(payload), 0) + payload


def _tcp(blocked: Datagram, payload: bytes) -> bytes:
    # Acknowledges the blocked request, so that it is not sent again, and goes on where the server stood.
    assert blocked.tcp is not None  # noqa: S101 - packet.py gives every TCP segment its numbers
    acknowledged = blocked.tcp.sequence + len(blocked.payload) & 0xFFFFFFFF
    ports = pack("!HH", blocked.destination_port, blocked.source_port)
    return (
        ports
        + pack("!IIBBHHH", blocked.tcp.acknowledgment, acknowledged, 5 << 4, _PSH_ACK, 65535, 0, 0)
        + payload
    )


def _ip_header(source: Address, destination: Address, protocol: int, length: int) -> bytes:
    if isinstance(source, IPv4Address):
        # RFC 791 §3.1; the kernel fills in the checksum (raw(7)).
        return (
            pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, _TTL, protocol, 0)
            + source.packed
            + destination.packed
        )
    return pack("!IHBB", 6 << 28, length, protocol, _TTL) + source.packed + destination.packed


def _checksum(data: bytes) -> int:
    # RFC 1071 §1: the ones' complement of the ones' complement sum of 16-bit words
    total = int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF
    return 0xFFFF - total


def _raw(family: int, level: int, header_included: int) -> socket.socket:
    raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.setblocking(False)
    raw.setsockopt(level, header_included, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    return raw

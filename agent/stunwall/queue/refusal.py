"""Answers a blocked sender at once, as if the server had refused (raw sockets)."""

import socket
from struct import pack

from stunwall.model import FAMILIES, Datagram, Framing, Plain, Refusal, Transport

_IPV6_HDRINCL = 36  # linux/in6.h; not in Python's socket module
# Level and option by which a raw socket sends the IP header that it is given.
_HEADER_INCLUDED = {4: (socket.IPPROTO_IP, socket.IP_HDRINCL), 6: (socket.IPPROTO_IPV6, _IPV6_HDRINCL)}
_TTL = 64
_PSH_ACK = 0x18
_RST_ACK = 0x14
# "Port unreachable" by IP version: protocol, type and code (RFC 792, RFC 4443 §3.1), and how many bytes it quotes of
# the blocked packet. With all headers, it has at most 576 bytes (RFC 1812 §4.3.2.3) or 1280 (RFC 4443 §3.1).
_UNREACHABLE = {4: (socket.IPPROTO_ICMP, 3, 3, 576 - 28), 6: (socket.IPPROTO_ICMPV6, 1, 4, 1280 - 48)}


class RefusalSender:
    """Sends refusals. Making it needs CAP_NET_RAW; it sends in the namespace where it was made.

    `mark`: both of stunwall's bits, by which the table knows a refusal: it drops one that would leave by another
    interface than "lo" or an inside one, because the sender's address is gone or forged. `versions`: the IP versions
    (4, 6) that the system has.
    """

    def __init__(self, mark: int, versions: frozenset[int]) -> None:
        self._local = {version: _raw(version, mark) for version in versions}
        self._behind = {version: _raw(version, mark) for version in versions}

    def close(self) -> None:
        """Close the sockets."""
        for raw in (*self._local.values(), *self._behind.values()):
            raw.close()

    def send(self, refusal: Refusal) -> None:
        """Tell the blocked sender in the server's name. Raises OSError.

        The refusal leaves by the interface that the blocked packet came in by, and by no other: the sender may have
        forged its address.
        """
        blocked = refusal.blocked
        raw = self._local[blocked.family]
        if refusal.incoming:
            raw = self._behind[blocked.family]
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, refusal.incoming.encode())
        for packet in packets(refusal):
            raw.sendto(packet, (str(blocked.source), 0))

    def send_plain(self, request: Plain, packet: bytes) -> None:
        """Send the IP packet that refuses a plain Binding Request of this machine. Raises OSError."""
        version = request.version
        self._local[version].sendto(packet, (socket.inet_ntop(FAMILIES[version], request.source), 0))


def packets(refusal: Refusal) -> list[bytes]:
    """Return the IP packets that tell the sender, in their order."""
    told = [reply(refusal)] if refusal.response else []
    if refusal.blocked.transport is Transport.TCP:
        # The server never got what is acknowledged in its name: the connection is useless, and would only linger.
        return [*told, reset(refusal)]
    return told or [unreachable(refusal)]


def reply(refusal: Refusal) -> bytes:
    """Return the IP packet that carries the response, from the blocked datagram's destination to its source."""
    blocked, payload = refusal.blocked, _framed(refusal)
    if blocked.transport is Transport.UDP:
        ports = pack("!HH", blocked.destination_port, blocked.source_port)
        protocol = 136 if blocked.lite else 17
        segment = ports + pack("!HH", 8 + len(payload), 0) + payload
        return _packet(blocked, protocol, segment, checksum_at=6)
    return _packet(blocked, 6, _tcp(blocked, 0, _PSH_ACK) + payload, checksum_at=16)


def reset(refusal: Refusal) -> bytes:
    """Return the IP packet that resets the TCP connection, right after the response (RFC 9293 §3.5.3)."""
    sent = len(_framed(refusal)) if refusal.response else 0
    return _packet(refusal.blocked, 6, _tcp(refusal.blocked, sent, _RST_ACK), checksum_at=16)


def unreachable(refusal: Refusal) -> bytes:
    """Return the IP packet that says that the server's port is closed: ICMP's hard error.

    Only a connected socket notices. Over IPv4, one that is bound to a device does not get an error that came in by "lo"
    (net/ipv4/udp.c, __udp4_lib_err).
    """
    blocked = refusal.blocked
    protocol, type_, code, quoted = _UNREACHABLE[blocked.family]
    message = pack("!BBHI", type_, code, 0, 0) + refusal.packet[:quoted]
    return _packet(blocked, protocol, message, checksum_at=2)


def _framed(refusal: Refusal) -> bytes:
    response = refusal.response
    match refusal.framing:
        case Framing.PLAIN:
            return response
        case Framing.RFC4571:
            return len(response).to_bytes(2, "big") + response
        case Framing.TEAMS:
            header = refusal.blocked.payload[:12]  # ff 10, u16 length, 8 bytes of session
            return header[:2] + pack("!H", len(response) + 8) + header[4:] + response
        case Framing.MS_TURN:
            return refusal.blocked.payload[:2] + pack("!H", len(response)) + response
        case Framing.TELEGRAM:
            # The last 4 bytes of the peer tag are the receiver's, then come the sender's: the answer swaps them.
            tag = refusal.blocked.payload[:20]
            return tag[:12] + tag[16:] + tag[12:16] + pack("!I", len(response)) + response


def _tcp(blocked: Datagram, offset: int, flags: int) -> bytes:
    # Acknowledges the blocked request, so that it is not retransmitted, and continues the server's sequence numbers.
    assert blocked.tcp is not None  # noqa: S101 - packet.py gives every TCP segment its numbers
    sequence = blocked.tcp.acknowledgment + offset & 0xFFFFFFFF
    # A SYN has a sequence number of its own (RFC 9293 §3.4).
    acknowledged = blocked.tcp.sequence + blocked.lengths[0] + blocked.tcp.opens & 0xFFFFFFFF
    ports = pack("!HH", blocked.destination_port, blocked.source_port)
    return ports + pack("!IIBBHHH", sequence, acknowledged, 5 << 4, flags, 65535, 0, 0)


def _packet(blocked: Datagram, protocol: int, segment: bytes, checksum_at: int) -> bytes:
    source, destination = blocked.destination.packed, blocked.source.packed
    # RFC 768, RFC 9293 §3.1, RFC 8200 §8.1: the pseudo header, which ICMP over IPv4 does not have (RFC 792). A UDP
    # checksum of 0 would mean 'none'.
    pseudo = source + destination + pack("!II", len(segment), protocol)
    if protocol == socket.IPPROTO_ICMP:
        pseudo = b""
    checksum = _checksum(pseudo + segment) or 0xFFFF
    segment = segment[:checksum_at] + pack("!H", checksum) + segment[checksum_at + 2 :]
    return _ip_header(source, destination, protocol, len(segment)) + segment


def _ip_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    if len(source) == 4:
        # RFC 791 §3.1; the kernel fills in the checksum (raw(7)).
        header = pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, _TTL, protocol, 0)
    else:
        header = pack("!IHBB", 6 << 28, length, protocol, _TTL)
    return header + source + destination


def _checksum(data: bytes) -> int:
    # RFC 1071 §1: the ones' complement of the ones' complement sum of 16-bit words
    total = int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF
    return 0xFFFF - total


def _raw(version: int, mark: int) -> socket.socket:
    raw = socket.socket(FAMILIES[version], socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.setblocking(False)
    raw.setsockopt(*_HEADER_INCLUDED[version], 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, pack("=I", mark))
    return raw

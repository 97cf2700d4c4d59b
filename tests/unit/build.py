"""IP packets from their parts, written from the RFCs; test_packet.py holds them against scapy's."""

import struct
from ipaddress import ip_address

SOURCES = {4: "192.0.2.17", 6: "2001:db8:17::17"}
DESTINATIONS = {4: "203.0.113.7", 6: "2001:db8:7::7"}
SOURCE_PORT = 50017
TCP, UDP = 6, 17


def udp(payload: bytes, port: int = 3478) -> bytes:
    """RFC 768; the checksum is 0."""
    return struct.pack("!HHHH", SOURCE_PORT, port, 8 + len(payload), 0) + payload


def tcp(payload: bytes, port: int = 3478, options: bytes = b"", flags: int = 0x18) -> bytes:
    """RFC 9293 §3.1; sequence 1000, acknowledgment 2000, the checksum is 0."""
    offset = (20 + len(options)) // 4 << 4
    head = struct.pack("!HHIIBBHHH", SOURCE_PORT, port, 1000, 2000, offset, flags, 65535, 0, 0)
    return head + options + payload


def ip4(protocol: int, segment: bytes, options: bytes = b"", fragment: int = 0) -> bytes:
    """RFC 791 §3.1; `fragment` is the field of flags and offset."""
    size = 20 + len(options)
    head = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, size + len(segment), 7, fragment, 64, protocol, 0)
    return head + ip_address(SOURCES[4]).packed + ip_address(DESTINATIONS[4]).packed + options + segment


def ip6(protocol: int, segment: bytes, extensions: bytes = b"", first: int | None = None) -> bytes:
    """RFC 8200 §3; `first` is the header that `extensions` start with."""
    following = protocol if first is None else first
    head = struct.pack("!IHBB", 6 << 28, len(extensions) + len(segment), following, 64)
    return head + ip_address(SOURCES[6]).packed + ip_address(DESTINATIONS[6]).packed + extensions + segment


def packet(transport: str, payload: bytes, version: int = 4, port: int = 3478) -> bytes:
    """A whole packet to `port`."""
    segment = udp(payload, port) if transport == "udp" else tcp(payload, port)
    protocol = UDP if transport == "udp" else TCP
    return ip4(protocol, segment) if version == 4 else ip6(protocol, segment)

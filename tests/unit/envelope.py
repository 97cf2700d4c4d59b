"""Headers around a payload, ordinary and odd ones, written from the RFCs: how it travels, as a value."""

import struct
from dataclasses import dataclass

from unit.build import SOURCE_PORT, UDP, ip4, ip6

HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION, MOBILITY, HIP, SHIM6 = 0, 43, 44, 51, 60, 135, 139, 140
TCP, UDP_LITE = 6, 136
SKIPPED = (HOP_BY_HOP, ROUTING, DESTINATION)
HIDING = (AH, MOBILITY, HIP, SHIM6)


@dataclass(frozen=True)
class Envelope:
    """How a payload travels.

    `extensions`: IPv6 extension headers in their order; over IPv4 only AH is one. `options`: IPv4's, in words of 4
    bytes. `stuffing`: how much longer than 8 bytes IPv6's headers are, in units of 8. `piece`: the fragment to send, as
    offset and size in units of 8 bytes. `udp_length`, `ip6_length`: these fields' values, instead of the true ones.
    """

    version: int = 4
    protocol: int = UDP
    port: int = 3478
    source_port: int = SOURCE_PORT
    options: int = 0
    tcp_options: int = 0
    extensions: tuple[int, ...] = ()
    stuffing: int = 0
    piece: tuple[int, int] | None = None
    udp_length: int | None = None
    ip6_length: int | None = None

    def packet(self, payload: bytes) -> bytes:
        """The whole IP packet, or the fragment of it."""
        content = self._segment(payload)
        first = self.protocol
        outside, inside = self._split()
        for header in reversed(inside):
            content, first = _extension(header, first, self.stuffing) + content, header
        fields = 0
        if self.piece is not None:
            offset, size = self.piece
            more = len(content) > (offset + size) * 8
            content = content[offset * 8 : (offset + size) * 8]
            fields = offset | more << 13
            if self.version == 6:
                fragment = struct.pack("!BBHI", first, 0, offset << 3 | more, 7)
                content, first = fragment + content, FRAGMENT
        for header in reversed(outside):
            content, first = _extension(header, first, self.stuffing) + content, header
        if self.version == 4:
            return ip4(first, content, b"\x01" * 4 * self.options, fields)
        whole = ip6(first, content)
        if self.ip6_length is None:
            return whole
        return whole[:4] + struct.pack("!H", self.ip6_length) + whole[6:]

    def _split(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The extension headers before the fragment header, and behind it."""
        if self.version == 4:
            return (), tuple(header for header in self.extensions if header == AH)
        if FRAGMENT in self.extensions:
            at = self.extensions.index(FRAGMENT)
            return self.extensions[:at], self.extensions[at + 1 :]
        return self.extensions, ()

    def _segment(self, payload: bytes) -> bytes:
        ports = struct.pack("!HH", self.source_port, self.port)
        if self.protocol == TCP:
            offset = 5 + self.tcp_options << 4
            fields = struct.pack("!IIBBHHH", 1000, 2000, offset, 0x18, 65535, 0, 0)
            return ports + fields + b"\x01" * 4 * self.tcp_options + payload
        length = 8 + len(payload) if self.udp_length is None else self.udp_length
        return ports + struct.pack("!HH", length, 0) + payload


def _extension(header: int, following: int, stuffing: int) -> bytes:
    """RFC 8200 §4; RFC 4302 §2 for AH, with an ICV of 12 bytes."""
    if header == AH:
        return struct.pack("!BBHII", following, 4, 0, 1, 1) + bytes(12)
    if header == FRAGMENT:  # a second one
        return struct.pack("!BBHI", following, 0, 0, 7)
    return bytes([following, stuffing, 1, 4, 0, 0, 0, 0]) + bytes(8 * stuffing)

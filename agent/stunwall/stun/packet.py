"""IPv4 or IPv6 bytes to the UDP datagram or TCP segment inside."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import NamedTuple

from stunwall.model import Address, Datagram, StunwallError, TcpNumbers, Transport

_TCP = 6
_UDP = 17
_UDP_LITE = 136
_TRANSPORTS = (_TCP, _UDP, _UDP_LITE)
# RFC 8200 §4: hop by hop, routing, destination options; the kernel walks through the same (nft's `meta l4proto`,
# net/ipv6/exthdrs_core.c, ipv6_find_hdr). Behind others, such as AH (51) or mobility (135), it finds no UDP or TCP: the
# wall stops what they carry, and it is an error here.
_IPV6_EXTENSIONS = frozenset({0, 43, 60})
_IPV6_FRAGMENT = 44
_MAX_EXTENSIONS = 16  # more than any real packet has; bounds the walk

_UDP_HEADER = Struct("!HHHH")
_TCP_HEADER = Struct("!HHIIBB")
_TCP_MIN = 20  # bytes, RFC 9293 §3.1
_SYN, _ALL_OF_SYN = 0x02, 0x17  # the same: SYN, and FIN, SYN, RST, ACK together
_MORE_FRAGMENTS = 0x2000  # RFC 791 §3.1
_FRAGMENT_OFFSET = 0x1FFF  # RFC 791 §3.1: the low 13 bits


class PacketError(StunwallError):
    """The bytes are no IP packet with a whole UDP or TCP header."""


class _Carrier(NamedTuple):
    """What the IP headers say; `end` is where the packet ends by its length, `partial` whether fragments follow."""

    source: Address
    destination: Address
    end: int
    partial: bool = False


def parse(packet: bytes) -> Datagram:
    """Return the datagram in a whole IPv4 or IPv6 packet (no link layer), or in its first fragment.

    The payload is what follows the UDP or TCP header, to the last byte. Lengths may lie: `Datagram.lengths` has them.
    Raises PacketError where not every receiver would find UDP or TCP: other protocols, later fragments, headers that do
    not fit, extension headers that receivers read differently.
    """
    if not packet:
        raise PacketError("empty packet")
    version = packet[0] >> 4
    if version == 4:
        return _ipv4(packet)
    if version == 6:
        return _ipv6(packet)
    raise PacketError(f"IP version 4 or 6 expected, {version} seen")


def addresses(packet: bytes) -> tuple[Address, Address] | None:
    """Return source and destination of an IPv4 or IPv6 packet, None if it is too short to have both."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        return IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    if version == 6 and len(packet) >= 40:
        return IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    return None


@lru_cache(maxsize=1024)  # this machine's own addresses and its servers come again and again
def _address(packed: bytes) -> Address:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _ipv4(packet: bytes) -> Datagram:
    # RFC 791 §3.1
    header = (packet[0] & 0x0F) * 4
    if header < 20 or len(packet) < header:
        raise PacketError(f"IPv4 header of {header} bytes in a packet of {len(packet)}")
    fragment = int.from_bytes(packet[6:8], "big")
    if fragment & _FRAGMENT_OFFSET:
        raise PacketError("a later IPv4 fragment has no UDP or TCP header")
    carrier = _Carrier(
        source=_address(packet[12:16]),
        destination=_address(packet[16:20]),
        # Segmentation offload can leave a total length of 0 (net/ipv4/ip_output.c): then all counts.
        end=int.from_bytes(packet[2:4], "big") or len(packet),
        partial=bool(fragment & _MORE_FRAGMENTS),
    )
    return _transport(packet[9], packet, header, carrier)


def _ipv6(packet: bytes) -> Datagram:
    # RFC 8200 §3, §4
    if len(packet) < 40:
        raise PacketError(f"IPv6 header of 40 bytes in a packet of {len(packet)}")
    length = int.from_bytes(packet[4:6], "big")
    carrier = _Carrier(
        source=_address(packet[8:24]),
        destination=_address(packet[24:40]),
        end=40 + length if length else len(packet),  # 0: a jumbogram, RFC 2675 §3
    )
    following, offset = packet[6], 40
    for _ in range(_MAX_EXTENSIONS):
        if following in _TRANSPORTS:
            return _transport(following, packet, offset, carrier)
        if following != _IPV6_FRAGMENT and following not in _IPV6_EXTENSIONS:
            raise PacketError(f"UDP or TCP expected, IPv6 next header {following} seen")
        if len(packet) < offset + 8:
            raise PacketError("an IPv6 extension header is cut short")
        if following == _IPV6_FRAGMENT:
            carrier = carrier._replace(partial=_first_fragment(packet[offset : offset + 8]))
            following, offset = packet[offset], offset + 8
        else:
            following, offset = packet[offset], offset + 8 + packet[offset + 1] * 8
    raise PacketError(f"more than {_MAX_EXTENSIONS} IPv6 extension headers")


def _first_fragment(header: bytes) -> bool:
    """Return whether more fragments follow the one with this header. Raises PacketError for a later one."""
    # RFC 8200 §4.5
    fields = int.from_bytes(header[2:4], "big")
    if fields >> 3:
        raise PacketError("a later IPv6 fragment has no UDP or TCP header")
    if header[0] not in _TRANSPORTS:
        # They can fill the first fragment, and receivers differ in what they do then (RFC 7112).
        raise PacketError(f"UDP or TCP expected behind an IPv6 fragment header, {header[0]} seen")
    return bool(fields & 1)


def _transport(protocol: int, packet: bytes, offset: int, carrier: _Carrier) -> Datagram:
    segment, size = packet[offset:], carrier.end - offset
    if protocol in (_UDP, _UDP_LITE):
        return _udp(segment, size, carrier, lite=protocol == _UDP_LITE)
    if protocol == _TCP:
        return _tcp(segment, size, carrier)
    raise PacketError(f"UDP or TCP expected, IP protocol {protocol} seen")


def _udp(segment: bytes, size: int, carrier: _Carrier, *, lite: bool) -> Datagram:
    # RFC 768, RFC 3828 §3.1
    if min(len(segment), size) < _UDP_HEADER.size:
        raise PacketError(f"UDP header of 8 bytes in {min(len(segment), size)}")
    source_port, destination_port, length, _ = _UDP_HEADER.unpack_from(segment)
    by_ip = size - _UDP_HEADER.size
    # UDP-Lite has its checksum's coverage there. 0: a jumbogram, RFC 2675 §4.
    by_udp = length - _UDP_HEADER.size if length and not lite else by_ip
    return Datagram(
        transport=Transport.UDP,
        source=carrier.source,
        destination=carrier.destination,
        source_port=source_port,
        destination_port=destination_port,
        payload=segment[_UDP_HEADER.size :],
        lengths=(by_ip,) if by_udp == by_ip else (by_ip, by_udp),
        partial=carrier.partial,
        lite=lite,
    )


def _tcp(segment: bytes, size: int, carrier: _Carrier) -> Datagram:
    # RFC 9293 §3.1
    if len(segment) < _TCP_MIN:
        raise PacketError(f"TCP header of 20 bytes in {len(segment)}")
    source_port, destination_port, sequence, acknowledgment, offset, flags = _TCP_HEADER.unpack_from(segment)
    header = (offset >> 4) * 4
    if header < _TCP_MIN or min(len(segment), size) < header:
        raise PacketError(f"TCP header of {header} bytes in {min(len(segment), size)}")
    return Datagram(
        transport=Transport.TCP,
        source=carrier.source,
        destination=carrier.destination,
        source_port=source_port,
        destination_port=destination_port,
        payload=segment[header:],
        tcp=TcpNumbers(sequence, acknowledgment, opens=flags & _ALL_OF_SYN == _SYN),
        lengths=(size - header,),
        partial=carrier.partial,
    )

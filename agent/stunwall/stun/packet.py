"""IPv4 or IPv6 bytes to the UDP datagram or TCP segment inside."""

from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from stunwall.model import Address, Datagram, StunwallError, TcpNumbers, Transport

_TCP = 6
_UDP = 17
# RFC 8200 §4 and the IANA registry of IPv6 extension headers. AH (51) counts its length otherwise,
# and what follows ESP (50) is encrypted, so neither is walked through.
_IPV6_EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})
_IPV6_FRAGMENT = 44
_MAX_EXTENSIONS = 16  # more than any real packet has; bounds the walk

_UDP_HEADER = Struct("!HHHH")
_TCP_HEADER = Struct("!HHIIBB")
_TCP_MIN = 20  # bytes, RFC 9293 §3.1
_FRAGMENT_OFFSET = 0x1FFF  # RFC 791 §3.1: the low 13 bits


class PacketError(StunwallError):
    """The bytes are no IP packet with a whole UDP or TCP header."""


def parse(packet: bytes) -> Datagram:
    """Return the datagram in a whole IPv4 or IPv6 packet (no link layer).

    The payload ends where the IP header says, or earlier if the packet was cut. IPv6 extension
    headers are skipped. Raises PacketError for everything else: other protocols, later fragments,
    lengths that do not fit.
    """
    if not packet:
        raise PacketError("empty packet")
    version = packet[0] >> 4
    if version == 4:
        return _ipv4(packet)
    if version == 6:
        return _ipv6(packet)
    raise PacketError(f"IP version 4 or 6 expected, {version} seen")


def _ipv4(packet: bytes) -> Datagram:
    # RFC 791 §3.1
    header = (packet[0] & 0x0F) * 4
    if header < 20 or len(packet) < header:
        raise PacketError(f"IPv4 header of {header} bytes in a packet of {len(packet)}")
    if int.from_bytes(packet[6:8], "big") & _FRAGMENT_OFFSET:
        raise PacketError("a later IPv4 fragment has no UDP or TCP header")
    # Segmentation offload can leave a total length of 0 (net/ipv4/ip_output.c): then all counts.
    end = int.from_bytes(packet[2:4], "big") or len(packet)
    source = IPv4Address(packet[12:16])
    destination = IPv4Address(packet[16:20])
    return _transport(packet[9], packet[header:end], source, destination)


def _ipv6(packet: bytes) -> Datagram:
    # RFC 8200 §3, §4
    if len(packet) < 40:
        raise PacketError(f"IPv6 header of 40 bytes in a packet of {len(packet)}")
    length = int.from_bytes(packet[4:6], "big")
    end = 40 + length if length else len(packet)  # 0: a jumbogram, RFC 2675 §3
    source = IPv6Address(packet[8:24])
    destination = IPv6Address(packet[24:40])
    following, offset = packet[6], 40
    for _ in range(_MAX_EXTENSIONS):
        if following in (_UDP, _TCP):
            return _transport(following, packet[offset:end], source, destination)
        if following != _IPV6_FRAGMENT and following not in _IPV6_EXTENSIONS:
            raise PacketError(f"UDP or TCP expected, IPv6 next header {following} seen")
        if len(packet) < offset + 8:
            raise PacketError("an IPv6 extension header is cut short")
        if following == _IPV6_FRAGMENT:
            if int.from_bytes(packet[offset + 2 : offset + 4], "big") >> 3:  # RFC 8200 §4.5
                raise PacketError("a later IPv6 fragment has no UDP or TCP header")
            following, offset = packet[offset], offset + 8
        else:
            following, offset = packet[offset], offset + 8 + packet[offset + 1] * 8
    raise PacketError(f"more than {_MAX_EXTENSIONS} IPv6 extension headers")


def _transport(protocol: int, segment: bytes, source: Address, destination: Address) -> Datagram:
    if protocol == _UDP:
        # RFC 768
        if len(segment) < _UDP_HEADER.size:
            raise PacketError(f"UDP header of 8 bytes in {len(segment)}")
        source_port, destination_port, _, _ = _UDP_HEADER.unpack_from(segment)
        # The UDP length is not believed: one that is too small would hide what the receiver still gets.
        payload = segment[_UDP_HEADER.size :]
        return Datagram(Transport.UDP, source, destination, source_port, destination_port, payload)
    if protocol == _TCP:
        # RFC 9293 §3.1
        if len(segment) < _TCP_MIN:
            raise PacketError(f"TCP header of 20 bytes in {len(segment)}")
        fields = _TCP_HEADER.unpack_from(segment)
        source_port, destination_port, sequence, acknowledgment, offset, _ = fields
        header = (offset >> 4) * 4
        if header < _TCP_MIN or len(segment) < header:
            raise PacketError(f"TCP header of {header} bytes in {len(segment)}")
        numbers = TcpNumbers(sequence, acknowledgment)
        return Datagram(
            Transport.TCP, source, destination, source_port, destination_port, segment[header:], numbers
        )
    raise PacketError(f"UDP or TCP expected, IP protocol {protocol} seen")

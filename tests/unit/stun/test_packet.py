"""packet.py: IP packets to datagrams, against scapy's, and hostile bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet, inet6

from stunwall.model import Transport
from stunwall.stun.packet import PacketError, parse
from unit.build import DESTINATIONS, SOURCE_PORT, SOURCES, TCP, UDP, ip4, ip6, packet, tcp, udp

PAYLOAD = b"payload"
_PADDING = bytes.fromhex("01040000 0000")  # RFC 8200 §4.2: the PadN option, 6 bytes


def extension(following: int, more: int = 0) -> bytes:
    """An IPv6 extension header of 8 bytes and `more` times 8."""
    return bytes([following, more]) + _PADDING + bytes(8 * more)


def fragment(following: int, offset: int) -> bytes:
    """RFC 8200 §4.5; `offset` in units of 8 bytes, more fragments follow."""
    return struct.pack("!BBHI", following, 0, offset << 3 | 1, 7)


WHOLE = {
    "IPv4": ip4(UDP, udp(PAYLOAD)),
    "IPv4 with options": ip4(UDP, udp(PAYLOAD), options=bytes.fromhex("9404000001010100") + bytes(32)),
    "IPv4, first fragment": ip4(UDP, udp(PAYLOAD), fragment=0x2000),
    "IPv4, don't fragment": ip4(UDP, udp(PAYLOAD), fragment=0x4000),
    "IPv6": ip6(UDP, udp(PAYLOAD)),
    "IPv6, hop by hop": ip6(UDP, udp(PAYLOAD), extension(UDP), first=0),
    "IPv6, routing of 24 bytes": ip6(UDP, udp(PAYLOAD), extension(UDP, 2), first=43),
    "IPv6, first fragment": ip6(UDP, udp(PAYLOAD), fragment(UDP, 0), first=44),
    "IPv6, four headers": ip6(
        UDP, udp(PAYLOAD), extension(60) + extension(43) + extension(44, 1) + fragment(UDP, 0), first=0
    ),
    "IPv6, 15 headers": ip6(UDP, udp(PAYLOAD), extension(60) * 14 + extension(UDP), first=60),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_datagram_is_read_behind_options_extension_headers_and_as_first_fragment(name: str) -> None:
    read = parse(WHOLE[name])
    version = WHOLE[name][0] >> 4
    assert (read.transport, read.family, read.payload) == (Transport.UDP, version, PAYLOAD)
    assert (str(read.source), str(read.destination)) == (SOURCES[version], DESTINATIONS[version])
    assert (read.source_port, read.destination_port) == (SOURCE_PORT, 3478)
    assert read.tcp is None


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("options", [0, 4, 12, 40])
def test_tcp_is_read_behind_its_options_with_its_numbers(version: int, options: int) -> None:
    segment = tcp(PAYLOAD, options=b"\x01" * options)
    read = parse(ip4(TCP, segment) if version == 4 else ip6(TCP, segment))
    assert (read.transport, read.payload) == (Transport.TCP, PAYLOAD)
    assert read.tcp is not None
    assert (read.tcp.sequence, read.tcp.acknowledgment) == (1000, 2000)


SCAPY = {
    "UDP over IPv4": inet.IP(src="192.0.2.1", dst="192.0.2.2") / inet.UDP(sport=1, dport=65535) / PAYLOAD,
    "TCP over IPv6 with options": inet6.IPv6(src="2001:db8::1", dst="2001:db8::2")
    / inet6.IPv6ExtHdrHopByHop()
    / inet6.IPv6ExtHdrDestOpt()
    / inet6.IPv6ExtHdrRouting(addresses=["2001:db8::3"])
    / inet6.IPv6ExtHdrFragment(offset=0, m=1)
    / inet.TCP(sport=7, dport=8, seq=2**32 - 1, ack=5, flags="PA", options=[("MSS", 1460), ("NOP", None)])
    / PAYLOAD,
    "TCP over IPv4": inet.IP(src="192.0.2.1", dst="192.0.2.2")
    / inet.TCP(sport=7, dport=8, seq=3, ack=5, flags="S", options=[("Timestamp", (1, 2))])
    / PAYLOAD,
}


@pytest.mark.parametrize("name", SCAPY)
def test_a_packet_that_scapy_builds_is_read_as_scapy_meant_it(name: str) -> None:
    built = SCAPY[name]
    read = parse(bytes(built))
    ip = built[inet6.IPv6] if built.haslayer(inet6.IPv6) else built[inet.IP]
    transport = built[inet.TCP] if built.haslayer(inet.TCP) else built[inet.UDP]
    assert (str(read.source), str(read.destination)) == (ip.src, ip.dst)
    assert (read.source_port, read.destination_port) == (transport.sport, transport.dport)
    assert read.payload == PAYLOAD
    if read.tcp is not None:
        assert (read.tcp.sequence, read.tcp.acknowledgment) == (transport.seq, transport.ack)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("version", [4, 6])
def test_the_tests_own_packets_are_read_by_scapy_as_meant(transport: str, version: int) -> None:
    raw = packet(transport, PAYLOAD, version, port=9)
    read = inet6.IPv6(raw) if version == 6 else inet.IP(raw)
    layer = read[inet.UDP if transport == "udp" else inet.TCP]
    assert (read.src, read.dst) == (SOURCES[version], DESTINATIONS[version])
    assert (layer.sport, layer.dport, bytes(layer.payload)) == (SOURCE_PORT, 9, PAYLOAD)


@pytest.mark.parametrize("name", [*WHOLE, "TCP"])
def test_every_truncation_is_a_shorter_payload_or_packet_error(name: str) -> None:
    whole = WHOLE.get(name) or ip4(TCP, tcp(PAYLOAD, options=bytes(8)))
    headers = len(whole) - len(PAYLOAD)
    for size in range(len(whole)):
        if size < headers:
            with pytest.raises(PacketError):
                parse(whole[:size])
        else:
            assert parse(whole[:size]).payload == PAYLOAD[: size - headers]


def _with(packet: bytes, at: int, *values: int) -> bytes:
    return packet[:at] + bytes(values) + packet[at + len(values) :]


V4, V6, SEGMENT = ip4(UDP, udp(PAYLOAD)), ip6(UDP, udp(PAYLOAD)), ip4(TCP, tcp(PAYLOAD))


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\x05",
        _with(V4, 0, 0x55),
        _with(V4, 0, 0x44),  # a header of 16 bytes
        _with(V4, 0, 0x4F),  # a header of 60 bytes
        _with(V4, 2, 0, 19),  # a total length that ends in the header
        _with(V4, 2, 0, 27),  # … in the UDP header
        _with(V4, 6, 0x00, 0x01),  # a later fragment
        _with(V4, 6, 0x3F, 0xFF),
        _with(V4, 9, 1),  # ICMP
        _with(V4, 9, 132),  # SCTP
        _with(V6, 6, 50),  # ESP
        _with(V6, 6, 51),  # AH
        _with(V6, 6, 58),  # ICMPv6
        _with(V6, 6, 59),  # no next header
        _with(V6, 4, 0, 7),  # a length that ends in the UDP header
        _with(SEGMENT, 32, 0x40),  # a TCP header of 16 bytes
        _with(SEGMENT, 32, 0xF0),  # of 60 bytes
        ip6(UDP, udp(PAYLOAD), fragment(UDP, 1), first=44),
        ip6(UDP, udp(PAYLOAD), _with(extension(UDP), 1, 255), first=0),
        ip6(UDP, udp(PAYLOAD), extension(60) * 16 + extension(UDP), first=60),
        ip6(UDP, b"", extension(60) * 8000, first=60),
        # Headers behind which receivers differ about where UDP begins.
        *(ip6(UDP, udp(PAYLOAD), extension(UDP), first=header) for header in (51, 135, 139, 140)),
        ip4(51, extension(UDP, 2) + udp(PAYLOAD)),
        ip6(UDP, udp(PAYLOAD), fragment(60, 0) + extension(UDP), first=44),
        ip6(UDP, udp(PAYLOAD), fragment(44, 0) + fragment(UDP, 0), first=44),
    ],
    ids=lambda raw: raw[:48].hex(),
)
def test_what_has_no_whole_udp_or_tcp_header_is_packet_error(hostile: bytes) -> None:
    with pytest.raises(PacketError):
        parse(hostile)


@pytest.mark.parametrize(
    ("raw", "payload"),
    [
        (V4 + b"trailer", PAYLOAD + b"trailer"),
        (V6 + b"trailer", PAYLOAD + b"trailer"),
        (_with(V4, 2, 0, 0), PAYLOAD),  # segmentation offload leaves 0
        (_with(V6, 4, 0, 0), PAYLOAD),  # a jumbogram
        (_with(V4, 2, 0xFF, 0xFF), PAYLOAD),
        (_with(V4, 24, 0, 8), PAYLOAD),  # a UDP length that hides the payload
        (_with(V4, 24, 0xFF, 0xFF), PAYLOAD),
    ],
    ids=lambda raw: raw.hex(),
)
def test_no_length_hides_a_part_of_the_payload(raw: bytes, payload: bytes) -> None:
    assert parse(raw).payload == payload


@pytest.mark.parametrize(
    ("raw", "lengths"),
    [
        (V4, (7,)),
        (V6, (7,)),
        (V4 + b"trailer", (7,)),
        (_with(V4, 24, 0, 12), (7, 4)),
        (_with(V4, 24, 0, 99), (7, 91)),
        (_with(V4, 24, 0, 0), (7,)),  # RFC 2675 §4
        (_with(V6, 44, 0, 12), (7, 4)),
        (_with(V6, 4, 0, 0), (7,)),
        (_with(V6, 4, 0, 10), (2, 7)),
        (ip4(136, _with(udp(PAYLOAD), 4, 0, 8)), (7,)),  # UDP-Lite: a checksum coverage
        (SEGMENT, (7,)),
        (SEGMENT[:-3], (7,)),
    ],
)
def test_the_lengths_are_those_of_the_ip_and_the_udp_header(raw: bytes, lengths: tuple[int, ...]) -> None:
    assert parse(raw).lengths == lengths


@pytest.mark.parametrize(
    ("raw", "partial"),
    [
        (V4, False),
        (WHOLE["IPv4, first fragment"], True),
        (WHOLE["IPv4, don't fragment"], False),
        (WHOLE["IPv6, first fragment"], True),
        (ip6(UDP, udp(PAYLOAD), struct.pack("!BBHI", UDP, 0, 0, 7), first=44), False),  # RFC 6946
        (ip4(TCP, tcp(PAYLOAD), fragment=0x2000), True),
    ],
)
def test_a_first_fragment_is_told_from_a_whole_packet(raw: bytes, partial: bool) -> None:
    assert parse(raw).partial is partial


def test_udp_lite_is_udp_with_a_mark() -> None:
    for raw in (ip4(136, udp(PAYLOAD)), ip6(136, udp(PAYLOAD))):
        read = parse(raw)
        assert (read.transport, read.lite, read.payload) == (Transport.UDP, True, PAYLOAD)
    assert not parse(V4).lite


@given(st.binary(max_size=120), st.sampled_from([0x45, 0x46, 0x4F, 0x60, 0x65, 0x00, 0xF5]))
def test_nothing_but_packet_error_comes_out_of_random_bytes(raw: bytes, first: int) -> None:
    for hostile in (raw, bytes([first]) + raw):
        try:
            read = parse(hostile)
        except PacketError:
            continue
        assert len(read.payload) <= len(hostile) - 28


@given(
    st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=6)
)
def test_nothing_but_packet_error_comes_out_of_damaged_packets(
    name: str, damage: list[tuple[int, int]]
) -> None:
    raw = bytearray(WHOLE[name])
    for at, value in damage:
        raw[at % len(raw)] = value
    try:
        read = parse(bytes(raw))
    except PacketError:
        return
    assert read.payload in bytes(raw)

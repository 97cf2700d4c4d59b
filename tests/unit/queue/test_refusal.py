"""refusal.py: the packets, as scapy reads them; tests/lab shows that they arrive."""

import itertools
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet, inet6

from stunwall.model import Datagram, Framing, Refusal, TcpNumbers, Transport
from stunwall.queue import refusal
from stunwall.stun import message as stun
from stunwall.stun import packet
from unit.build import DESTINATIONS, SOURCE_PORT, SOURCES, TCP, ip4, ip6, tcp
from unit.build import packet as build
from unit.envelope import UDP_LITE, Envelope
from vectors.programs import framed, message, ms_turn, teams, telegram

REQUEST = message(0x0001)
REFUSAL = stun.error_response(REQUEST) or b""
FRAMINGS = {
    Framing.PLAIN: REQUEST,
    Framing.RFC4571: framed(REQUEST),
    Framing.TEAMS: teams(REQUEST),
    Framing.MS_TURN: ms_turn(REQUEST),
    Framing.TELEGRAM: telegram(REQUEST),
}
ONE_TRANSPORT = {Framing.RFC4571: "tcp", Framing.MS_TURN: "tcp", Framing.TELEGRAM: "udp"}
WAYS = [
    (transport, version, framing)
    for transport, version, framing in itertools.product(("udp", "tcp"), (4, 6), Framing)
    if ONE_TRANSPORT.get(framing, transport) == transport
]


def blocked(transport: str, version: int, payload: bytes = REQUEST) -> Datagram:
    return packet.parse(build(transport, payload, version, port=3478))


def plain(request: Datagram, response: bytes = REFUSAL) -> Refusal:
    """A refusal without framing, to a sender on this machine."""
    return Refusal(b"", request, Framing.PLAIN, response, "")


def untold(raw: bytes, framing: Framing = Framing.PLAIN) -> Refusal:
    """A refusal without a STUN response."""
    return Refusal(raw, packet.parse(raw), framing, b"", "")


def _sum(data: bytes) -> int:
    """RFC 1071 §4.1, as written there."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _segment(raw: bytes) -> tuple[bytes, bytes]:
    """The pseudo header, made from the IP header, and the segment."""
    if raw[0] >> 4 == 4:
        return raw[12:20] + struct.pack("!HH", raw[9], len(raw) - 20), raw[20:]
    return raw[8:40] + struct.pack("!II", len(raw) - 40, raw[6]), raw[40:]


@pytest.mark.parametrize(("transport", "version", "framing"), WAYS)
@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_refusal_goes_back_the_way_the_request_came_with_checksums_that_scapy_computes_too(
    transport: str, version: int, framing: Framing, size: int
) -> None:
    sent = REFUSAL + bytes(size)
    raw = refusal.reply(Refusal(b"", blocked(transport, version, FRAMINGS[framing]), framing, sent, ""))
    ip = (inet6.IPv6 if version == 6 else inet.IP)(raw)
    layer = ip[inet.UDP if transport == "udp" else inet.TCP]
    assert (ip.src, ip.dst) == (DESTINATIONS[version], SOURCES[version])
    assert (layer.sport, layer.dport) == (3478, SOURCE_PORT)
    assert len(raw) == (ip.len if version == 4 else ip.plen + 40)
    checksum = layer.chksum
    del layer.chksum
    assert type(layer)(bytes(ip)[-len(layer) :]).chksum == checksum
    if transport == "udp":
        assert layer.len == len(layer)


@pytest.mark.parametrize(("transport", "version", "framing"), WAYS)
def test_the_refusal_is_framed_as_the_request_was(transport: str, version: int, framing: Framing) -> None:
    request = FRAMINGS[framing]
    payload = packet.parse(
        refusal.reply(Refusal(b"", blocked(transport, version, request), framing, REFUSAL, ""))
    ).payload
    expected = {
        Framing.PLAIN: REFUSAL,
        Framing.RFC4571: struct.pack("!H", len(REFUSAL)) + REFUSAL,
        Framing.TEAMS: b"\xff\x10" + struct.pack("!H", len(REFUSAL) + 8) + request[4:12] + REFUSAL,
        Framing.MS_TURN: b"\x02\x00" + struct.pack("!H", len(REFUSAL)) + REFUSAL,
        # To the 4 bytes of the asker, from those of its peer.
        Framing.TELEGRAM: b"TAG-OF-CALL!MINEPEER" + struct.pack("!I", len(REFUSAL)) + REFUSAL,
    }
    assert payload == expected[framing]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("sequence", "acknowledged"), [(1000, 1020), (2**32 - 20, 0), (2**32 - 1, 19), (0, 20)]
)
def test_a_segment_is_acknowledged_and_the_servers_numbers_go_on(
    version: int, sequence: int, acknowledged: int
) -> None:
    segment = bytearray(tcp(REQUEST, options=bytes(12)))
    segment[4:8] = struct.pack("!I", sequence)
    raw = ip4(TCP, bytes(segment)) if version == 4 else ip6(TCP, bytes(segment))
    replied = packet.parse(refusal.reply(plain(packet.parse(raw))))
    assert replied.tcp is not None
    assert replied.tcp.sequence == 2000  # what the blocked segment acknowledged
    assert replied.tcp.acknowledgment == acknowledged
    assert replied.payload == REFUSAL


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("acknowledged", "answered"), [(2000, 0), (2000, 40), (2**32 - 40, 40), (2**32 - 1, 40)]
)
def test_a_reset_follows_the_refusal_it_ends_the_connection_and_its_checksum_is_scapys(
    version: int, acknowledged: int, answered: int
) -> None:
    request = blocked("tcp", version)._replace(tcp=TcpNumbers(1000, acknowledged))
    raw = refusal.reset(plain(request, bytes(answered)))
    replied = packet.parse(raw)
    assert replied.tcp is not None
    assert replied.tcp.sequence == (acknowledged + answered) % 2**32
    assert replied.tcp.acknowledgment == 1000 + len(REQUEST)
    assert replied.payload == b""
    layer = (inet6.IPv6 if version == 6 else inet.IP)(raw)[inet.TCP]
    assert layer.flags == "RA"
    checksum = layer.chksum
    del layer.chksum
    assert inet.TCP(bytes(layer)).chksum == checksum


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("framing", Framing)
def test_tcp_without_a_response_is_reset_where_the_application_expects_the_next_byte(
    version: int, framing: Framing
) -> None:
    raw = build("tcp", REQUEST, version)
    (sent,) = refusal.packets(untold(raw, framing))
    replied = packet.parse(sent)
    assert replied.tcp == TcpNumbers(2000, 1000 + len(REQUEST))
    assert replied.payload == b""


def test_a_segment_is_acknowledged_whole_if_the_queue_has_cut_it() -> None:
    raw = build("tcp", REQUEST + bytes(4000))
    replied = packet.parse(refusal.reset(untold(raw[:2048])))
    assert replied.tcp is not None
    assert replied.tcp.acknowledgment == 1000 + len(REQUEST) + 4000


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 100, 700, 1500, 2000])
def test_udp_without_a_response_is_refused_by_icmp_that_scapy_reads(version: int, size: int) -> None:
    raw = build("udp", bytes(size), version)
    (sent,) = refusal.packets(untold(raw))
    ip = (inet6.IPv6 if version == 6 else inet.IP)(sent)
    assert (ip.src, ip.dst) == (DESTINATIONS[version], SOURCES[version])
    assert len(sent) == (ip.len if version == 4 else ip.plen + 40)
    # RFC 1812 §4.3.2.3, RFC 4443 §3.1
    assert len(sent) == min(len(raw) + (28 if version == 4 else 48), 576 if version == 4 else 1280)
    error = ip.payload
    assert (error.type, error.code) == ((3, 3) if version == 4 else (1, 4))
    quoted = bytes(error.payload)
    assert raw.startswith(quoted)
    pseudo, message = _segment(sent)
    assert _sum(message if version == 4 else pseudo + message) == 0xFFFF


def test_a_response_goes_before_a_reset_and_instead_of_icmp() -> None:
    udp, tcp = (plain(blocked(transport, 4)) for transport in ("udp", "tcp"))
    assert refusal.packets(udp) == [refusal.reply(udp)]
    assert refusal.packets(tcp) == [refusal.reply(tcp), refusal.reset(tcp)]


@given(st.sampled_from(["udp", "tcp"]), st.sampled_from([4, 6]), st.binary(max_size=200))
def test_every_checksum_adds_up_and_none_is_0(transport: str, version: int, sent: bytes) -> None:
    raw = refusal.reply(plain(blocked(transport, version), sent))
    pseudo, segment = _segment(raw)
    assert _sum(pseudo + segment) == 0xFFFF
    at = 6 if transport == "udp" else 16
    assert segment[at : at + 2] != b"\0\0"


@pytest.mark.parametrize("version", [4, 6])
def test_a_udp_checksum_that_comes_out_as_0_is_sent_as_ffff(version: int) -> None:
    # RFC 768: 0 would mean that there is none, which IPv6 forbids (RFC 8200 §8.1).
    def checksum(sent: bytes) -> bytes:
        return _segment(refusal.reply(plain(blocked("udp", version), sent)))[1][6:8]

    assert checksum(REFUSAL + checksum(REFUSAL + b"\0\0")) == b"\xff\xff"


@pytest.mark.parametrize("mark", [0x90000000, 0x3, 0xC0000000])
def test_a_refusal_in_the_servers_name_is_marked_with_our_bits_alone(
    monkeypatch: pytest.MonkeyPatch, lab: None, mark: int
) -> None:
    made: list[socket.socket] = []
    raw = refusal._raw

    def noted(*given: Any) -> socket.socket:
        made.append(raw(*given))
        return made[-1]

    monkeypatch.setattr(refusal, "_raw", noted)
    refuser = refusal.RefusalSender(mark, frozenset({4, 6}))
    marks = [each.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) & 0xFFFFFFFF for each in made]
    refuser.close()
    assert marks == [mark] * 4
    assert {each.fileno() for each in made} == {-1}


def test_a_reply_to_udp_has_no_numbers_and_a_reply_to_tcp_has() -> None:
    for transport in Transport:
        replied = packet.parse(refusal.reply(plain(blocked(transport, 4))))
        assert (replied.transport, replied.tcp is not None) == (transport, transport is Transport.TCP)


@pytest.mark.parametrize("version", [4, 6])
def test_udp_lite_is_refused_over_udp_lite_with_a_checksum_over_everything(version: int) -> None:
    request = packet.parse(Envelope(version, UDP_LITE).packet(REQUEST))
    raw = refusal.reply(plain(request))
    pseudo, segment = _segment(raw)
    assert raw[9 if version == 4 else 6] == UDP_LITE
    # RFC 3828 §3.1: the coverage counts the header too.
    assert int.from_bytes(segment[4:6], "big") == len(segment) == 8 + len(REFUSAL)
    assert _sum(pseudo + segment) == 0xFFFF


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("data", [b"", b"fast open"])
def test_a_connection_that_opens_is_just_reset(version: int, data: bytes) -> None:
    """RFC 9293 §3.10.7.1: sequence number 0, and the SYN is acknowledged, which counts as one byte."""
    numbers = TcpNumbers(0xFFFFFFFF, 0, opens=True)
    opening = blocked("tcp", version)._replace(payload=data, lengths=(len(data),), tcp=numbers)
    raw = refusal.reset(Refusal(b"", opening, Framing.PLAIN, b"", ""))
    segment = (inet.IP if version == 4 else inet6.IPv6)(raw)[inet.TCP]
    assert (segment.flags, segment.seq, segment.ack) == ("RA", 0, len(data))

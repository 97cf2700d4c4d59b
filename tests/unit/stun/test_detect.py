"""detect.py: what is STUN and what is not, and that the wall and the daemon agree about it."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.model import Framing, Protocol
from stunwall.stun import detect
from stunwall.stun.detect import Detection
from stunwall.stun.message import CLASSIC_TYPES
from unit.build import packet
from unit.envelope import Envelope
from unit.payloads import SAMPLE_PAYLOADS
from unit.wall import Wall
from vectors import programs, rfc5769
from vectors.others import OTHERS
from vectors.programs import (
    COOKIE,
    HEADERS,
    SAMPLES,
    Sample,
    attribute,
    classic,
    framed,
    message,
    ms_turn,
    teams,
    telegram,
)

TRANSPORTS = ["udp", "tcp"]
DISCORD = bytes.fromhex("00010046") + bytes(70)
CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303")


def found(transport: str, payload: bytes, version: int = 4, port: int = 50000) -> Detection | None:
    return detect.detect(packet(transport, payload, version, port))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
def test_stun_is_found_as_real_programs_send_it(sample: Sample, version: int) -> None:
    seen = found(sample.transport, sample.payload, version, sample.port)
    assert seen is not None
    assert (seen.protocol, seen.method, seen.framing) == (sample.protocol, sample.method, sample.framing)
    assert seen.datagram.payload == sample.payload
    offset = HEADERS[sample.framing]
    if seen.message is not None:
        assert seen.stun == sample.payload[offset:]
        assert seen.message.cookie is (seen.protocol is not Protocol.CLASSIC_STUN)
    else:
        assert seen.stun == b""


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("name", "transport", "port", "payload"), OTHERS, ids=[other[0] for other in OTHERS])
def test_other_traffic_is_not_taken_for_stun(
    name: str, transport: str, port: int, payload: bytes, version: int
) -> None:
    assert found(transport, payload, version, port) is None, name


@pytest.mark.parametrize("port", [0, 1, 53, 80, 123, 443, 3478, 3479, 5349, 19302, 65535])
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("type_", [0x0001, 0x0003, 0x0101, 0x0800, 0x3FFF])
def test_stun_with_the_cookie_is_found_on_any_port(transport: str, port: int, type_: int) -> None:
    assert found(transport, message(type_), 4, port) is not None


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("size", [8, 9, 19, 20, 21, 548, 549, 1472, 9000])
def test_no_length_hides_stun_with_the_cookie(transport: str, size: int) -> None:
    assert found(transport, message(0x0001, bytes(9000))[:size]) is not None


@pytest.mark.parametrize(
    ("payload", "framing"),
    [
        (framed(message(0x0001)), Framing.RFC4571),
        (teams(message(0x0003)), Framing.TEAMS),
        (ms_turn(message(0x0003)), Framing.MS_TURN),
    ],
)
def test_a_framing_is_found_whatever_its_own_length_field_says(payload: bytes, framing: Framing) -> None:
    at = 0 if framing is Framing.RFC4571 else 2
    for length in (b"\0\0", b"\xff\xff"):
        seen = found("tcp", payload[:at] + length + payload[at + 2 :])
        assert seen is not None
        assert seen.framing is framing


def test_a_framing_counts_only_over_its_own_transport(wall: Wall) -> None:
    for transport, payload in (
        ("udp", framed(message(0x0001))),
        ("udp", ms_turn(message(0x0001))),
        ("udp", programs.PSEUDO_TLS),
        ("tcp", telegram(message(0x0001))),
        ("tcp", programs.TELEGRAM_SELF),
        ("tcp", programs.TELEGRAM_PEER),
    ):
        assert found(transport, payload) is None
        assert not wall.takes(packet(transport, payload, port=50000))


def test_discords_discovery_is_found_whatever_its_70_bytes_are() -> None:
    for body in (bytes(70), b"\xff" * 70, random.Random(7).randbytes(70)):
        seen = found("udp", bytes.fromhex("00010046") + body)
        assert seen is not None
        assert (seen.protocol, seen.message) == (Protocol.DISCORD, None)


def test_tls_counts_only_to_guarded_ports_and_the_guarded_ports_can_be_set() -> None:
    hello = packet("tcp", bytes.fromhex("1603010200010001fc0303"), port=4443)
    assert detect.detect(hello) is None
    assert detect.detect(hello, [4443]) is not None
    assert detect.detect(packet("tcp", b"\x16\x03\x01\x02\x00", port=3478), []) is None


@pytest.mark.parametrize("head", range(256))
def test_to_a_guarded_port_only_tls_content_types_and_channel_numbers_count(wall: Wall, head: int) -> None:
    for transport, version in (("udp", 0xFE), ("tcp", 0x03)):
        payload = bytes([head, version, 0, 4, 0, 0, 0, 0])
        seen = found(transport, payload, port=5349)
        expected = Protocol.TURN_TLS if 20 <= head <= 25 else Protocol.TURN if head >> 4 == 4 else None
        assert (seen and seen.protocol) is expected
        assert wall.takes(packet(transport, payload, port=5349)) is (expected is not None)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
def test_every_sample_is_taken_by_the_rule_that_is_meant(wall: Wall, sample: Sample) -> None:
    rule = wall.rule(packet(sample.transport, sample.payload, port=sample.port))
    assert rule is not None
    word = _FRAMING_WORDS[sample.framing]
    if sample.framing == "plain":
        by_protocol = {
            Protocol.CLASSIC_STUN: "classic STUN",
            Protocol.DISCORD: "Discord",
            Protocol.TELEGRAM: "Telegram asks",
            Protocol.TURN_TLS: "TLS to a guarded port",
        }
        by_method = {"ChannelData": "ChannelData", "pseudo-TLS": "pseudo-TLS of MS-TURN"}
        word = by_method.get(sample.method) or by_protocol.get(Protocol(sample.protocol)) or word
    assert word in rule
    assert rule.startswith(sample.transport.upper())


_FRAMING_WORDS = {
    "plain": "magic cookie",
    "rfc4571": "RFC 4571",
    "teams": "Teams",
    "ms-turn": "MS-TURN",
    "telegram": "Telegram's header",
}


@pytest.mark.parametrize(("name", "transport", "port", "payload"), OTHERS, ids=[other[0] for other in OTHERS])
@pytest.mark.parametrize("version", [4, 6])
def test_other_traffic_passes_the_wall_but_for_look_alikes_of_classic_stun(
    wall: Wall, name: str, transport: str, port: int, payload: bytes, version: int
) -> None:
    look_alikes = {"classic STUN with a broken attribute"}
    assert wall.takes(packet(transport, payload, version, port)) is (name in look_alikes)


@given(st.binary(max_size=200))
def test_random_bytes_never_raise(raw: bytes) -> None:
    detect.detect(raw)
    detect.detect(b"\x45" + raw)
    detect.detect(b"\x60" + raw)


@given(
    st.sampled_from(TRANSPORTS),
    st.sampled_from([4, 6]),
    SAMPLE_PAYLOADS,
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    st.integers(0, 2000),
)
def test_damaged_and_cut_packets_never_raise(
    transport: str, version: int, payload: bytes, damage: list[tuple[int, int]], cut: int
) -> None:
    raw = bytearray(packet(transport, payload, version))
    for at, value in damage:
        raw[at % len(raw)] = value
    detect.detect(bytes(raw[: len(raw) - cut]))
    detect.detect(bytes(raw))


def test_the_cookie_at_its_place_is_found_by_both_behind_every_first_byte(wall: Wall) -> None:
    for head in range(256):
        payload = bytes([head, 1, 0, 0]) + COOKIE + programs.ID
        for transport in TRANSPORTS:
            assert (found(transport, payload) is not None) is (head < 0x40)
            assert wall.takes(packet(transport, payload, port=50000)) is (head < 0x40)


def test_classic_stun_of_every_length_is_judged_alike_by_wall_and_daemon(wall: Wall) -> None:
    for type_ in sorted(CLASSIC_TYPES):
        for size in range(561):
            body = struct.pack("!HH", 0x0101, size - 4) + bytes(size - 4) if size >= 4 else bytes(size)
            payload = classic(type_, body)
            taken = wall.takes(packet("udp", payload, port=50000))
            assert (found("udp", payload) is not None) is taken, (hex(type_), size)


def test_scapys_messages_are_found() -> None:
    from scapy.contrib.stun import STUN
    from scapy.layers.inet import IP, UDP

    built = IP(dst="203.0.113.7") / UDP(sport=50000, dport=3478) / STUN(stun_message_type=1, transaction_id=7)
    seen = detect.detect(bytes(built))
    assert seen is not None
    assert seen.message is not None
    assert (seen.method, seen.message.exact) == ("Binding", True)


def test_a_message_that_a_tcp_peer_sends_back_is_found_too() -> None:
    seen = found("tcp", rfc5769.IPV6_RESPONSE, 6)
    assert seen is not None
    assert seen.protocol is Protocol.STUN


def lying(payload: bytes, length: int, version: int = 4) -> bytes:
    """A UDP packet with another UDP length than it has."""
    return Envelope(version, udp_length=length).packet(payload)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("length", [0, 7, 8, 24, 28, 100, 0xFFFF])
def test_classic_stun_and_discord_are_found_by_the_ip_length_whatever_the_udp_length_is(
    version: int, length: int
) -> None:
    for payload in (classic(0x0001), classic(0x0003, attribute(0x0006, b"user")), DISCORD):
        assert detect.detect(lying(payload, length, version)) is not None


@pytest.mark.parametrize("version", [4, 6])
def test_classic_stun_and_discord_are_found_by_the_udp_length_whatever_follows(version: int) -> None:
    for payload in (classic(0x0001), classic(0x0003, attribute(0x0006, b"user")), DISCORD):
        seen = detect.detect(lying(payload + b"more", 8 + len(payload), version))
        assert seen is not None
        assert detect.detect(Envelope(version).packet(payload + b"more")) is None


@pytest.mark.parametrize("version", [4, 6])
def test_a_first_fragment_that_may_be_classic_stun_is_found_and_one_that_cannot_is_not(version: int) -> None:
    whole = classic(0x0001, attribute(0x8022, bytes(100)))
    broken = classic(0x0001, attribute(0x0006, b"user") + struct.pack("!HH", 0x0006, 256) + bytes(100))
    extensions = (44,) if version == 6 else ()
    for units in range(2, 12):
        piece = Envelope(version, extensions=extensions, piece=(0, units))
        assert detect.detect(piece.packet(whole)) is not None
        longer = classic(0x0001, bytes(100), length=0)
        assert (detect.detect(piece.packet(longer)) is not None) is (units * 8 - 8 <= 20)
    seen = Envelope(version, extensions=extensions, piece=(0, 8)).packet(broken)
    assert detect.detect(seen) is None


def test_udp_lite_is_judged_as_udp_and_its_checksum_coverage_is_no_length() -> None:
    for coverage in (0, 8, 28, 0xFFFF):
        for payload in (message(0x0001), classic(0x0001), DISCORD, teams(message(3))):
            for version in (4, 6):
                envelope = Envelope(version, 136, udp_length=coverage)
                seen = detect.detect(envelope.packet(payload))
                assert seen is not None
                assert seen.datagram.lite


TEXT = [
    *(b"GET / HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"OPTIONS * HTTP/1.1\r\n"),
    *(b"CONNECT a:1 HTTP/1.1\r\n", b"DELETE /a HTTP/1.1\r\n", b"INVITE sip:a@b SIP/2.0\r\n", b"NICK a\r\n"),
    *(b"OK\r\n", b"NO\tX", b"EHLO a\r\n", b"LIST\n", b"MAIL FROM:<a@b>\r\n"),
]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("text", TEXT)
def test_text_to_a_guarded_port_passes_wall_and_daemon_however_it_is_cut(
    wall: Wall, text: bytes, transport: str, version: int
) -> None:
    for size in range(len(text) + 1):
        sent = packet(transport, text[:size], version, 3478)
        assert not wall.takes(sent)
        assert detect.detect(sent) is None


def test_channel_data_to_a_guarded_port_is_found_if_its_length_fits(wall: Wall) -> None:
    for size in (0, 1, 4, 1200, 1499, 0x08FF):
        data = struct.pack("!HH", 0x4000, size) + bytes(size)
        for transport in TRANSPORTS:
            assert wall.takes(packet(transport, data))
            assert detect.detect(packet(transport, data)) is not None
        if size:
            # RFC 8656 §12.6. Over TCP the rest follows in the next segment.
            assert detect.detect(packet("udp", data[:-1])) is None
            assert detect.detect(packet("tcp", data[:-1])) is not None


@pytest.mark.parametrize("payload", [b"\x16\x03\x03\x00\x7a", b"\x40\x00\x00\x00", b"\x16"])
def test_what_a_server_answers_to_a_client_whose_port_is_guarded_passes(wall: Wall, payload: bytes) -> None:
    for source, taken in ((80, False), (443, False), (1023, False), (1024, True), (50000, True)):
        sent = Envelope(4, 6, port=5349, source_port=source).packet(payload)
        assert wall.takes(sent) is taken
        assert (detect.detect(sent) is not None) is taken


@pytest.mark.parametrize("version", [4, 6])
def test_the_beginning_of_a_message_to_a_guarded_tcp_port_is_found_however_short(
    wall: Wall, version: int
) -> None:
    for whole in (message(0x0001), message(0x0003), message(0x0800), CLIENT_HELLO):
        for size in range(1, len(whole)):
            sent = packet("tcp", whole[:size], version)
            assert wall.takes(sent)
            assert detect.detect(sent) is not None
            assert not wall.takes(packet("tcp", whole[:size], version, 443)) or size >= 8

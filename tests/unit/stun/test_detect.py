"""detect.py: what is STUN and what is not, and that the wall and the daemon agree about it."""

import random
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stunwall.model import GUARD_PORTS, Framing, Protocol
from stunwall.stun import detect
from stunwall.stun.detect import Detection
from stunwall.stun.message import CLASSIC_TYPES
from unit.build import packet
from unit.wall import FILE, Wall
from vectors import programs, rfc5769
from vectors.others import OTHERS
from vectors.programs import COOKIE, SAMPLES, Sample, attribute, classic, framed, message, teams

WALL = Wall(FILE.read_text())
COOKIE_RULES = {
    "UDP: STUN, by its magic cookie",
    "UDP: STUN in Teams' header",
    "TCP: STUN, by its magic cookie",
    "TCP: STUN framed as in RFC 4571",
    "TCP: STUN in Teams' header",
}
TRANSPORTS = ["udp", "tcp"]


def found(transport: str, payload: bytes, version: int = 4, port: int = 50000) -> Detection | None:
    return detect.detect(packet(transport, payload, version, port))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
def test_stun_is_found_as_real_programs_send_it(sample: Sample, version: int) -> None:
    seen = found(sample.transport, sample.payload, version, sample.port)
    assert seen is not None
    assert (seen.protocol, seen.method, seen.framing) == (sample.protocol, sample.method, sample.framing)
    assert seen.datagram.payload == sample.payload
    offset = {"plain": 0, "rfc4571": 2, "teams": 12}[sample.framing]
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
    [(framed(message(0x0001)), Framing.RFC4571), (teams(message(0x0003)), Framing.TEAMS)],
)
def test_a_framing_is_found_whatever_its_own_length_field_says(payload: bytes, framing: Framing) -> None:
    at = 2 if framing is Framing.TEAMS else 0
    for length in (b"\0\0", b"\xff\xff"):
        seen = found("tcp", payload[:at] + length + payload[at + 2 :])
        assert seen is not None
        assert seen.framing is framing


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
def test_to_a_guarded_port_only_tls_content_types_and_channel_numbers_count(head: int) -> None:
    for transport, version in (("udp", 0xFE), ("tcp", 0x03)):
        payload = bytes([head, version, 1, 1, 0, 0, 0, 0])
        seen = found(transport, payload, port=5349)
        expected = Protocol.TURN_TLS if 20 <= head <= 25 else Protocol.TURN if head >> 4 == 4 else None
        assert (seen and seen.protocol) is expected
        assert (WALL.sends(transport, payload, 5349) is None) is (expected is None)


# Bytes that come close to STUN: messages with everything slightly wrong, at every framing.
_bodies = st.one_of(
    st.binary(max_size=64),
    st.lists(
        st.builds(attribute, st.integers(0, 0xFFFF), st.binary(max_size=24), st.booleans()), max_size=6
    ).map(b"".join),
)
_types = st.one_of(st.integers(0, 0xFFFF), st.sampled_from(sorted(CLASSIC_TYPES)))
_lengths = st.one_of(st.none(), st.integers(0, 80), st.integers(0, 0xFFFF))
_messages = st.builds(message, _types, _bodies, _lengths)
_classics = st.builds(classic, _types, _bodies, _lengths)
_samples = st.sampled_from([sample.payload for sample in SAMPLES] + [other[3] for other in OTHERS])


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(st.one_of(_samples, _messages, _classics)))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=4)):
        if at < len(raw):
            raw[at] = value
    cut = draw(st.one_of(st.just(0), st.integers(0, 30)))
    return bytes(raw[: len(raw) - cut]) + draw(st.one_of(st.just(b""), st.binary(max_size=8)))


_payloads = st.one_of(
    st.binary(max_size=100),
    _messages,
    _classics,
    st.one_of(_messages, _classics).map(framed),
    st.one_of(_messages, _classics).map(teams),
    _samples,
    _damaged(),
)
_ports = st.sampled_from([*GUARD_PORTS, 53, 80, 443, 19302, 50000])


@given(st.sampled_from(TRANSPORTS), _payloads, _ports)
@example("udp", classic(0x0001, attribute(0x0006, b"abcde", padding=False)), 3478)
@example("udp", b"\x40", 3478)
def test_what_the_daemon_calls_stun_the_wall_sends_to_the_door(
    transport: str, payload: bytes, port: int
) -> None:
    by_wall = WALL.sends(transport, payload, port)
    seen = found(transport, payload, 4, port)
    if seen is not None:
        assert by_wall is not None
    if by_wall in COOKIE_RULES:
        assert seen is not None


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
def test_every_sample_is_sent_to_the_door_by_the_rule_that_is_meant(sample: Sample) -> None:
    rule = WALL.sends(sample.transport, sample.payload, sample.port)
    assert rule is not None
    word = {
        Protocol.CLASSIC_STUN: "classic STUN",
        Protocol.DISCORD: "Discord",
        Protocol.TURN_TLS: "TLS to a guarded port",
    }.get(Protocol(sample.protocol))
    if word is None:
        word = "ChannelData" if sample.method == "ChannelData" else _FRAMING_WORDS[sample.framing]
    assert word in rule
    assert rule.startswith(sample.transport.upper())


_FRAMING_WORDS = {"plain": "magic cookie", "rfc4571": "RFC 4571", "teams": "Teams"}


@pytest.mark.parametrize(("name", "transport", "port", "payload"), OTHERS, ids=[other[0] for other in OTHERS])
def test_other_traffic_passes_the_wall_but_for_look_alikes_of_classic_stun(
    name: str, transport: str, port: int, payload: bytes
) -> None:
    look_alikes = {"classic STUN with a broken attribute"}
    assert (WALL.sends(transport, payload, port) is not None) is (name in look_alikes)


@given(st.binary(max_size=200))
def test_random_bytes_never_raise(raw: bytes) -> None:
    detect.detect(raw)
    detect.detect(b"\x45" + raw)
    detect.detect(b"\x60" + raw)


@given(
    st.sampled_from(TRANSPORTS),
    st.sampled_from([4, 6]),
    _samples,
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


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_truncation_of_every_sample_is_judged_alike_by_wall_and_daemon(transport: str) -> None:
    for sample in SAMPLES:
        for size in range(len(sample.payload)):
            cut = sample.payload[:size]
            seen, by_wall = found(transport, cut, 4, sample.port), WALL.sends(transport, cut, sample.port)
            assert seen is None or by_wall is not None, (sample.name, size)
            assert seen is not None or by_wall not in COOKIE_RULES, (sample.name, size)


def test_the_cookie_at_its_place_is_found_by_both_behind_every_first_byte() -> None:
    for head in range(256):
        payload = bytes([head, 1, 0, 0]) + COOKIE + programs.ID
        for transport in TRANSPORTS:
            assert (found(transport, payload) is not None) is (head < 0x40)
            assert (WALL.sends(transport, payload, 50000) is not None) is (head < 0x40)


def test_classic_stun_of_every_length_is_judged_alike_by_wall_and_daemon() -> None:
    for type_ in sorted(CLASSIC_TYPES):
        for size in range(561):
            body = struct.pack("!HH", 0x0101, size - 4) + bytes(size - 4) if size >= 4 else bytes(size)
            payload = classic(type_, body)
            by_wall = WALL.sends("udp", payload, 50000)
            assert (found("udp", payload) is not None) is (by_wall is not None), (hex(type_), size)


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

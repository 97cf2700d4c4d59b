"""cli/decode.py: what it says of each part of a packet, and that it leaves out no byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.cli.decode import decode
from unit.build import packet
from unit.payloads import PAYLOADS
from vectors import rfc5769
from vectors.programs import attribute, classic, framed, message, teams


def decoded(raw: bytes) -> dict[str, str]:
    return {part.name: part.value for part in decode(raw)}


def test_the_request_of_rfc_5769_is_decoded() -> None:
    assert decoded(packet("udp", rfc5769.REQUEST)) == {
        "IPv4, UDP": "192.0.2.17:50017 to 203.0.113.7:3478",
        "STUN": "Binding request, 88 bytes of attributes, transaction ID b7e7a701bc34d686fa87dfae",
        "SOFTWARE": '"STUN test client"',
        "PRIORITY": "1,845,494,271",
        "ICE-CONTROLLED": "tie-breaker 0x932ff9b151263b36",
        "USERNAME": '"evtj:h6vY"',
        "MESSAGE-INTEGRITY": "not checked, as that takes the password",
        "FINGERPRINT": "the checksum is right",
    }


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        (rfc5769.IPV4_RESPONSE, "192.0.2.1:32853"),
        (rfc5769.IPV6_RESPONSE, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ],
    ids=["IPv4", "IPv6"],
)
def test_the_responses_of_rfc_5769_are_decoded(raw: bytes, address: str) -> None:
    shown = decoded(packet("udp", raw))
    assert shown["STUN"].startswith("Binding success, ")
    assert shown["XOR-MAPPED-ADDRESS"] == address
    assert shown["FINGERPRINT"] == "the checksum is right"


def test_text_is_decoded_as_utf_8() -> None:
    shown = decoded(packet("udp", rfc5769.LONG_TERM_REQUEST))
    assert shown["USERNAME"] == f'"{rfc5769.USERNAME}"'
    assert shown["REALM"] == f'"{rfc5769.REALM}"'


def test_a_changed_byte_makes_the_checksum_wrong() -> None:
    changed = bytearray(rfc5769.REQUEST)
    changed[30] ^= 1
    assert decoded(packet("udp", bytes(changed)))["FINGERPRINT"] == "the checksum is wrong"


VALUES = [
    (0x0001, "00010d96c0000201", "MAPPED-ADDRESS", "192.0.2.1:3478"),
    (0x0001, "0001", "MAPPED-ADDRESS", "2 bytes"),
    (0x0001, "00020d96c0000201", "MAPPED-ADDRESS", "8 bytes"),
    (0x802C, "00010d96c0000201", "OTHER-ADDRESS", "192.0.2.1:3478"),
    (0x0016, "00012c84e112a643", "XOR-RELAYED-ADDRESS", "192.0.2.1:3478"),
    (0x0009, "00000403466f7262696464656e", "ERROR-CODE", "403 Forbidden"),
    (0x0009, "000004", "ERROR-CODE", "3 bytes"),
    (0x000A, "00208022", "UNKNOWN-ATTRIBUTES", "XOR-MAPPED-ADDRESS, SOFTWARE"),
    (0x000C, "40010000", "CHANNEL-NUMBER", "0x4001"),
    (0x000D, "00000258", "LIFETIME", "600 seconds"),
    (0x0017, "02000000", "REQUESTED-ADDRESS-FAMILY", "IPv6"),
    (0x0019, "11000000", "REQUESTED-TRANSPORT", "UDP"),
    (0x0019, "84000000", "REQUESTED-TRANSPORT", "IP protocol 132"),
    (0x0025, "", "USE-CANDIDATE", "empty"),
    (0x8022, "ff", "SOFTWARE", '"�"'),
    (0xC057, "00010032", "GOOG-NETWORK-INFO", "4 bytes"),
    (0x4001, "0102", "unknown attribute 0x4001", "2 bytes"),
]


@pytest.mark.parametrize(("type_", "value", "name", "expected"), VALUES)
def test_the_values_of_attributes(type_: int, value: str, name: str, expected: str) -> None:
    raw = attribute(type_, bytes.fromhex(value))
    part = decode(packet("udp", message(0x0001, raw)))[-1]
    assert (part.raw, part.name, part.value) == (raw, name, expected)


def test_classic_stun_is_named_so() -> None:
    shown = decoded(packet("udp", classic(0x0001, attribute(0x0003, bytes(4)))))
    assert "without the magic cookie" in shown["STUN"]
    assert "CHANGE-REQUEST" in shown


@pytest.mark.parametrize(
    ("raw", "framing"),
    [
        (packet("udp", teams(message(0x0001))), "teams"),
        (packet("tcp", framed(message(0x0001))), "rfc4571"),
    ],
    ids=["teams", "rfc4571"],
)
def test_framing_is_a_part_of_its_own(raw: bytes, framing: str) -> None:
    shown = decoded(raw)
    assert shown["Framing"] == framing
    assert shown["STUN"].startswith("Binding request")


def test_what_cannot_be_read_is_named() -> None:
    cut = decode(packet("udp", message(0x0001, bytes.fromhex("0006001061620000"))))
    assert [part.name for part in cut[2:]] == ["Unreadable"]
    longer = decode(packet("udp", message(0x0001) + b"more"))
    assert (longer[-1].raw, longer[-1].name) == (b"more", "Rest")
    assert decoded(packet("udp", b"hello")) == {
        "IPv4, UDP": "192.0.2.17:50017 to 203.0.113.7:3478",
        "Payload": "not recognised",
    }
    assert decode(b"\x45")[0].value.startswith("cannot be decoded: ")
    assert decode(b"") == []


@given(PAYLOADS, st.sampled_from(["udp", "tcp"]), st.sampled_from([4, 6]))
def test_no_byte_is_left_out_and_none_is_shown_twice(payload: bytes, transport: str, version: int) -> None:
    raw = packet(transport, payload, version)
    assert b"".join(part.raw for part in decode(raw)) == raw


@given(st.binary(max_size=120))
def test_any_bytes_are_decoded_whole(raw: bytes) -> None:
    assert b"".join(part.raw for part in decode(raw)) == raw

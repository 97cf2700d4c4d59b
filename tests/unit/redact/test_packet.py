"""redact/packet.py: a packet that can still be read, and says nothing of its sender."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.cli.decode import decode
from stunwall.model import Address
from stunwall.redact.addresses import KEY, Addresses
from stunwall.redact.packet import redacted
from stunwall.stun import detect
from unit.build import DESTINATIONS, SOURCES, UDP, ip4, packet, udp
from vectors.programs import SAMPLES, Sample, attribute, message

pseudonym = Addresses(bytes(KEY)).pseudonym
COOKIE = bytes.fromhex("2112a442")
TRANSACTION = b"transaction!"
REAL = {4: ip_address("81.2.69.142"), 6: ip_address("2a02:8108::17")}


def address_of(address: Address, key: bytes) -> bytes:
    """RFC 8489 §14.2, with the port 4660; §14.1 with a key of zeros."""
    port = bytes(a ^ b for a, b in zip(b"\x12\x34", key, strict=False))
    family = b"\0\1" if address.version == 4 else b"\0\2"
    return family + port + bytes(a ^ b for a, b in zip(address.packed, key, strict=False))


def meant(raw: bytes) -> dict[str, str]:
    return {part.name: part.value for part in decode(raw)}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("inside", [4, 6])
def test_addresses_become_pseudonyms_in_the_headers_and_in_attributes(
    version: int, transport: str, inside: int
) -> None:
    real, key = REAL[inside], COOKIE + TRANSACTION
    body = attribute(0x0020, address_of(real, key)) + attribute(0x0001, address_of(real, bytes(16)))
    payload = struct.pack("!HH", 0x0101, len(body)) + key + body
    found = redacted(packet(transport, payload, version), pseudonym)
    said = meant(found)
    ends = [pseudonym(ip_address(each[version])) for each in (SOURCES, DESTINATIONS)]
    left, right = (f"[{each}]" if version == 6 else str(each) for each in ends)
    assert said[f"IPv{version}, {transport.upper()}"] == f"{left}:50017 to {right}:3478"
    hidden = f"[{pseudonym(real)}]:4660" if inside == 6 else f"{pseudonym(real)}:4660"
    assert (said["XOR-MAPPED-ADDRESS"], said["MAPPED-ADDRESS"]) == (hidden, hidden)
    assert detect.mapped_address(found) == str(pseudonym(real))
    assert TRANSACTION not in found


def test_names_and_whatever_proves_a_guess_are_gone_and_harmless_numbers_stay() -> None:
    body = b"".join(
        (
            attribute(0x0006, b"room:alice"),
            attribute(0x0024, bytes.fromhex("6e7f1eff")),
            attribute(0x8022, b"alice's phone"),
            attribute(0x0009, b"\0\0\4\3alice is forbidden"),
            attribute(0x0008, b"m" * 20),
            attribute(0x8028, b"fing"),
            attribute(0x4001, REAL[4].packed),
        )
    )
    payload = struct.pack("!HH", 0x0001, len(body)) + COOKIE + TRANSACTION + body + b"alice"
    raw = ip4(
        UDP,
        struct.pack("!HHHH", 5, 3478, 8 + len(payload), 0xBEEF) + payload,
        options=b"\x83\x07\4" + b"oooo\0",
    )
    found = redacted(raw, pseudonym)
    for secret in (b"alice", b"room", b"mmmm", b"fing", b"\xbe\xef", b"oooo", REAL[4].packed, TRANSACTION):
        assert secret in raw
        assert secret not in found
    said = meant(found)
    assert said["PRIORITY"] == f"{0x6E7F1EFF:,}"
    assert said["ERROR-CODE"].startswith("403")
    assert set(said) == set(meant(raw))


def test_it_has_right_lengths_and_a_right_header_checksum() -> None:
    found = redacted(packet("udp", message(0x0001)), pseudonym)
    assert int.from_bytes(found[2:4], "big") == len(found) == 28 + int.from_bytes(found[24:26], "big") - 8
    total = sum(struct.unpack("!10H", found[:20]))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF  # RFC 1071 §1


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_what_it_was_can_still_be_told_where_a_stun_message_is_in_it(sample: Sample) -> None:
    raw = packet(sample.transport, sample.payload, port=sample.port)
    before, after = detect.detect(raw), detect.detect(redacted(raw, pseudonym))
    if before is not None and before.message is not None:
        assert after is not None
        assert (after.protocol, after.method) == (before.protocol, before.method)


def test_what_is_no_stun_message_becomes_zeros() -> None:
    secret = b"\x16\x03\x01 turn.alice.example"
    found = redacted(packet("tcp", secret, port=5349), pseudonym)
    assert found.endswith(bytes(len(secret)))
    assert b"alice" not in found


@pytest.mark.parametrize(
    "raw", [b"", b"\x45", b"alice" * 20, ip4(1, b"alice"), ip4(UDP, udp(b"alice"), fragment=9)]
)
def test_of_what_cannot_be_parsed_nothing_remains(raw: bytes) -> None:
    assert redacted(raw, pseudonym) == b""


@given(st.binary(max_size=120), st.sampled_from(["udp", "tcp"]), st.sampled_from([4, 6]))
def test_no_payload_makes_it_fail_or_changes_a_length(payload: bytes, transport: str, version: int) -> None:
    raw = packet(transport, payload, version)
    assert len(redacted(raw, pseudonym)) == len(raw)

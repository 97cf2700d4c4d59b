"""message.py: the codec, against the samples of the RFC and against scapy."""

import hashlib
import hmac
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib import stun as scapy_stun

from stunwall.model import Transport
from stunwall.stun import message as stun
from stunwall.stun.message import MessageClass, StunError
from vectors import rfc5769
from vectors.programs import CLASSIC_ID, ID, MS_COOKIE, SAMPLES, Sample, attribute, classic, message

FINGERPRINT, INTEGRITY = 8, 24  # bytes of the two last attributes with their headers


@pytest.mark.parametrize("section", rfc5769.WITH_FINGERPRINT)
def test_the_rfc_5769_vectors_have_the_fingerprint_and_integrity_that_the_rfc_computed(section: str) -> None:
    sample = rfc5769.WITH_FINGERPRINT[section]
    assert zlib.crc32(sample[:-FINGERPRINT]) ^ 0x5354554E == int.from_bytes(sample[-4:], "big")
    until = len(sample) - FINGERPRINT - INTEGRITY
    length = struct.pack("!H", until + INTEGRITY - stun.HEADER)
    covered = sample[:2] + length + sample[4:until]
    assert hmac.digest(rfc5769.SHORT_TERM_PASSWORD, covered, "sha1") == sample[until + 4 : -FINGERPRINT]


def test_the_rfc_5769_long_term_vector_has_the_integrity_that_the_rfc_computed() -> None:
    sample = rfc5769.LONG_TERM_REQUEST
    key = hashlib.md5(f"{rfc5769.USERNAME}:{rfc5769.REALM}:{rfc5769.PASSWORD}".encode()).digest()
    assert hmac.digest(key, sample[:-INTEGRITY], "sha1") == sample[-20:]


@pytest.mark.parametrize(
    ("section", "kind", "types"),
    [
        ("2.1", MessageClass.REQUEST, [0x8022, 0x0024, 0x8029, 0x0006, 0x0008, 0x8028]),
        ("2.2", MessageClass.SUCCESS, [0x8022, 0x0020, 0x0008, 0x8028]),
        ("2.3", MessageClass.SUCCESS, [0x8022, 0x0020, 0x0008, 0x8028]),
        ("2.4", MessageClass.REQUEST, [0x0006, 0x0015, 0x0014, 0x0008]),
    ],
)
def test_the_rfc_5769_vectors_are_read_whole(section: str, kind: MessageClass, types: list[int]) -> None:
    sample = rfc5769.ALL[section]
    read = stun.parse(sample)
    assert (read.name, read.message_class, read.cookie, read.exact) == ("Binding", kind, True, True)
    assert read.transaction_id == sample[8:20]
    assert read.length == len(sample) - 20
    assert [type_ for type_, _ in read.attributes] == types
    assert read.has_credentials
    assert read.is_ice is (stun.USERNAME in types)


def test_attribute_values_are_read_without_their_padding() -> None:
    read = dict(stun.parse(rfc5769.REQUEST).attributes)
    assert read[stun.USERNAME] == b"evtj:h6vY"
    assert read[stun.PRIORITY] == bytes.fromhex("6e0001ff")


def test_every_message_type_of_14_bits_splits_into_method_and_class_as_figure_3_of_rfc_8489_draws_it() -> (
    None
):
    for type_ in range(1 << 14):
        # RFC 8489 §5, figure 3, from the left: M11 … M7 C1 M6 M5 M4 C0 M3 M2 M1 M0
        drawn = f"{type_:014b}"
        method = int(drawn[0:5] + drawn[6:9] + drawn[10:14], 2)
        read = stun.parse(struct.pack("!HHI", type_, 0, 0x2112A442))
        assert (read.method, read.message_class) == (method, int(drawn[5] + drawn[9], 2)), hex(type_)


def test_message_types_are_those_of_scapy_where_scapy_names_them() -> None:
    classes = {"request": "REQUEST", "indication": "INDICATION", "success": "SUCCESS", "error": "ERROR"}
    named = {}
    for name, type_ in scapy_stun._stun_message_type.items():
        method, class_ = name.split()[:2]
        named[type_] = (method, MessageClass[classes[class_]])
    assert len(named) == 4
    for type_, expected in named.items():
        read = stun.parse(message(type_))
        assert (read.name, read.message_class) == expected


def test_classic_types_are_binding_shared_secret_allocate_send_and_microsofts_data_indication() -> None:
    # RFC 3489 §11.1 (1, 2 with responses and errors), draft-rosenberg-midcom-turn-08 (3), MS-TURN (4, 0x115)
    with_answers = {type_ | class_ for type_ in (1, 2, 3) for class_ in (0, 0x100, 0x110)}
    assert with_answers | {0x0004, 0x0115} == stun.CLASSIC_TYPES


@pytest.mark.parametrize("section", rfc5769.ALL)
def test_every_truncation_of_a_vector_is_read_as_inexact_or_refused_with_stun_error(section: str) -> None:
    sample = rfc5769.ALL[section]
    for size in range(len(sample)):
        if size < 8:
            with pytest.raises(StunError):
                stun.parse(sample[:size])
        else:
            read = stun.parse(sample[:size])
            assert not read.exact
            assert read.attributes == stun.parse(sample).attributes[: len(read.attributes)]


@given(st.binary(max_size=600))
def test_nothing_but_stun_error_comes_out_of_parse(payload: bytes) -> None:
    stun.has_cookie(payload)
    stun.is_classic(payload, len(payload))
    stun.error_response(payload)
    if len(payload) < 8:
        with pytest.raises(StunError):
            stun.parse(payload)
        return
    read = stun.parse(payload)
    assert isinstance(read.message_class, MessageClass)
    assert read.name
    assert 0 <= read.method < 1 << 12
    assert sum(4 + len(value) for _, value in read.attributes) <= len(payload)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8), st.booleans())
def test_attributes_come_back_as_they_were_put_in_whether_the_last_is_padded_or_not(
    attributes: list[tuple[int, bytes]], padded: bool
) -> None:
    body = b"".join(attribute(type_, value) for type_, value in attributes[:-1])
    body += b"".join(attribute(type_, value, padded) for type_, value in attributes[-1:])
    read = stun.parse(message(0x0001, body))
    assert read.attributes == tuple(attributes)
    assert read.exact


@given(st.lists(st.binary(max_size=6), max_size=4))
def test_a_message_that_scapy_builds_is_found_and_read(names: list[bytes]) -> None:
    built = bytes(
        scapy_stun.STUN(
            stun_message_type="Binding request",
            transaction_id=int.from_bytes(ID, "big"),
            attributes=[scapy_stun.STUNUsername(username=name) for name in names]
            + [scapy_stun.STUNIceControlling(tie_breaker=7), scapy_stun.STUNPriority(priority=1)],
        )
    )
    assert stun.has_cookie(built)
    read = stun.parse(built)
    assert read.transaction_id == ID
    assert read.is_ice
    assert [value for type_, value in read.attributes if type_ == stun.USERNAME] == names


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (message(0x0001), True),
        (message(0x3FFF), True),
        (message(0x4000), False),
        (message(0x8001), False),
        (message(0xC001), False),
        (message(0x0001)[:8], True),
        (message(0x0001)[:7], False),
        (b"", False),
        (classic(0x0001), False),
        (b"\x00\x01\x00\x00\x00\x00\x00\x00" + ID, False),
    ],
)
def test_the_cookie_behind_two_zero_bits_is_the_whole_test(payload: bytes, found: bool) -> None:
    assert stun.has_cookie(payload) is found


def _sized(body: int) -> bytes:
    return classic(0x0001, attribute(0x0101, bytes(body - 4)) if body else b"")


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        *((classic(type_), True) for type_ in sorted(stun.CLASSIC_TYPES)),
        *((classic(type_), False) for type_ in (0x0000, 0x0005, 0x0011, 0x0104, 0x0114, 0x8001, 0xC001)),
        (_sized(stun.CLASSIC_MAX - 20), True),
        (_sized(stun.CLASSIC_MAX - 16), False),
        (classic(0x0001) + b"\0", False),
        (classic(0x0001)[:-1], False),
        (classic(0x0001, length=4), False),
        (classic(0x0001, b"\0\0\0\0", length=0), False),
        (classic(0x0001, bytes.fromhex("00060005 61626364")), False),
        (classic(0x0001, attribute(0x0006, b"abcde", padding=False)), False),
        (classic(0x0001, attribute(0x0006, b"abcde")), True),
    ],
)
def test_without_cookie_type_length_and_attributes_must_all_fit(payload: bytes, found: bool) -> None:
    assert stun.is_classic(payload, len(payload)) is found


@pytest.mark.parametrize(
    ("body", "credentials"),
    [
        (b"", False),
        (attribute(0x0006, b"user"), False),
        (attribute(0x0008, bytes(20)), True),
        (attribute(0x001C, bytes(32)), True),
        (attribute(0x8022, b"x") + attribute(0x0008, b""), True),
    ],
)
def test_credentials_are_either_message_integrity(body: bytes, credentials: bool) -> None:
    assert stun.parse(message(0x0001, body)).has_credentials is credentials


@pytest.mark.parametrize("method", [0x0001, 0x0003, 0x0004, 0x0008, 0x0009, 0x0200, 0x0800, 0x3EEF])
@pytest.mark.parametrize("build", [message, classic])
def test_a_request_without_credentials_is_refused_with_error_400_as_scapy_reads_it(
    method: int, build: Callable[[int, bytes], bytes]
) -> None:
    request = build(method, attribute(0x8022, b"client"))
    answer = stun.error_response(request, Transport.TCP)
    assert answer is not None
    read = scapy_stun.STUN(answer)
    assert read.RESERVED == 0
    assert read.stun_message_type == method | 0x0110
    assert read.length == len(answer) - 20
    assert answer[4:20] == request[4:20]
    (error,) = read.attributes
    # RFC 8489 §14.8: class 4, number 0. RFC 3489 §11.2.9 fills the phrase with spaces to a multiple of 4.
    phrase = b"Bad Request" if build is message else b"Bad Request "
    assert error.value == bytes([0, 0, 4, 0]) + phrase
    assert (error.type, error.length) == (0x0009, 4 + len(phrase))
    if build is classic or method != 0x0003:
        assert stun.error_response(request) == answer


@pytest.mark.parametrize(
    "credentials", [b"", attribute(0x0014, b"turn") + attribute(0x0008, bytes(20))], ids=["first", "second"]
)
def test_an_allocate_request_over_udp_is_refused_with_error_401_as_coturn_writes_it(
    credentials: bytes,
) -> None:
    request = message(0x0003, attribute(0x0019, bytes([17, 0, 0, 0])) + credentials)
    answer = stun.error_response(request)
    assert answer is not None
    assert answer[:2] == bytes.fromhex("0113")
    assert answer[4:20] == request[4:20]
    read = stun.parse(answer)
    assert read.exact
    assert read.attributes == (
        (0x0009, bytes([0, 0, 4, 1]) + b"Unauthorized"),
        (0x0015, request[8:16].hex().encode()),
        (0x0014, b"turn"),
    )


def test_over_tcp_an_allocate_request_with_credentials_gets_no_refusal() -> None:
    assert stun.error_response(message(0x0003, attribute(0x0008, bytes(20))), Transport.TCP) is None


def test_the_refusal_of_a_classic_request_repeats_all_16_bytes_of_its_transaction_id() -> None:
    answer = stun.error_response(classic(0x0001))
    assert answer is not None
    assert stun.parse(answer).transaction_id == CLASSIC_ID
    assert stun.is_classic(answer, len(answer))


@pytest.mark.parametrize("build", [message, classic])
def test_the_refusal_of_an_ms_turn_request_begins_with_its_magic_cookie(
    build: Callable[[int, bytes], bytes],
) -> None:
    answer = stun.error_response(build(0x0003, MS_COOKIE + attribute(0x8037, bytes(4))))
    assert answer is not None
    read = stun.parse(answer)
    assert read.exact
    assert [type_ for type_, _ in read.attributes] == [0x000F, stun.ERROR_CODE]
    assert answer[20:28] == MS_COOKIE
    # Elsewhere than [MS-TURN] §3.1.10 wants it, it is another attribute.
    other = stun.error_response(build(0x0003, attribute(0x8037, bytes(4)) + MS_COOKIE))
    assert other is not None
    assert MS_COOKIE not in other


def test_a_refusal_is_an_error_response_of_the_same_method_to_our_own_reader() -> None:
    read = stun.parse(stun.error_response(message(0x0003)) or b"")
    assert (read.name, read.message_class, read.exact) == ("Allocate", MessageClass.ERROR, True)


@pytest.mark.parametrize(
    "payload",
    [
        message(0x0011),
        message(0x0101),
        message(0x0111),
        message(0x0016),
        rfc5769.REQUEST,
        rfc5769.LONG_TERM_REQUEST,
        rfc5769.IPV4_RESPONSE,
        stun.error_response(message(0x0001)) or b"",
        message(0x0001)[:19],
        b"",
    ],
)
def test_what_is_no_request_or_has_credentials_or_is_cut_gets_no_refusal(payload: bytes) -> None:
    assert stun.error_response(payload) is None


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.framing == "plain"], ids=lambda s: s.name)
def test_a_refusal_is_never_answered_by_another(sample: Sample) -> None:
    answer = stun.error_response(sample.payload)
    assert answer is None or stun.error_response(answer) is None

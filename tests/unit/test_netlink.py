"""netlink.py: messages one after the other, cut short, and hostile bytes."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from stunwall import netlink


def message(kind: int, *attributes: tuple[int, bytes]) -> bytes:
    """A message as libnetlink packs it, with nothing between its header and its attributes."""
    body = b""
    for number, value in attributes:
        body += struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0x100, 7, 812) + body


ONE = message(24, (1, b"stunwall\0"))
OTHER = message(15, (1, bytes(4)), (0x8000 | 2, (812).to_bytes(4)), (3, b"firewalld\0"))


def heard(received: bytes) -> list[tuple[int, int, int, int, dict[int, bytes]]]:
    return [
        (each.kind, each.flags, each.sequence, each.port, netlink.attributes(received, each.start, each.end))
        for each in netlink.messages(received)
    ]


def test_messages_are_read_one_after_the_other() -> None:
    assert heard(ONE + OTHER) == [
        (24, 0x100, 7, 812, {1: b"stunwall\0"}),
        # NLA_F_NESTED is no part of a type.
        (15, 0x100, 7, 812, {1: bytes(4), 2: (812).to_bytes(4), 3: b"firewalld\0"}),
    ]


def test_what_is_cut_short_is_not_read() -> None:
    for length in range(len(ONE + OTHER)):
        assert heard((ONE + OTHER)[:length]) == heard(ONE) * (length >= len(ONE))


def test_an_attribute_that_is_longer_than_its_message_ends_it() -> None:
    (whole,) = netlink.messages(message(1, (1, b"four"), (2, b"four")))
    assert netlink.attributes(whole.data, whole.start, whole.end) == {1: b"four", 2: b"four"}
    assert netlink.attributes(whole.data, whole.start, whole.end - 1) == {1: b"four"}


def test_values_are_those_of_all_attributes_of_one_type_too_up_to_one_that_is_cut_short() -> None:
    peers = b"".join(netlink.attribute(0, value) for value in (b"one", b"", b"three"))
    assert list(netlink.values(peers)) == [b"one", b"", b"three"]
    for length in range(len(peers)):
        # Each is whole without what pads it to a multiple of four.
        whole = (length >= 7) + (length >= 12) + (length >= 21)
        assert list(netlink.values(peers[:length])) == [b"one", b"", b"three"][:whole], length


@given(st.binary(max_size=200))
def test_any_bytes_end(received: bytes) -> None:
    heard(received)
    list(netlink.values(received))


@given(
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40))),
)
def test_what_is_written_is_read(kind: int, flags: int, given: list[tuple[int, bytes]]) -> None:
    body = b"".join(netlink.attribute(number, value) for number, value in given)
    ((found, its_flags, sequence, _, attributes),) = heard(netlink.message(kind, flags, 9, body))
    assert (found, its_flags, sequence) == (kind, flags, 9)
    assert attributes == dict(given)

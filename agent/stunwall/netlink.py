"""Netlink messages and their attributes (RFC 3549 §2.2; linux/netlink.h). No I/O."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

ERROR, DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
DUMP_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: something changed meanwhile
REPLACED = 0x100  # NLM_F_REPLACE, in a notification

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_TYPE = 0x3FFF  # NLA_TYPE_MASK


class Message(NamedTuple):
    """A message; `start` and `end` of what follows its header are offsets in `data`."""

    kind: int
    flags: int
    sequence: int
    port: int
    data: bytes
    start: int
    end: int


def messages(data: bytes) -> Iterator[Message]:
    """Yield the messages of a datagram, up to one that is cut short."""
    start = 0
    while start + _HEADER.size <= len(data):
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, start)
        if length < _HEADER.size or start + length > len(data):
            return
        yield Message(kind, flags, sequence, port, data, start + _HEADER.size, start + length)
        start += length + 3 & ~3


def attributes(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """Return the attributes between two offsets by their types, up to one that is cut short."""
    found: dict[int, bytes] = {}
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size or start + length > end:
            break
        found[kind & _TYPE] = data[start + _ATTRIBUTE.size : start + length]
        start += length + 3 & ~3
    return found


def first(data: bytes, start: int, end: int, kind: int) -> bytes:
    """Return the first attribute of a type between two offsets, b"" if there is none before one that is cut short."""
    while start + _ATTRIBUTE.size <= end:
        length, its = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size or start + length > end:
            break
        if its & _TYPE == kind:
            return data[start + _ATTRIBUTE.size : start + length]
        start += length + 3 & ~3
    return b""


def values(data: bytes) -> Iterator[bytes]:
    """Yield the values of all attributes, of whatever types, up to one that is cut short."""
    start = 0
    while start + _ATTRIBUTE.size <= len(data):
        length, _ = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size or start + length > len(data):
            return
        yield data[start + _ATTRIBUTE.size : start + length]
        start += length + 3 & ~3


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return a message to the kernel."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)

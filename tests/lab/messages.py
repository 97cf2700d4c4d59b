"""Builds STUN messages, and reads replies.

Shares no code with stunwall, so that the two can't make the same mistake.
"""

import os
import struct
from ipaddress import ip_address

COOKIE = bytes.fromhex("2112a442")  # RFC 8489 §5

BINDING_REQUEST, BINDING_INDICATION, BINDING_SUCCESS = 0x0001, 0x0011, 0x0101  # RFC 8489 §18.2
ALLOCATE_REQUEST = 0x0003  # RFC 8656 §17

MAPPED_ADDRESS, USERNAME, MESSAGE_INTEGRITY, ERROR_CODE = 0x0001, 0x0006, 0x0008, 0x0009  # RFC 8489 §18.3
XOR_MAPPED_ADDRESS, SOFTWARE = 0x0020, 0x8022  # RFC 8489 §18.3
REALM, NONCE = 0x0014, 0x0015
REQUESTED_TRANSPORT = 0x0019  # RFC 8656 §18
PRIORITY, ICE_CONTROLLED = 0x0024, 0x8029  # RFC 8445 §16.1

REFUSED = 400
"""The error code of stunwall's refusal, except to an Allocate Request over UDP."""
UNAUTHORIZED = 401
"""The one to that, and what a TURN server says to a request without credentials, or with wrong ones."""

UDP_TRANSPORT = bytes([17, 0, 0, 0])  # REQUESTED-TRANSPORT's value: protocol 17, and three reserved bytes


def new_transaction() -> bytes:
    """Twelve random bytes: a transaction ID to look for on the wire."""
    return os.urandom(12)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to a multiple of four (RFC 8489 §14)."""
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(kind: int, attributes: bytes = b"", transaction: bytes | None = None) -> bytes:
    """A message of RFC 8489 §5, with a fresh transaction ID unless one is given."""
    header = struct.pack("!HH", kind, len(attributes)) + COOKIE + (transaction or new_transaction())
    return header + attributes


def binding_request(transaction: bytes | None = None) -> bytes:
    return message(BINDING_REQUEST, transaction=transaction)


def allocate_request(transaction: bytes | None = None) -> bytes:
    """A TURN client's first request, which has no credentials yet (RFC 8656 §7.1)."""
    return message(ALLOCATE_REQUEST, attribute(REQUESTED_TRANSPORT, UDP_TRANSPORT), transaction)


def transaction_of(stun: bytes) -> bytes:
    return stun[8:20]


def attributes_of(stun: bytes) -> dict[int, bytes]:
    """Attribute type → value; the last one of each type, and without an error if the message is cut."""
    found, position = {}, 20
    while position + 4 <= len(stun):
        kind, length = struct.unpack_from("!HH", stun, position)
        found[kind] = stun[position + 4 : position + 4 + length]
        position += 4 + length + -length % 4
    return found


def reflexive_address(reply: bytes | None) -> str | None:
    """The address in a server's success response, or None if it has none."""
    if reply is None:
        return None
    found = attributes_of(reply)
    if XOR_MAPPED_ADDRESS in found:
        value = found[XOR_MAPPED_ADDRESS]
        return _address(bytes(a ^ b for a, b in zip(value[4:], reply[4:20], strict=False)))
    return _address(found[MAPPED_ADDRESS][4:]) if MAPPED_ADDRESS in found else None


def _address(raw: bytes) -> str:
    return str(ip_address(raw))


def error_code(reply: bytes | None) -> int | None:
    """ERROR-CODE's number (RFC 8489 §14.8), or None if the reply isn't an error response."""
    value = attributes_of(reply).get(ERROR_CODE) if reply else None
    return value[2] * 100 + value[3] if value else None

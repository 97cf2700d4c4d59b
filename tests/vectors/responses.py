"""Responses in which a server tells a client its address. All addresses are those of RFC 5737 and RFC 3849."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from vectors import rfc5769
from vectors.programs import (
    CLASSIC_ID,
    COOKIE,
    ID,
    MS_COOKIE,
    TELEGRAM_TAG,
    attribute,
    classic,
    framed,
    message,
    ms_turn,
    teams,
    telegram,
)

ADDRESS4, ADDRESS6, OTHER = ip_address("192.0.2.77"), ip_address("2001:db8::77"), ip_address("198.51.100.7")


@dataclass(frozen=True)
class Response:
    """A payload, where its form is known from, and the address in it."""

    name: str
    origin: str
    transport: Literal["udp", "tcp"]
    payload: bytes
    address: str = str(ADDRESS4)


def _mapped(kind: int, key: bytes = b"", packed: bytes = ADDRESS4.packed) -> bytes:
    """RFC 8489 §14.1, §14.2: zero, family, port, address; the last two XORed with the key."""
    value = b"\xc3\x50" + packed
    keys = (key[:2], key) if key else (bytes(2), bytes(16))
    hidden = bytes(a ^ b for a, b in zip(value, b"".join(keys), strict=False))
    return attribute(kind, bytes([0, 1 if len(packed) == 4 else 2]) + hidden)


def _telegram(kind: str, *parts: bytes) -> bytes:
    return TELEGRAM_TAG + b"\xff" * 12 + bytes.fromhex(kind) + b"".join(parts)


_KEY = COOKIE + ID
_BINDING = message(0x0101, _mapped(0x0020, _KEY))
# The relay's address first, as in [MS-TURN] §3.2.5.1 and in the captures.
_RELAY = MS_COOKIE + _mapped(0x0001, packed=OTHER.packed)
_PORT = b"\x50\xc3\x00\x00"  # little-endian
# Date, and the number in the question.
_ASKED = bytes.fromhex("60dab25e") + (123).to_bytes(8, "little")
_MAPPED4 = bytes(10) + b"\xff\xff" + ADDRESS4.packed

CAPTURED = "public captures"
LIBTGVOIP = "libtgvoip, VoIPController.cpp"

RESPONSES = [
    Response("RFC 5769's", "RFC 5769 §2.2", "udp", rfc5769.IPV4_RESPONSE, "192.0.2.1"),
    Response("over TCP", "RFC 8489 §6.2.2", "tcp", _BINDING),
    Response(
        "IPv6",
        "RFC 8489 §14.2",
        "udp",
        message(0x0101, _mapped(0x0020, _KEY, ADDRESS6.packed)),
        str(ADDRESS6),
    ),
    Response("ICE-TCP", "RFC 6544", "tcp", framed(_BINDING)),
    Response("RFC 3489's", "RFC 3489 §11.2.1", "udp", classic(0x0101, _mapped(0x0001))),
    Response("behind Teams' header", CAPTURED, "udp", teams(_BINDING)),
    Response("behind Teams' header, TCP", CAPTURED, "tcp", teams(_BINDING)),
    Response(
        "Teams' TURN over TCP", CAPTURED, "tcp", ms_turn(message(0x0103, _RELAY + _mapped(0x8020, _KEY)))
    ),
    Response(
        "the same without the cookie",
        "[MS-TURN] §2.2.2.16",
        "tcp",
        ms_turn(classic(0x0103, _RELAY + _mapped(0x8020, CLASSIC_ID))),
    ),
    Response("through Microsoft's relay", "[MS-TURN] §2.1.4", "tcp", ms_turn(_BINDING, 3)),
    Response("through Telegram's relay", CAPTURED, "udp", telegram(_BINDING)),
    Response("Telegram's self info", CAPTURED, "udp", _telegram("c77215c0", _ASKED, _MAPPED4, _PORT)),
    Response(
        "Telegram's self info, IPv6",
        LIBTGVOIP,
        "udp",
        _telegram("c77215c0", _ASKED, ADDRESS6.packed, _PORT),
        str(ADDRESS6),
    ),
    Response(
        "Telegram's peer info",
        CAPTURED,
        "udp",
        _telegram("1c37d927", ADDRESS4.packed, _PORT, OTHER.packed, _PORT),
    ),
    Response(
        "Telegram's peer info, IPv6",
        LIBTGVOIP,
        "udp",
        _telegram("b173fc83", ADDRESS6.packed, _PORT, bytes(16), _PORT),
        str(ADDRESS6),
    ),
    Response(
        "Discord's",
        CAPTURED,
        "udp",
        bytes.fromhex("000200460006f1c4") + str(ADDRESS4).encode().ljust(64, b"\0") + b"\xc3\x50",
    ),
]

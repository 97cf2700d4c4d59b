"""STUN as real programs send it: each sample is a first packet that shows a server the client's address."""

import struct
from dataclasses import dataclass
from typing import Literal

from vectors import rfc5769

COOKIE = bytes.fromhex("2112a442")
ID = bytes(range(0x31, 0x3D))  # 12 bytes
CLASSIC_ID = bytes(range(0x51, 0x61))  # 16 bytes, RFC 3489 §11.1


def attribute(kind: int, value: bytes, padding: bool = True) -> bytes:
    """RFC 8489 §14, with or without the padding to a multiple of 4 bytes."""
    return struct.pack("!HH", kind, len(value)) + value + (bytes(-len(value) % 4) if padding else b"")


def message(kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    """RFC 8489 §5; `length` overrides the length field."""
    return struct.pack("!HH", kind, len(body) if length is None else length) + COOKIE + ID + body


def classic(kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    """RFC 3489 §11.1: 16 bytes of transaction ID, and no cookie."""
    return struct.pack("!HH", kind, len(body) if length is None else length) + CLASSIC_ID + body


def framed(stun: bytes) -> bytes:
    """RFC 4571 §2."""
    return struct.pack("!H", len(stun)) + stun


def teams(stun: bytes) -> bytes:
    """Teams' header: ff 10, the length of what follows, 8 bytes of session."""
    return b"\xff\x10" + struct.pack("!H", len(stun) + 8) + b"SESSION!" + stun


def ms_turn(stun: bytes, kind: int = 2) -> bytes:
    """[MS-TURN] §2.1.4: control or data, a zero, the length of what follows."""
    return struct.pack("!BBH", kind, 0, len(stun)) + stun


TELEGRAM_TAG = b"TAG-OF-CALL!" + b"MINE"  # 16 bytes, of which the last 4 are of one peer


def telegram(stun: bytes) -> bytes:
    """The header of Telegram's relays: the tag with the receiver's 4 bytes, the sender's, a length; and padding."""
    return TELEGRAM_TAG[:12] + b"PEER" + b"MINE" + struct.pack("!I", len(stun)) + stun + bytes(-len(stun) % 4)


# How many bytes stand before the message, by framing.
HEADERS = {"plain": 0, "rfc4571": 2, "teams": 12, "ms-turn": 4, "telegram": 24}


@dataclass(frozen=True)
class Sample:
    """A payload, where it comes from, and what has to be found in it."""

    name: str
    origin: str
    transport: Literal["udp", "tcp"]
    port: int
    payload: bytes
    protocol: str = "stun"
    method: str = "Binding"
    framing: str = "plain"


# Made by hand from public captures of the program: type, length, attributes, framing and port are as captured;
# transaction ID, names and keys are invented.
CAPTURED = "public captures"
# A borderline case that is in no capture.
MADE = "made for the tests"

_UDP_TRANSPORT = attribute(0x0019, bytes([17, 0, 0, 0]))  # RFC 8656 §18
_ALLOCATE = message(0x0003, _UDP_TRANSPORT)
_CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303")
_DTLS_HELLO = bytes.fromhex("16fefd0000000000000000007a01")
# RFC 8656 §12: channel numbers are 0x4000 to 0x4fff.
_LOW_CHANNEL = bytes.fromhex("40010004") + b"data"
_HIGH_CHANNEL = bytes.fromhex("4fff0004") + b"data"
_ZOOM = classic(0x0001, attribute(0x0101, b"Z" * 20))
# WhatsApp's and Teams' Allocate Requests do not pad their attributes.
_WHATSAPP_ATTRIBUTES = attribute(0x4000, b"\x01\x02\x03\x04\x05", False) + attribute(0x4002, b"relay", False)
_WHATSAPP_ALLOCATE = message(0x0003, _WHATSAPP_ATTRIBUTES)
_TEAMS_ALLOCATE = message(0x0003, _UDP_TRANSPORT + attribute(0x8055, bytes(3), False))
MS_COOKIE = attribute(0x000F, bytes.fromhex("72c64bc6"))
_MICROSOFT_ALLOCATE = classic(0x0003, MS_COOKIE)
_TEAMS_TCP_ALLOCATE = message(0x0003, MS_COOKIE + attribute(0x8037, bytes(4)))
PSEUDO_TLS = bytes.fromhex("160301002d010000290301") + bytes(range(32)) + bytes.fromhex("00000200180100")
_ICE_CHECK = message(0x0001, attribute(0x0006, b"abcd:efgh") + attribute(0x0024, bytes(4)))
_MICROSOFT_DATA = classic(0x0115, attribute(0x0013, bytes(8)))
_CHANGE_REQUEST = classic(0x0001, attribute(0x0003, bytes(4)))
_DISCORD = bytes.fromhex("00010046 0006f1c4") + bytes(66)
TELEGRAM_SELF = TELEGRAM_TAG + b"\xff" * 12 + b"\xfe\xff\xff\xff" + (123).to_bytes(8, "big")
TELEGRAM_PEER = TELEGRAM_TAG + b"\xff" * 16


def _whatsapp(kind: int) -> Sample:
    """One of WhatsApp's private methods, which have the numbers 0x200 to 0x205."""
    payload = message(kind, attribute(0x4000, bytes(16)))
    method = f"0x{0x200 | kind & 0xF:04x}"
    return Sample(f"WhatsApp's {kind:#06x}", CAPTURED, "udp", 3478, payload, method=method)


SAMPLES = [
    Sample("a bare header of 20 bytes", CAPTURED, "udp", 19302, message(0x0001)),
    Sample("a bare header to port 443", CAPTURED, "udp", 443, message(0x0001)),
    Sample("a bare header to port 80", CAPTURED, "udp", 80, message(0x0001)),
    Sample("a bare header to port 53", MADE, "udp", 53, message(0x0001)),
    Sample("RFC 5769's request", "RFC 5769 §2.1", "udp", 3478, rfc5769.REQUEST, "ice"),
    Sample("RFC 5769's long-term request", "RFC 5769 §2.4", "udp", 3478, rfc5769.LONG_TERM_REQUEST, "ice"),
    Sample("RFC 5769's response", "RFC 5769 §2.2", "udp", 40000, rfc5769.IPV4_RESPONSE),
    Sample("a message cut after the cookie", MADE, "udp", 3478, message(0x0001)[:8]),
    Sample("libwebrtc's GOOG_PING", "libwebrtc", "udp", 50001, message(0x0200), method="GooglePing"),
    Sample("WhatsApp's allocate, unpadded", CAPTURED, "udp", 3478, _WHATSAPP_ALLOCATE, "turn", "Allocate"),
    Sample("Teams' allocate, unpadded", CAPTURED, "udp", 3479, _TEAMS_ALLOCATE, "turn", "Allocate"),
    Sample("length too small", MADE, "udp", 3478, message(3, _UDP_TRANSPORT, 4), "turn", "Allocate"),
    Sample("length too large", MADE, "udp", 3478, message(3, _UDP_TRANSPORT, 999), "turn", "Allocate"),
    Sample("bytes after the end", CAPTURED, "udp", 3478, message(0x0001) + b"\x00\x17extra"),
    Sample("a keepalive indication", "RFC 8445 §11", "udp", 50002, message(0x0011)),
    *(_whatsapp(kind) for kind in range(0x0800, 0x0806)),
    Sample("RFC 3489's bare request", "RFC 3489 §11.1", "udp", 3478, classic(0x0001), "classic-stun"),
    Sample("RFC 3489's CHANGE-REQUEST", "RFC 3489 §11.2.4", "udp", 10000, _CHANGE_REQUEST, "classic-stun"),
    Sample("Zoom's request", CAPTURED, "udp", 3478, _ZOOM, "classic-stun"),
    Sample("Zoom's request to 3479", CAPTURED, "udp", 3479, _ZOOM, "classic-stun"),
    Sample("Microsoft's data indication", CAPTURED, "udp", 50003, _MICROSOFT_DATA, "classic-stun", "0x0005"),
    Sample("Microsoft's allocate", CAPTURED, "udp", 3478, _MICROSOFT_ALLOCATE, "classic-stun", "Allocate"),
    Sample("Teams' header before TURN", CAPTURED, "udp", 3479, teams(_ALLOCATE), "turn", "Allocate", "teams"),
    Sample("Teams' header over TCP", CAPTURED, "tcp", 443, teams(_ALLOCATE), "turn", "Allocate", "teams"),
    Sample(
        "Teams' TURN over TCP",
        CAPTURED,
        "tcp",
        443,
        ms_turn(_TEAMS_TCP_ALLOCATE),
        "turn",
        "Allocate",
        "ms-turn",
    ),
    Sample(
        "the same without the cookie",
        "libnice",
        "tcp",
        443,
        ms_turn(_MICROSOFT_ALLOCATE),
        "classic-stun",
        "Allocate",
        "ms-turn",
    ),
    Sample(
        "a check through Microsoft's relay",
        MADE,
        "tcp",
        443,
        ms_turn(_ICE_CHECK, 3),
        "ice",
        "Binding",
        "ms-turn",
    ),
    Sample("pseudo-TLS", CAPTURED, "tcp", 443, PSEUDO_TLS, "turn-tls", "pseudo-TLS"),
    Sample(
        "a check through Telegram's relay",
        CAPTURED,
        "udp",
        596,
        telegram(_ICE_CHECK),
        "ice",
        framing="telegram",
    ),
    Sample("Telegram's self info", CAPTURED, "udp", 596, TELEGRAM_SELF, "telegram", "SelfInfo"),
    Sample("Telegram's peer info", CAPTURED, "udp", 521, TELEGRAM_PEER, "telegram", "PeerInfo"),
    Sample("Discord's IP discovery", CAPTURED, "udp", 50004, _DISCORD, "discord", "IPDiscovery"),
    Sample("TURN over TCP to 3478", CAPTURED, "tcp", 3478, _ALLOCATE, "turn", "Allocate"),
    Sample("TURN over TCP to 443", CAPTURED, "tcp", 443, _ALLOCATE, "turn", "Allocate"),
    Sample("TURN over TCP to 80", CAPTURED, "tcp", 80, _ALLOCATE, "turn", "Allocate"),
    Sample("two messages in one segment", CAPTURED, "tcp", 3478, message(0x0001) + _ALLOCATE),
    Sample("ICE-TCP", "RFC 6544", "tcp", 9, framed(rfc5769.REQUEST), "ice", framing="rfc4571"),
    Sample("two ICE-TCP frames", "RFC 6544", "tcp", 50005, framed(message(0x0001)) * 2, framing="rfc4571"),
    Sample("TURN over TLS", "RFC 8446 §5.1", "tcp", 5349, _CLIENT_HELLO, "turn-tls", "TLS"),
    Sample("TURN over TLS to 3478", "RFC 8446 §5.1", "tcp", 3478, _CLIENT_HELLO, "turn-tls", "TLS"),
    Sample("TURN over DTLS", "RFC 6347 §4.1", "udp", 5349, _DTLS_HELLO, "turn-tls", "DTLS"),
    Sample("ChannelData", "RFC 8656 §12.4", "udp", 3478, _LOW_CHANNEL, "turn", "ChannelData"),
    Sample("ChannelData over TCP", "RFC 8656 §12.4", "tcp", 3478, _HIGH_CHANNEL, "turn", "ChannelData"),
]

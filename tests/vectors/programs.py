"""STUN as real programs send it: each is a first packet that shows a server the client's address.

Made by hand from what public captures of these programs show: types, lengths, attributes, framing and
ports are as captured; transaction IDs, names and keys are invented.
"""

import struct
from dataclasses import dataclass
from typing import Literal

from vectors import rfc5769

COOKIE = bytes.fromhex("2112a442")
ID = bytes(range(0x31, 0x3D))  # 12 bytes
CLASSIC_ID = bytes(range(0x51, 0x61))  # 16 bytes, RFC 3489 §11.1


def attribute(kind: int, value: bytes, padding: bool = True) -> bytes:
    """RFC 8489 §14, with or without the padding to 4 bytes."""
    return struct.pack("!HH", kind, len(value)) + value + (bytes(-len(value) % 4) if padding else b"")


def message(kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    """RFC 8489 §5; `length` overrides the length field."""
    return struct.pack("!HH", kind, len(body) if length is None else length) + COOKIE + ID + body


def classic(kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    """RFC 3489 §11.1: 16 bytes of transaction ID, no cookie."""
    return struct.pack("!HH", kind, len(body) if length is None else length) + CLASSIC_ID + body


def framed(stun: bytes) -> bytes:
    """RFC 4571 §2."""
    return struct.pack("!H", len(stun)) + stun


def teams(stun: bytes) -> bytes:
    """Teams' header: ff 10, the length of what follows, 8 bytes of session."""
    return b"\xff\x10" + struct.pack("!H", len(stun) + 8) + b"SESSION!" + stun


@dataclass(frozen=True)
class Sample:
    """A payload and what is to be found in it."""

    name: str
    transport: Literal["udp", "tcp"]
    port: int
    payload: bytes
    protocol: str
    method: str
    framing: str = "plain"


_UDP_TRANSPORT = attribute(0x0019, bytes([17, 0, 0, 0]))  # RFC 8656 §18.7
_ALLOCATE = message(0x0003, _UDP_TRANSPORT)
_DISCORD = bytes.fromhex("00010046") + bytes.fromhex("0006f1c4") + bytes(66)

SAMPLES = [
    Sample("a bare header of 20 bytes", "udp", 19302, message(0x0001), "stun", "Binding"),
    Sample("a bare header to port 443", "udp", 443, message(0x0001), "stun", "Binding"),
    Sample("a bare header to port 80", "udp", 80, message(0x0001), "stun", "Binding"),
    Sample("a bare header to port 53", "udp", 53, message(0x0001), "stun", "Binding"),
    Sample("RFC 5769's request", "udp", 3478, rfc5769.REQUEST, "ice", "Binding"),
    Sample("RFC 5769's long-term request", "udp", 3478, rfc5769.LONG_TERM_REQUEST, "ice", "Binding"),
    Sample("RFC 5769's response", "udp", 40000, rfc5769.IPV4_RESPONSE, "stun", "Binding"),
    Sample("the cookie in 8 bytes, cut there", "udp", 3478, message(0x0001)[:8], "stun", "Binding"),
    Sample("GOOG_PING of libwebrtc", "udp", 50001, message(0x0200), "stun", "GooglePing"),
    Sample("WhatsApp's allocate, unpadded", "udp", 3478,
           message(0x0003, attribute(0x4000, b"\x01\x02\x03\x04\x05", padding=False)
                   + attribute(0x4002, b"relay", padding=False)), "turn", "Allocate"),
    Sample("Teams' allocate, length no multiple of 4", "udp", 3479,
           message(0x0003, _UDP_TRANSPORT + attribute(0x8055, bytes(3), padding=False)), "turn", "Allocate"),
    Sample("a length field that says too little", "udp", 3478, message(0x0003, _UDP_TRANSPORT, length=4),
           "turn", "Allocate"),
    Sample("a length field that says too much", "udp", 3478, message(0x0003, _UDP_TRANSPORT, length=999),
           "turn", "Allocate"),
    Sample("bytes after the end", "udp", 3478, message(0x0001) + b"\x00\x17extra", "stun", "Binding"),
    Sample("an indication to keep the NAT open", "udp", 50002, message(0x0011), "stun", "Binding"),
    *(
        Sample(f"WhatsApp's {kind:#06x}", "udp", 3478, message(kind, attribute(0x4000, bytes(16))),
               "stun", f"0x{0x200 | kind & 0xF:04x}")
        for kind in range(0x0800, 0x0806)
    ),
    Sample("an RFC 3489 client's bare request", "udp", 3478, classic(0x0001), "classic-stun", "Binding"),
    Sample("an RFC 3489 client's CHANGE-REQUEST", "udp", 10000, classic(0x0001, attribute(0x0003, bytes(4))),
           "classic-stun", "Binding"),
    Sample("Zoom's request, attribute 0x0101", "udp", 3478, classic(0x0001, attribute(0x0101, b"Z" * 20)),
           "classic-stun", "Binding"),
    Sample("Zoom's request to 3479", "udp", 3479, classic(0x0001, attribute(0x0101, b"Z" * 20)),
           "classic-stun", "Binding"),
    Sample("Microsoft's data indication 0x0115", "udp", 50003, classic(0x0115, attribute(0x0013, bytes(8))),
           "classic-stun", "0x0005"),
    Sample("Microsoft's classic allocate", "udp", 3478,
           classic(0x0003, attribute(0x000F, bytes.fromhex("72c64bc6"))), "classic-stun", "Allocate"),
    Sample("Teams' header before TURN", "udp", 3479, teams(_ALLOCATE), "turn", "Allocate", "teams"),
    Sample("Teams' header over TCP", "tcp", 443, teams(_ALLOCATE), "turn", "Allocate", "teams"),
    Sample("Discord's IP discovery", "udp", 50004, _DISCORD, "discord", "IPDiscovery"),
    Sample("TURN over TCP to 3478", "tcp", 3478, _ALLOCATE, "turn", "Allocate"),
    Sample("TURN over TCP to 443", "tcp", 443, _ALLOCATE, "turn", "Allocate"),
    Sample("TURN over TCP to 80", "tcp", 80, _ALLOCATE, "turn", "Allocate"),
    Sample("two messages in one segment", "tcp", 3478, message(0x0001) + _ALLOCATE, "stun", "Binding"),
    Sample("ICE-TCP", "tcp", 9, framed(rfc5769.REQUEST), "ice", "Binding", "rfc4571"),
    Sample("two ICE-TCP frames in one segment", "tcp", 50005, framed(message(0x0001)) * 2,
           "stun", "Binding", "rfc4571"),
    Sample("TURN over TLS", "tcp", 5349, bytes.fromhex("1603010200010001fc0303"), "turn-tls", "TLS"),
    Sample("TURN over TLS to 3478", "tcp", 3478, bytes.fromhex("1603010200010001fc0303"), "turn-tls", "TLS"),
    Sample("TURN over DTLS", "udp", 5349, bytes.fromhex("16fefd0000000000000000007a01"), "turn-tls", "DTLS"),
    Sample("ChannelData over UDP", "udp", 3478, bytes.fromhex("40010004") + b"data", "turn", "ChannelData"),
    Sample("ChannelData over TCP", "tcp", 3478, bytes.fromhex("4fff0004") + b"data", "turn", "ChannelData"),
]  # fmt: skip

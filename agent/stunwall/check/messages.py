"""What is sent: messages that ask for the own address, as programs send them, and one that does not. No I/O."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from stunwall.model import Transport
from stunwall.stun.message import HEADER, MAGIC_COOKIE

# Of all messages, and of the packets beside them: rules, routes and routers may treat another port in another way.
PORT = 3478
CONTROL_PORT = 33434  # in the VPN, which may block the port of STUN; as traceroute(8) uses it
_BINDING, _ALLOCATE = 0x0001, 0x0003  # RFC 8489 §18.2, RFC 8656 §17


@dataclass(frozen=True, slots=True)
class Variant:
    """A message that tells a server's answerer the own address; `payload` makes a new one, with a random part."""

    name: str
    transport: Transport
    payload: Callable[[], bytes]


def control() -> bytes:
    """Return 32 bytes that are no such message: of none of them the first two bits are set (RFC 7983 §7)."""
    return b"\xfe" + os.urandom(31)


def _stun(kind: int = _BINDING) -> bytes:
    return struct.pack("!HH", kind, 0) + MAGIC_COOKIE + os.urandom(12)


def _allocate() -> bytes:
    requested = struct.pack("!HHB3x", 0x0019, 4, 17)  # REQUESTED-TRANSPORT: UDP (RFC 8656 §18.7)
    return struct.pack("!HH", _ALLOCATE, len(requested)) + MAGIC_COOKIE + os.urandom(12) + requested


def _classic() -> bytes:
    return struct.pack("!HH", _BINDING, 0) + os.urandom(16)  # RFC 3489 §11.1


def _discord() -> bytes:
    return struct.pack("!HHI", 1, 70, int.from_bytes(os.urandom(4), "big")) + bytes(66)


def _framed() -> bytes:
    return struct.pack("!H", HEADER) + _stun()  # RFC 4571 §2


VARIANTS = (
    Variant("STUN", Transport.UDP, _stun),
    Variant("STUN", Transport.TCP, _stun),
    Variant("TURN Allocate", Transport.UDP, _allocate),
    Variant("TURN Allocate", Transport.TCP, _allocate),
    Variant("classic STUN", Transport.UDP, _classic),
    Variant("STUN, framed as ICE does over TCP", Transport.TCP, _framed),
    Variant("Discord's IP discovery", Transport.UDP, _discord),
)
USUAL = tuple(each for each in VARIANTS if each.name == "STUN")
"""What is tried without --all."""

"""STUN messages: RFC 8489, TURN (RFC 8656), ICE (RFC 8445), classic STUN (RFC 3489). No I/O."""

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from stunwall.model import Address, StunwallError, Transport

MAGIC_COOKIE = bytes.fromhex("2112a442")  # RFC 8489 §5
HEADER = 20  # bytes, RFC 8489 §5
# [MS-TURN] §2.2.2.8: the first attribute of Microsoft's TURN messages, from before RFC 5389 made the cookie above.
MS_MAGIC_COOKIE = bytes.fromhex("000f000472c64bc6")

# RFC 3489 §11.1 (binding, shared secret) and draft-rosenberg-midcom-turn-08 as Microsoft's MS-TURN kept
# it (allocate 3, send 4, data indication 0x0115). The wall has the same list.
CLASSIC_TYPES = frozenset(
    {0x0001, 0x0101, 0x0111, 0x0002, 0x0102, 0x0112, 0x0003, 0x0103, 0x0113, 0x0004, 0x0115}
)
# RFC 8489 §6.1: a message over UDP keeps to 548 bytes where the path's MTU is unknown. The wall lists
# every length up to this one, so both know the same messages.
CLASSIC_MAX = 548  # bytes

# Attribute types
MAPPED_ADDRESS = 0x0001  # RFC 8489 §14.1
USERNAME = 0x0006  # RFC 8489 §14.3
MESSAGE_INTEGRITY = 0x0008  # RFC 8489 §14.5
ERROR_CODE = 0x0009  # RFC 8489 §14.8
REALM = 0x0014  # RFC 8489 §14.9
NONCE = 0x0015  # RFC 8489 §14.10
MESSAGE_INTEGRITY_SHA256 = 0x001C  # RFC 8489 §14.6
_BINDING_REQUEST, _BINDING_SUCCESS = b"\x00\x01", b"\x01\x01"  # RFC 8489 §5, §18.2
XOR_MAPPED_ADDRESS = 0x0020  # RFC 8489 §14.2
MS_XOR_MAPPED_ADDRESS = 0x8020  # [MS-TURN] §2.2.2.16
PRIORITY = 0x0024  # RFC 8445 §16.1
USE_CANDIDATE = 0x0025
ICE_CONTROLLED = 0x8029
ICE_CONTROLLING = 0x802A

_ICE = frozenset({USERNAME, PRIORITY, USE_CANDIDATE, ICE_CONTROLLED, ICE_CONTROLLING})

# IANA registry of STUN methods
METHODS = {
    0x000: "Reserved",
    0x001: "Binding",
    0x002: "SharedSecret",
    0x003: "Allocate",
    0x004: "Refresh",
    0x006: "Send",
    0x007: "Data",
    0x008: "CreatePermission",
    0x009: "ChannelBind",
    0x00A: "Connect",
    0x00B: "ConnectionBind",
    0x00C: "ConnectionAttempt",
    0x080: "GooglePing",
}
ALLOCATE = 0x003
_TURN_METHODS = frozenset({0x003, 0x004, 0x006, 0x007, 0x008, 0x009, 0x00A, 0x00B, 0x00C})


class StunError(StunwallError):
    """The bytes are too few for a STUN message."""


class MessageClass(IntEnum):
    """RFC 8489 §5: the bits C1 and C0."""

    REQUEST = 0b00
    INDICATION = 0b01
    SUCCESS = 0b10
    ERROR = 0b11


_CLASSES = tuple(MessageClass)


class Message(NamedTuple):
    """A STUN message, read leniently: real clients are sloppy about lengths and padding.

    `type`, `length`: the header's fields, 16 bits each. `transaction_id`: 12 bytes, or 16 where there is
    no cookie (RFC 3489 §11.1); fewer if the message is cut. `attributes`: (type, value) in their order, as
    far as they parse. `exact`: the length field is right and every attribute parses.
    """

    type: int
    length: int
    cookie: bool
    transaction_id: bytes
    attributes: tuple[tuple[int, bytes], ...]
    exact: bool

    @property
    def method(self) -> int:
        """The 12 bits of the method (RFC 8489 §5, figure 3)."""
        return self.type & 0x000F | (self.type & 0x00E0) >> 1 | (self.type & 0x3E00) >> 2

    @property
    def message_class(self) -> MessageClass:
        """Request, indication, success or error (RFC 8489 §5)."""
        return _CLASSES[(self.type & 0x0100) >> 7 | (self.type & 0x0010) >> 4]

    @property
    def name(self) -> str:
        """The method's name as IANA has it, else its number as in `0x0800`."""
        return METHODS.get(self.method, f"0x{self.method:04x}")

    @property
    def is_turn(self) -> bool:
        """Whether the method is one of TURN's."""
        return self.method in _TURN_METHODS

    @property
    def is_ice(self) -> bool:
        """Whether it is a connectivity check between peers: a Binding with an attribute of ICE."""
        return self.method == 0x001 and any(type_ in _ICE for type_, _ in self.attributes)

    @property
    def has_credentials(self) -> bool:
        """Whether it carries MESSAGE-INTEGRITY: an answer without it would be ignored."""
        credentials = (MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256)
        return bool(self.attributes) and any(type_ in credentials for type_, _ in self.attributes)


def mapped_address(message: Message) -> Address | None:
    """Return the address that a server saw: XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS (RFC 8489 §14.1, §14.2).

    In that order: MAPPED-ADDRESS is the relay's own in Microsoft's TURN ([MS-TURN] §3.2.5.1).
    """
    key = (MAGIC_COOKIE if message.cookie else b"") + message.transaction_id
    for wanted in (XOR_MAPPED_ADDRESS, MS_XOR_MAPPED_ADDRESS, MAPPED_ADDRESS):
        for type_, value in message.attributes:
            if type_ != wanted or len(value) < 8:
                continue
            # A byte of zeros, the family (1 or 2), the port, the address.
            family, address = value[1], value[4:]
            if type_ != MAPPED_ADDRESS:
                address = bytes(one ^ other for one, other in zip(address, key, strict=False))
            if family == 1 and len(address) == 4:
                return IPv4Address(address)
            if family == 2 and len(address) == 16:
                return IPv6Address(address)
    return None


def has_cookie(payload: bytes) -> bool:
    """Whether the two top bits are zero and the magic cookie stands at its place (RFC 8489 §5).

    That is the whole test: with the cookie it is STUN, whatever the method, the length or the attributes.
    """
    return payload[4:8] == MAGIC_COOKIE and payload[0] < 0x40


def is_classic(payload: bytes, size: int) -> bool:
    """Whether this is a STUN message without the cookie (RFC 3489): known type, exact length, attributes.

    `size` is how many bytes it has. `payload` may hold fewer, if it is cut: what is missing counts as it should be.
    """
    # RFC 8489 §5: all attributes are padded to 4 bytes. The wall's list of lengths goes in the same steps.
    if not HEADER <= size <= CLASSIC_MAX or size % 4 or len(payload) < 4:
        return False
    type_, length = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
    if type_ not in CLASSIC_TYPES or size != HEADER + length:
        return False
    return _attributes(payload[HEADER:size], length)[1]


def parse(payload: bytes) -> Message:
    """Read a message that starts where `payload` starts; what follows its end is left alone.

    Raises StunError if there are fewer than 8 bytes, the type, length and cookie.
    """
    if len(payload) < 8:
        raise StunError(f"a STUN message starts with 8 bytes, {len(payload)} seen")
    length = int.from_bytes(payload[2:4], "big")
    cookie = payload[4:8] == MAGIC_COOKIE
    attributes, fit = _attributes(payload[HEADER : HEADER + length], length) if length else ((), True)
    return Message(
        type=int.from_bytes(payload[:2], "big"),
        length=length,
        cookie=cookie,
        transaction_id=payload[8 if cookie else 4 : HEADER],
        attributes=attributes,
        exact=fit and len(payload) == HEADER + length,
    )


def _attributes(body: bytes, length: int) -> tuple[tuple[tuple[int, bytes], ...], bool]:
    """Return the attributes that are whole, and whether none ends behind the message's `length`.

    `body` may be cut, and hold less than `length`.
    """
    # RFC 8489 §14: type, length, value, and padding to 4 bytes, which some leave out at the end.
    found: list[tuple[int, bytes]] = []
    offset = 0
    while offset < len(body):
        start = offset + 4
        if start > length:
            return tuple(found), False
        if start > len(body):
            break
        end = start + int.from_bytes(body[offset + 2 : start], "big")
        if end > length:
            return tuple(found), False
        if end > len(body):
            break
        found.append((int.from_bytes(body[offset : offset + 2], "big"), body[start:end]))
        offset = end + (-(end - start) % 4)
    return tuple(found), True


def success_response(request: bytes, address: Address, port: int) -> bytes | None:
    """Return the response to a Binding Request that says that it came from there, None if it is no such request.

    With the cookie alone: RFC 3489's clients get none.
    """
    if len(request) < HEADER or not has_cookie(request) or request[:2] != _BINDING_REQUEST:
        return None
    key = request[4:HEADER]
    hidden = bytes(one ^ other for one, other in zip(address.packed, key, strict=False))
    family = 1 if address.version == 4 else 2  # RFC 8489 §14.1
    value = bytes((0, family)) + (port ^ int.from_bytes(key[:2], "big")).to_bytes(2, "big") + hidden
    body = XOR_MAPPED_ADDRESS.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
    return _BINDING_SUCCESS + len(body).to_bytes(2, "big") + key + body


def error_response(
    request: bytes, transport: Transport = Transport.UDP, message: Message | None = None
) -> bytes | None:
    """Return the error response to a request that came by `transport`, or None where none would be believed.

    `message` is what `parse` returns of the request, if that is known already.

    It is 400 (Bad Request), of which a page in Chromium sees nothing. To an Allocate Request over UDP it is 401
    (Unauthorized), first to the one without credentials and then to the one with them, as a TURN server refuses a
    wrong password: browsers ignore every other error until they give up. Over TCP, the reset that follows ends it
    (SECURITY.md, "What a page can tell").
    None: not a request, cut short, or with credentials, whose sender expects a keyed answer. The response
    repeats bytes 4 to 20 of the request: cookie and transaction ID, or RFC 3489's longer transaction ID
    (RFC 8489 §6.3.1, RFC 3489 §8.1). It also repeats Microsoft's magic cookie, without which its clients
    ignore a response ([MS-TURN] §3.1.10).
    """
    if len(request) < HEADER:
        return None
    message = message or parse(request)
    if message.message_class is not MessageClass.REQUEST:
        return None
    microsofts = request.startswith(MS_MAGIC_COOKIE, HEADER)
    if message.method == ALLOCATE and message.cookie and transport is Transport.UDP and not microsofts:
        body = _challenge(message)
    elif message.has_credentials:
        return None
    else:
        body = _BAD_REQUEST if message.cookie else _CLASSIC_BAD_REQUEST
        if microsofts:
            body = MS_MAGIC_COOKIE + body
    header = (message.type | 0x0110).to_bytes(2, "big") + len(body).to_bytes(2, "big")
    return header + request[4:HEADER] + body


def _challenge(request: Message) -> bytes:
    # As coturn does it. RFC 8489 §9.2.5: a client that gets the realm again which it has just used gives up.
    nonce = request.transaction_id[:8].hex().encode()
    return _error(4, 1, b"Unauthorized") + _attribute(NONCE, nonce) + _attribute(REALM, b"turn")


def _error(class_: int, number: int, phrase: bytes) -> bytes:
    # RFC 8489 §14.8: 21 reserved bits, class, number, reason phrase.
    return _attribute(ERROR_CODE, bytes((0, 0, class_, number)) + phrase)


def _attribute(type_: int, value: bytes) -> bytes:
    return type_.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)


_BAD_REQUEST = _error(4, 0, b"Bad Request")
# RFC 3489 §11.2.9: a multiple of 4 bytes, filled with spaces.
_CLASSIC_BAD_REQUEST = _error(4, 0, b"Bad Request ")

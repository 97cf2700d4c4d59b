"""A packet in words: each part with its bytes. No I/O."""

from ipaddress import ip_address
from typing import NamedTuple
from zlib import crc32

from stunwall.model import Datagram
from stunwall.stun import attributes, detect
from stunwall.stun import message as stun
from stunwall.stun import packet as ip
from stunwall.text import endpoint

_TEXTS = frozenset(
    {stun.USERNAME, 0x0014, 0x0015, 0x8003, 0x8022}
)  # REALM, NONCE, ALTERNATE-DOMAIN, SOFTWARE
_TRANSPORTS = {6: "TCP", 17: "UDP"}
_FAMILIES = {1: "IPv4", 2: "IPv6"}
_FINGERPRINT_XOR = 0x5354554E  # RFC 8489 §14.7


class Part(NamedTuple):
    """Some bytes of a packet, and what they mean. `value` may hold any character: print it with `printable`."""

    raw: bytes
    name: str
    value: str


def decode(packet: bytes) -> list[Part]:
    """Return the parts of an IP packet in their order. Never raises; the bytes of all parts are the packet."""
    try:
        datagram = ip.parse(packet)
    except ip.PacketError as error:
        return [Part(packet, "Packet", f"cannot be decoded: {error}")] if packet else []
    detection = detect.classify(datagram) or detect.classify_response(datagram)
    payload = len(packet) - len(datagram.payload)
    parts = [Part(packet[:payload], _headers(datagram), _ends(datagram))]
    if detection is None or detection.message is None:
        what = f"{detection.protocol} {detection.method}" if detection else "not recognised"
        return [*parts, *_some(packet[payload:], "Payload", what)]
    start = len(packet) - len(detection.stun)
    parts += _some(packet[payload:start], "Framing", str(detection.framing))
    return parts + _message(detection.stun, detection.message)


def _some(raw: bytes, name: str, value: str) -> list[Part]:
    return [Part(raw, name, value)] if raw else []


def _headers(datagram: Datagram) -> str:
    lite = "-Lite" if datagram.lite else ""
    return f"IPv{datagram.source.version}, {datagram.transport.upper()}{lite}"


def _ends(datagram: Datagram) -> str:
    source = endpoint(str(datagram.source), datagram.source_port)
    opens = ", opens a connection (SYN)" if datagram.tcp and datagram.tcp.opens else ""
    return f"{source} to {endpoint(str(datagram.destination), datagram.destination_port)}{opens}"


def _message(raw: bytes, message: stun.Message) -> list[Part]:
    end = stun.HEADER + message.length
    identifier = f"transaction ID {message.transaction_id.hex()}"
    kind = message.message_class.name.lower()
    cookie = "" if message.cookie else " without the magic cookie (RFC 3489)"
    header = f"{message.name} {kind}{cookie}, {message.length} bytes of attributes, {identifier}"
    parts = [Part(raw[: stun.HEADER], "STUN", header)]
    offset = stun.HEADER
    for type_, value in message.attributes:
        # RFC 8489 §14: the padding to 4 bytes is no part of the length. Some leave it out at the end.
        following = min(offset + 4 + len(value) + -len(value) % 4, end)
        described = _fingerprint(raw[:offset], value) if type_ == 0x8028 else _value(type_, value, raw)
        parts.append(Part(raw[offset:following], attributes.name(type_), described))
        offset = following
    parts += _some(raw[offset:end], "Unreadable", "no whole attribute")
    return parts + _some(raw[max(offset, end) :], "Rest", "behind the message")


def _value(type_: int, value: bytes, raw: bytes) -> str:
    """Return the value of an attribute in the message `raw`, or its length if it can't be read."""
    described = ""
    if type_ in attributes.PLAIN_ADDRESSES:
        described = _address(value, bytes(20))
    elif type_ in attributes.XOR_ADDRESSES:
        # §14.2: the port with the cookie's first 16 bits, the address with the cookie and the transaction ID.
        described = _address(value, stun.MAGIC_COOKIE[:2] + b"\0\0" + raw[4:20])
    elif type_ in _TEXTS:
        described = f'"{value.decode(errors="replace")}"'
    elif type_ in (stun.ERROR_CODE, 0x8001) and len(value) >= 4:  # §14.8, RFC 8656 §18.12
        phrase = value[4:].decode(errors="replace").rstrip()
        described = f"{(value[2] & 7) * 100 + value[3]} {phrase}".rstrip()
    elif type_ == 0x000A:
        types = (int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value) - 1, 2))
        described = ", ".join(map(attributes.name, types))
    elif len(value) == 4:
        described = _number(type_, value)
    elif type_ in (stun.ICE_CONTROLLED, stun.ICE_CONTROLLING) and len(value) == 8:
        described = f"tie-breaker 0x{value.hex()}"
    elif type_ in (stun.MESSAGE_INTEGRITY, stun.MESSAGE_INTEGRITY_SHA256):
        described = "not checked, as that takes the password"
    return described or (f"{len(value)} bytes" if value else "empty")


def _address(value: bytes, key: bytes) -> str:
    port = bytes(one ^ other for one, other in zip(value[2:4], key, strict=False))
    address = bytes(one ^ other for one, other in zip(value[4:], key[4:], strict=False))
    if (len(value), value[1:2]) not in ((8, b"\1"), (20, b"\2")) or len(address) != len(value) - 4:
        return ""
    return endpoint(str(ip_address(address)), int.from_bytes(port, "big"))


def _number(type_: int, value: bytes) -> str:
    number = int.from_bytes(value, "big")
    match type_:
        case stun.PRIORITY:
            return f"{number:,}"
        case 0x000D:  # LIFETIME, RFC 8656 §18.2
            return f"{number:,} seconds"
        case 0x000C:  # CHANNEL-NUMBER, RFC 8656 §18.1
            return f"0x{number >> 16:04x}"
        case 0x0019:  # REQUESTED-TRANSPORT, RFC 8656 §18.7: an IP protocol
            return _TRANSPORTS.get(value[0], f"IP protocol {value[0]}")
        case 0x0017 | 0x8000:  # REQUESTED-, ADDITIONAL-ADDRESS-FAMILY, RFC 8656 §18.6, §18.11
            return _FAMILIES.get(value[0], f"family {value[0]}")
    return ""


def _fingerprint(before: bytes, value: bytes) -> str:
    right = crc32(before) ^ _FINGERPRINT_XOR == int.from_bytes(value, "big") and len(value) == 4
    return "the checksum is right" if right else "the checksum is wrong"

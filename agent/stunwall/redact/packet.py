"""An IP packet without what it tells of its sender. No I/O.

It is made anew from what is known to be harmless: ports, lengths, pseudonyms for the addresses, and of a STUN message
its type, the types and lengths of its attributes, and a few numbers. All other bytes of the payload are zero: names,
the transaction ID, and MESSAGE-INTEGRITY and FINGERPRINT, by which a guess of what was replaced could be checked. The
checksum of UDP or TCP would serve for that, too: it is zero. IP options, extension headers and TCP options are left
out.
"""

import struct
from collections.abc import Callable
from ipaddress import ip_address

from stunwall.model import Address, Datagram, Framing, Transport
from stunwall.stun import attributes, detect
from stunwall.stun import message as stun
from stunwall.stun import packet as ip

Pseudonym = Callable[[Address], Address]

_UDP_LITE = 136  # IANA's Assigned Internet Protocol Numbers
_SYN, _PSH_ACK = 0x02, 0x18  # RFC 9293 §3.1
_MORE_FRAGMENTS = 0x2000  # RFC 791 §3.1
# CHANGE-REQUEST, UNKNOWN-ATTRIBUTES, CHANNEL-NUMBER, LIFETIME, REQUESTED-ADDRESS-FAMILY, REQUESTED-TRANSPORT, PRIORITY,
# ADDITIONAL-ADDRESS-FAMILY: they say nothing of the sender.
_NUMBERS = frozenset({0x0003, 0x000A, 0x000C, 0x000D, 0x0017, 0x0019, 0x0024, 0x8000})
# How many bytes of a framing's header are kept: those that tell it from others.
_KEPT = {Framing.PLAIN: 0, Framing.RFC4571: 2, Framing.MS_TURN: 4, Framing.TEAMS: 4, Framing.TELEGRAM: 0}
# RFC 8489 §14.1: the sizes of the value, by the family in its second byte.
_SIZES = {1: 8, 2: 20}


def redacted(packet: bytes, pseudonym: Pseudonym) -> bytes:
    """Return the packet without what it tells of its sender, b"" if it cannot be parsed. Never raises."""
    try:
        datagram = ip.parse(packet)
    except ip.PacketError:
        return b""
    payload = _payload(datagram, pseudonym)
    return _network(datagram, pseudonym) + _transport(datagram) + payload


def _network(datagram: Datagram, pseudonym: Pseudonym) -> bytes:
    source, destination = pseudonym(datagram.source).packed, pseudonym(datagram.destination).packed
    size = len(_transport(datagram)) + datagram.lengths[0]
    protocol = _UDP_LITE if datagram.lite else datagram.transport.number
    if datagram.family == 6:  # RFC 8200 §3; a jumbogram has the length 0
        return struct.pack("!IHBB", 6 << 28, size & 0xFFFF, protocol, 64) + source + destination
    fragment = _MORE_FRAGMENTS if datagram.partial else 0
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size & 0xFFFF, 0, fragment, 64, protocol, 0)
    head += source + destination
    return head[:10] + _checksum(head) + head[12:]


def _checksum(header: bytes) -> bytes:
    # RFC 1071: the ones' complement of the ones' complement sum of all 16 bits.
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    return (0xFFFF - (total % 0xFFFF or 0xFFFF)).to_bytes(2, "big")


def _transport(datagram: Datagram) -> bytes:
    ports = struct.pack("!HH", datagram.source_port, datagram.destination_port)
    if datagram.transport is Transport.TCP:
        flags = _SYN if datagram.tcp and datagram.tcp.opens else _PSH_ACK
        return ports + struct.pack("!IIBBHHH", 0, 0, 5 << 4, flags, 0, 0, 0)
    return ports + struct.pack("!HH", 8 + datagram.lengths[-1] & 0xFFFF, 0)


def _payload(datagram: Datagram, pseudonym: Pseudonym) -> bytes:
    whole = len(datagram.payload)
    found = detect.classify(datagram) or detect.classify_response(datagram)
    if found is None or found.message is None:
        return bytes(whole)
    framing = datagram.payload[: whole - len(found.stun)]
    kept = framing[: _KEPT[found.framing]].ljust(len(framing), b"\0")
    return (kept + _message(found.stun, found.message, pseudonym)).ljust(whole, b"\0")[:whole]


def _message(raw: bytes, message: stun.Message, pseudonym: Pseudonym) -> bytes:
    head = raw[: 8 if message.cookie else 4].ljust(stun.HEADER, b"\0")
    made = [head]
    for type_, value in message.attributes:
        value = _value(type_, value, raw, head, pseudonym)
        made.append(struct.pack("!HH", type_, len(value)) + value + bytes(-len(value) % 4))
    return b"".join(made)


def _value(type_: int, value: bytes, raw: bytes, head: bytes, pseudonym: Pseudonym) -> bytes:
    """Return what remains of an attribute's value; `raw` and `head` begin as the message did and will."""
    if type_ in _NUMBERS or struct.pack("!HH", type_, len(value)) + value == stun.MS_MAGIC_COOKIE:
        return value
    if len(value) >= 2 and _SIZES.get(value[1]) == len(value):
        if type_ in attributes.PLAIN_ADDRESSES:
            return value[:4] + pseudonym(ip_address(value[4:])).packed
        if type_ in attributes.XOR_ADDRESSES:
            # RFC 8489 §14.2: with the cookie and the transaction ID; the port with the cookie alone.
            hidden = pseudonym(ip_address(_xor(value[4:], raw[4:20])))
            return value[:4] + _xor(hidden.packed, head[4:20])
    if type_ == stun.ERROR_CODE:  # §14.8: the number without the phrase
        return value[:4].ljust(len(value), b"\0")
    return bytes(len(value))


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other.ljust(len(one), b"\0"), strict=False))

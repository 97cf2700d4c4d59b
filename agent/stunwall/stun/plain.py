"""Plain Binding Requests, as browsers send them: read and refused at once, as a page waits for that. No I/O.

All of this comes to the same as packet.py, detect.py, message.py and queue/refusal.py, in a fifth of the time
(tests/unit/stun/test_plain.py).
"""

from struct import Struct

from stunwall.model import Plain
from stunwall.stun.message import HEADER, MAGIC_COOKIE, error_response

_START = bytes.fromhex("00010000") + MAGIC_COOKIE  # a Binding Request, without attributes
_SIZE = 28  # bytes of the UDP header and the message
# RFC 791 §3.1: version and header length; no fragment, whether it may be one or not.
_IPV4, _IPV4_WHOLE = 0x45, (0, 0x4000)
_IPV6 = 6
_UDP = 17
# Up to the protocol, addresses, ports, the length of UDP (RFC 768), the message up to its ID, the ID.
_DATAGRAM = "{0}s{0}s2s2sHxx8s12s"
_IPV4_PACKET = Struct("!BxHxxHxBxx" + _DATAGRAM.format(4))
_IPV6_PACKET = Struct("!BxxxHBx" + _DATAGRAM.format(16))  # RFC 8200 §3

_RESPONSE = error_response(_START + bytes(12)) or b""
_BEFORE_ID, _AFTER_ID = _RESPONSE[:8], _RESPONSE[HEADER:]
_LENGTH = 8 + len(_RESPONSE)  # bytes of UDP header and response
_PSEUDO = Struct("!II").pack(_LENGTH, _UDP)  # RFC 768, RFC 8200 §8.1: the end of the pseudo header
_U16 = Struct("!H").pack
_TTL = 64
_IPV4_HEADER = Struct("!BBHHHBBH").pack(_IPV4, 0, 20 + _LENGTH, 0, 0, _TTL, _UDP, 0)
_IPV6_HEADER = Struct("!IHBB").pack(_IPV6 << 28, _LENGTH, _UDP, _TTL)


def read(packet: bytes) -> Plain | None:
    """Return the plain Binding Request that an IP packet is, None for any other packet."""
    if len(packet) == 48:
        start, length, fragment, protocol, *ends, size, message, number = _IPV4_PACKET.unpack(packet)
        if start != _IPV4 or length != 48 or fragment not in _IPV4_WHOLE or protocol != _UDP:
            return None
    elif len(packet) == 68:
        start, length, protocol, *ends, size, message, number = _IPV6_PACKET.unpack(packet)
        if start >> 4 != _IPV6 or length != _SIZE or protocol != _UDP:
            return None
    else:
        return None
    if size != _SIZE or message != _START:
        return None
    source, destination, source_port, destination_port = ends
    return Plain(source, destination, source_port, destination_port, number)


def refusal(request: Plain) -> bytes:
    """Return the IP packet with the error response to the sender. The kernel fills in IPv4's checksum (raw(7))."""
    source, destination, source_port, destination_port, transaction_id = request
    ports = destination_port + source_port + _U16(_LENGTH)
    response = _BEFORE_ID + transaction_id + _AFTER_ID
    addresses = destination + source
    # RFC 1071 §1; 0 would mean 'no checksum' (RFC 768).
    total = int.from_bytes(addresses + _PSEUDO + ports + b"\0\0" + response, "big")
    checksum = 0xFFFF - total % 0xFFFF
    header = _IPV4_HEADER if len(source) == 4 else _IPV6_HEADER
    return header + addresses + ports + _U16(checksum) + response

"""Plain Binding Requests, as browsers send them: read and refused at once, as a page waits for that. No I/O.

All of this comes to the same as packet.py, detect.py, message.py and queue/refusal.py, in a fifth of the time
(tests/unit/stun/test_plain.py).
"""

from struct import Struct

from stunwall.model import Plain
from stunwall.stun.message import HEADER, MAGIC_COOKIE, error_response

_START = bytes.fromhex("00010000") + MAGIC_COOKIE  # a Binding Request, without attributes
_UDP_LENGTH = bytes.fromhex("001c")  # of the UDP header and the message
# RFC 791 §3.1: version and header length, and the total length; no fragment, whether it may be one or not; UDP.
_IPV4, _IPV4_LENGTH, _IPV4_WHOLE, _UDP = 0x45, bytes.fromhex("0030"), (bytes(2), bytes.fromhex("4000")), 17
_IPV6, _IPV6_LENGTH = 6, bytes.fromhex("001c11")  # RFC 8200 §3: payload length, next header

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
    if len(packet) == 48 and packet[0] == _IPV4:
        if packet[2:4] != _IPV4_LENGTH or packet[6:8] not in _IPV4_WHOLE or packet[9] != _UDP:
            return None
        source, destination, udp = packet[12:16], packet[16:20], packet[20:]
    elif len(packet) == 68 and packet[0] >> 4 == _IPV6:
        if packet[4:7] != _IPV6_LENGTH:
            return None
        source, destination, udp = packet[8:24], packet[24:40], packet[40:]
    else:
        return None
    if udp[4:6] != _UDP_LENGTH or udp[8:16] != _START:
        return None
    return Plain(source, destination, udp[:2], udp[2:4], udp[16:])


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

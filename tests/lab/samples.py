"""First packets of real programs: those that ask a server for the client's address, and those that don't."""

import os
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from socket import SOCK_DGRAM, SOCK_STREAM

from lab import messages
from lab.messages import attribute, message

Make = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Sample:
    """One packet's payload. `make(nonce)` uses the twelve bytes as transaction ID, if the packet has one."""

    name: str
    make: Make
    kind: int = SOCK_DGRAM
    port: int = 3478
    nonce: int = 12
    """How many bytes of the nonce the packet contains, from the start: what to look for on the wire."""


def _unpadded_length(nonce: bytes) -> bytes:
    # WhatsApp's and Teams' Allocate Requests: an attribute of 5 bytes without padding, so that the length is odd.
    private = struct.pack("!HH5s", 0x4000, 5, b"\1" * 5)
    transport = attribute(messages.REQUESTED_TRANSPORT, messages.UDP_TRANSPORT)
    return message(messages.ALLOCATE_REQUEST, transport + private, nonce)


def _trailing(nonce: bytes) -> bytes:
    return messages.binding_request(nonce) + b"\xde\xad\xbe\xef more than the length field names"


def _private_method(nonce: bytes) -> bytes:
    # WhatsApp's are 0x0800 to 0x0805.
    return message(0x0800, attribute(0x4001, os.urandom(16)), nonce)


def _classic(nonce: bytes, body: bytes = b"") -> bytes:
    # RFC 3489 §11.1: sixteen bytes of transaction ID, and no cookie.
    return struct.pack("!HH", 0x0001, len(body)) + nonce + b"\x00\x01\x02\x03" + body


def _classic_change_request(nonce: bytes) -> bytes:
    # RFC 3489 §11.2.4: a reply from another address and port is wanted.
    return _classic(nonce, attribute(0x0003, struct.pack("!I", 6)))


def _zoom(nonce: bytes) -> bytes:
    return _classic(nonce, attribute(0x0101, b"zoom-session-0001234"))


def _teams(nonce: bytes) -> bytes:
    inner = messages.allocate_request(nonce)
    return b"\xff\x10" + struct.pack("!H", len(inner) + 8) + b"session8" + inner


def _framed(nonce: bytes) -> bytes:
    # RFC 4571 §2
    inner = messages.binding_request(nonce)
    return struct.pack("!H", len(inner)) + inner


def _two(nonce: bytes) -> bytes:
    return messages.binding_request() + messages.allocate_request(nonce)


def _ice_check(nonce: bytes) -> bytes:
    # RFC 8445 §7.2.2: a connectivity check, sent to a peer.
    body = (
        attribute(messages.USERNAME, b"abcd:efgh")
        + attribute(messages.PRIORITY, struct.pack("!I", 1853824767))
        + attribute(messages.ICE_CONTROLLED, os.urandom(8))
        + attribute(messages.MESSAGE_INTEGRITY, os.urandom(20))
    )
    return message(messages.BINDING_REQUEST, body, nonce)


def _success(nonce: bytes) -> bytes:
    mapped = attribute(messages.XOR_MAPPED_ADDRESS, struct.pack("!BBH4s", 0, 1, 0x1234, os.urandom(4)))
    return message(messages.BINDING_SUCCESS, mapped, nonce)


def _indication(nonce: bytes) -> bytes:
    return message(messages.BINDING_INDICATION, b"", nonce)


def _discord(nonce: bytes) -> bytes:
    # Type, length, SSRC, address, port.
    return struct.pack("!HH4s64sH", 0x0001, 70, nonce[:4], b"", 0)


STUN = (
    Sample("binding_request", messages.binding_request),
    Sample("allocate_request", messages.allocate_request),
    Sample("binding_request_port_443", messages.binding_request, port=443),
    Sample("binding_request_port_53", messages.binding_request, port=53),
    Sample("binding_request_high_port", messages.binding_request, port=50001),
    Sample("unpadded_length", _unpadded_length),
    Sample("bytes_after_the_end", _trailing),
    Sample("private_method", _private_method),
    Sample("classic_without_cookie", _classic),
    Sample("classic_change_request", _classic_change_request),
    Sample("zoom_without_cookie", _zoom),
    Sample("teams_header", _teams),
    Sample("two_in_a_datagram", _two),
    Sample("ice_check_to_a_peer", _ice_check, port=50001),
    Sample("ice_success_to_a_peer", _success, port=50001),
    Sample("binding_indication", _indication),
    Sample("discord_discovery", _discord, port=50001, nonce=4),
    Sample("tcp_allocate_port_80", messages.allocate_request, SOCK_STREAM, 80),
    Sample("tcp_allocate_port_443", messages.allocate_request, SOCK_STREAM, 443),
    Sample("tcp_unpadded_length", _unpadded_length, SOCK_STREAM),
    Sample("tcp_private_method", _private_method, SOCK_STREAM),
    Sample("tcp_rfc4571", _framed, SOCK_STREAM),
    Sample("tcp_two_in_a_segment", _two, SOCK_STREAM),
    Sample("tcp_teams_header", _teams, SOCK_STREAM, 443),
)


def _dtls(nonce: bytes) -> bytes:
    # RFC 9147 §4: a handshake record of DTLS 1.2's version number.
    return b"\x16\xfe\xfd" + bytes(10) + nonce + os.urandom(150)


def _tls(size: int) -> Make:
    # RFC 8446 §5.1: a handshake record. Both its ends are to be looked for on the wire.
    def make(nonce: bytes) -> bytes:
        return b"\x16\x03\x01" + struct.pack("!H", 24 + size) + nonce + os.urandom(size) + nonce

    return make


def _channel_data(nonce: bytes) -> bytes:
    # RFC 8656 §12
    return struct.pack("!HH", 0x4000, 12) + nonce


UNANSWERED = (
    Sample("ice_check_with_credentials", _ice_check),
    Sample("dtls", _dtls),
    Sample("channel_data", _channel_data),
    Sample("discord_discovery", _discord, port=50001, nonce=4),
    Sample("tcp_ice_check_with_credentials", _ice_check, SOCK_STREAM),
    Sample("tcp_indication", _indication, SOCK_STREAM),
    Sample("tcp_channel_data", _channel_data, SOCK_STREAM),
    Sample("tcp_tls", _tls(400), SOCK_STREAM, 5349),
    # More than a segment, as a browser's with post-quantum keys.
    Sample("tcp_tls_of_several_segments", _tls(5000), SOCK_STREAM, 5349),
)
"""What has no STUN response that its sender would believe."""


def _dns(identifier: int, name: str = "example") -> bytes:
    question = bytes([len(name)]) + name.encode() + b"\0" + struct.pack("!HH", 1, 1)
    return struct.pack("!HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + question


def _client_hello(_: bytes) -> bytes:
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.org")
    with suppress(ssl.SSLWantReadError):  # it has written its ClientHello and waits for the server
        connection.do_handshake()
    return outgoing.read()


def _quic(nonce: bytes) -> bytes:
    # RFC 9000 §17.2.2: an Initial, version 1, both connection IDs of 8 bytes, padded to 1200 bytes.
    return b"\xc3\0\0\0\1\x08" + nonce[:8] + b"\x08" + nonce[4:] + b"\0\x44\x9e" + os.urandom(1174)


def _http(request: str, body: bytes = b"") -> Make:
    return lambda nonce: f"{request} HTTP/1.1\r\nHost: example.org\r\n\r\n".encode() + body


def _random(size: int, start: bytes = b"") -> Make:
    return lambda nonce: start + os.urandom(size)


OTHERS = (
    Sample("dns_query", lambda nonce: _dns(0xBEEF), port=53),
    # Identifier 0x0001 and flags 0x0100 look like a Binding Request with a length of 256.
    Sample("dns_query_with_identifier_1", lambda nonce: _dns(0x0001), port=53),
    Sample("tftp_read_request", lambda nonce: b"\0\1pxelinux.0\0octet\0", port=69),
    Sample("ntp", _random(8, b"\x23" + bytes(39)), port=123),
    Sample("quic_initial", _quic, port=443),
    Sample("quic_short_header", _random(60, b"\x45"), port=443),
    Sample("wireguard_initiation", _random(144, b"\1\0\0\0"), port=51821),
    Sample("wireguard_data", _random(92, b"\4\0\0\0"), port=51821),
    Sample("rtp", _random(170, b"\x80\x60"), port=5004),
    Sample("random_on_the_stun_port", _random(99, b"\xa7")),
    Sample("zeros", lambda nonce: bytes(64), port=50001),
    Sample("one_byte", lambda nonce: b"\0", port=50001),
    Sample("cookie_elsewhere", lambda nonce: b"\0\1" + bytes(38) + messages.COOKIE + bytes(8), port=50001),
    Sample("cookie_after_two_one_bits", lambda nonce: b"\xc0\1\0\0" + messages.COOKIE + nonce, port=50001),
    Sample("large_datagram", _random(1199, b"\xa7"), port=50001),
    Sample("tcp_tls_client_hello", _client_hello, SOCK_STREAM, 443),
    Sample("tcp_http_get", _http("GET /"), SOCK_STREAM, 80),
    Sample("tcp_cookie_elsewhere", _http("POST /", messages.COOKIE), SOCK_STREAM, 8080),
    Sample("tcp_two_megabytes", _random(2 << 20), SOCK_STREAM, 8080),
    Sample("tcp_random_on_the_stun_port", _random(99, b"\xa7"), SOCK_STREAM),
    # "GET " and "HTTP" look like ChannelData but for their length.
    Sample("tcp_http_get_on_the_stun_port", _http("GET /"), SOCK_STREAM),
    Sample("tcp_http_answer_to_the_stun_port", _http("HTTP/1.1 200 OK"), SOCK_STREAM),
    Sample("udp_text_on_the_stun_port", _http("OPTIONS sip:a@example.org")),
)

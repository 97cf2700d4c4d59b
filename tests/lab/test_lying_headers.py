"""STUN in packets that only a raw socket sends: lengths that lie, UDP-Lite, headers that hide UDP ('Sealed').

A container may have raw sockets: Docker grants CAP_NET_RAW.
"""

import struct
from collections.abc import Callable
from functools import partial
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPPROTO_RAW, IPPROTO_UDP, SOCK_RAW, inet_pton

import pytest

from lab.addresses import BOX, FAMILIES, STUN_PORT, STUN_SERVER, family_name
from lab.agent import Agent
from lab.leaks import CONTAINER
from lab.messages import binding_request
from lab.observe import assert_leaks, on_wire
from lab.topology import Lab

IPV6_HDRINCL = 36  # linux/in6.h; not in Python's socket module
UDP_LITE, AH, MOBILITY, SHIM6 = 136, 51, 135, 140

# From twelve random bytes: the protocol of the IP header, and what follows it.
Content = Callable[[bytes], tuple[int, bytes]]


def classic(nonce: bytes) -> bytes:
    """RFC 3489 §11.1: a Binding Request without the cookie."""
    return struct.pack("!HH", 0x0001, 0) + nonce + b"\x00\x01\x02\x03"


def discord(nonce: bytes) -> bytes:
    """Discord's IP discovery: type, length, 70 bytes."""
    return struct.pack("!HH", 0x0001, 70) + nonce + bytes(58)


def udp(payload: bytes, length: int | None = None) -> bytes:
    """RFC 768, without a checksum."""
    return struct.pack("!HHHH", 50017, STUN_PORT, 8 + len(payload) if length is None else length, 0) + payload


def longer(make: Callable[[bytes], bytes], nonce: bytes) -> tuple[int, bytes]:
    """Four bytes follow the datagram, by its UDP length: every receiver cuts them off."""
    payload = make(nonce)
    return IPPROTO_UDP, udp(payload + b"more", 8 + len(payload))


def shorter(make: Callable[[bytes], bytes], length: int, nonce: bytes) -> tuple[int, bytes]:
    """The UDP length is not that of the message."""
    return IPPROTO_UDP, udp(make(nonce), length)


def lite(make: Callable[[bytes], bytes], nonce: bytes) -> tuple[int, bytes]:
    """RFC 3828; the checksum covers the header alone."""
    return UDP_LITE, udp(make(nonce), 8)


def behind(header: int, nonce: bytes) -> tuple[int, bytes]:
    """UDP behind an extension header of 24 bytes; RFC 4302 §2.2 counts AH's length in words of 4 bytes, less 2."""
    length = 4 if header == AH else 2
    return header, bytes([IPPROTO_UDP, length]) + bytes(22) + udp(binding_request(nonce))


def send(lab: Lab, family: int, content: Content, nonce: bytes) -> None:
    protocol, segment = content(nonce)
    source, destination = (inet_pton(family, address) for address in (BOX[family], STUN_SERVER[family]))
    if family == AF_INET:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, protocol, 0)
    else:
        header = struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64)
    with lab.box.socket(family, SOCK_RAW, IPPROTO_RAW) as raw:
        if family == AF_INET6:
            raw.setsockopt(IPPROTO_IPV6, IPV6_HDRINCL, 1)
        raw.sendto(header + source + destination + segment, (STUN_SERVER[family], 0))


CASES: list[tuple[str, tuple[int, ...], Content]] = [
    ("classic_with_bytes_behind", FAMILIES, partial(longer, classic)),
    ("discord_with_bytes_behind", FAMILIES, partial(longer, discord)),
    ("classic_with_a_short_length", FAMILIES, partial(shorter, classic, 20)),
    ("classic_with_a_long_length", FAMILIES, partial(shorter, classic, 99)),
    ("classic_without_a_length", (AF_INET6,), partial(shorter, classic, 0)),
    ("discord_without_a_length", (AF_INET6,), partial(shorter, discord, 0)),
    ("udp_lite", FAMILIES, partial(lite, binding_request)),
    ("classic_over_udp_lite", FAMILIES, partial(lite, classic)),
    ("authentication_header", FAMILIES, partial(behind, AH)),
    ("mobility_header", (AF_INET6,), partial(behind, MOBILITY)),
    ("shim6_header", (AF_INET6,), partial(behind, SHIM6)),
]


@pytest.mark.parametrize(
    ("family", "content"),
    [
        pytest.param(family, content, id=f"{name}-{family_name(family)}")
        for name, families, content in CASES
        for family in families
    ],
)
def test_stun_in_packets_of_a_raw_socket_is_blocked(lab: Lab, family: int, content: Content) -> None:
    attempt = partial(send, lab, family, content)
    with CONTAINER.made(lab, family):
        assert_leaks(lab, attempt)
        with Agent(lab) as agent:
            assert not on_wire(lab, attempt)
            agent.kill()
            assert not on_wire(lab, attempt), "the wall alone lets it out"

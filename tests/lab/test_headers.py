"""STUN behind unusual IP headers: extension headers and fragments."""

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPPROTO_RAW,
    IPPROTO_UDP,
    SOCK_RAW,
    inet_aton,
    socket,
)

import pytest

from lab.addresses import BOX, PHYSICAL, STUN_PORT, STUN_SERVER
from lab.agent import Agent
from lab.leaks import CONTAINER
from lab.messages import BINDING_REQUEST, SOFTWARE, attribute, binding_request, message, new_transaction
from lab.probe import Binding, connect, send
from lab.topology import Lab
from lab.wire import Wire

IPV6_DSTOPTS = 59  # linux/in6.h; not in Python's socket module
MORE_FRAGMENTS = 0x2000  # RFC 791 §3.1


def destination_options(lab: Lab, transaction: bytes) -> None:
    padding = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # RFC 8200 §4.2: PadN; the kernel sets the next header
    with connect(lab.client, (STUN_SERVER[AF_INET6], STUN_PORT), Binding(device=PHYSICAL)) as sock:
        sock.setsockopt(IPPROTO_IPV6, IPV6_DSTOPTS, padding)
        exchange(sock, binding_request(transaction))


def large_from_box(family: int) -> Callable[[Lab, bytes], None]:
    """A message larger than the link's MTU, which the box's kernel cuts."""

    def large(lab: Lab, transaction: bytes) -> None:
        long = message(BINDING_REQUEST, attribute(SOFTWARE, os.urandom(3000)), transaction)
        with connect(lab.box, (STUN_SERVER[family], STUN_PORT)) as sock:
            exchange(sock, long)

    return large


def tiny_from_box(lab: Lab, transaction: bytes) -> None:
    """The smallest IPv4 fragments: the first has the UDP header alone, the second the cookie."""
    stun = binding_request(transaction)
    (identification,) = struct.unpack("!H", os.urandom(2))
    with (
        connect(lab.box, (STUN_SERVER[AF_INET], STUN_PORT)) as listener,
        lab.box.socket(AF_INET, SOCK_RAW, IPPROTO_RAW) as raw,
    ):
        port = listener.getsockname()[1]
        datagram = struct.pack("!HHHH", port, STUN_PORT, 8 + len(stun), 0) + stun  # no checksum (RFC 768)
        for offset in range(0, len(datagram), 8):
            last = offset + 8 >= len(datagram)
            header = fragment_header(identification, offset, last, len(datagram[offset : offset + 8]))
            raw.sendto(header + datagram[offset : offset + 8], (STUN_SERVER[AF_INET], 0))
        hear(listener)


def fragment_header(identification: int, offset: int, last: bool, length: int) -> bytes:
    flags = offset // 8 | (0 if last else MORE_FRAGMENTS)
    start = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, identification, flags, 64, IPPROTO_UDP, 0)
    return start + inet_aton(BOX[AF_INET]) + inet_aton(STUN_SERVER[AF_INET])


def exchange(sock: socket, payload: bytes) -> None:
    send(sock, payload)
    hear(sock)


def hear(sock: socket) -> None:
    """Keeps the socket open until an answer came, or a second passed."""
    sock.settimeout(1)
    with suppress(TimeoutError):
        sock.recv(65535)


@pytest.mark.parametrize(
    ("family", "attempt"),
    [
        pytest.param(AF_INET6, destination_options, id="ipv6_destination_options"),
        pytest.param(AF_INET, large_from_box(AF_INET), id="ipv4_fragments_forwarded"),
        pytest.param(AF_INET6, large_from_box(AF_INET6), id="ipv6_fragments_forwarded"),
        pytest.param(AF_INET, tiny_from_box, id="ipv4_tiny_fragments_forwarded"),
    ],
)
def test_stun_behind_unusual_headers(lab: Lab, family: int, attempt: Callable[[Lab, bytes], None]) -> None:
    with CONTAINER.made(lab, family):
        assert leaves(lab, attempt), "the wire doesn't show it, so it proves nothing below"
        with Agent(lab):
            assert not leaves(lab, attempt)


def leaves(lab: Lab, attempt: Callable[[Lab, bytes], None]) -> bool:
    """Whether the wire shows the STUN message that `attempt` sends."""
    transaction = new_transaction()
    with Wire(lab) as wire:
        attempt(lab, transaction)
        return bool(wire.leaks(transaction))

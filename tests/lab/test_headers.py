"""STUN behind unusual IP headers: extension headers and fragments."""

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPPROTO_RAW, IPPROTO_UDP, SOCK_RAW, inet_aton, socket

import pytest

from lab.addresses import BOX, COTURN, STUN_PORT, STUN_SERVER
from lab.agent import Agent
from lab.leaks import CONTAINER
from lab.messages import BINDING_REQUEST, SOFTWARE, attribute, binding_request, message
from lab.observe import assert_leaks, on_wire
from lab.probe import DEVICE_BOUND, connect, exchange
from lab.topology import Lab

IPV6_DSTOPTS = 59  # linux/in6.h; not in Python's socket module
MORE_FRAGMENTS = 0x2000  # RFC 791 §3.1

Attempt = Callable[[Lab, bytes], None]


def destination_options(lab: Lab, transaction: bytes) -> None:
    padding = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # RFC 8200 §4.2: PadN; the kernel sets the next header
    with connect(lab.client, COTURN[AF_INET6], DEVICE_BOUND) as sock:
        sock.setsockopt(IPPROTO_IPV6, IPV6_DSTOPTS, padding)
        exchange(sock, binding_request(transaction))


def large_from_box(family: int, lab: Lab, transaction: bytes) -> None:
    """A message that is larger than the link's MTU, so that the box's kernel sends fragments."""
    large = message(BINDING_REQUEST, attribute(SOFTWARE, os.urandom(3000)), transaction)
    with connect(lab.box, COTURN[family]) as sock:
        exchange(sock, large)


def tiny_from_box(lab: Lab, transaction: bytes) -> None:
    """The smallest IPv4 fragments: the first has the UDP header alone, the second the cookie."""
    stun = binding_request(transaction)
    (identification,) = struct.unpack("!H", os.urandom(2))
    with (
        connect(lab.box, COTURN[AF_INET]) as listener,
        lab.box.socket(AF_INET, SOCK_RAW, IPPROTO_RAW) as raw,
    ):
        port = listener.getsockname()[1]
        datagram = struct.pack("!HHHH", port, STUN_PORT, 8 + len(stun), 0) + stun  # no checksum (RFC 768)
        for offset in range(0, len(datagram), 8):
            last = offset + 8 >= len(datagram)
            header = fragment_header(identification, offset, last, len(datagram[offset : offset + 8]))
            raw.sendto(header + datagram[offset : offset + 8], (STUN_SERVER[AF_INET], 0))
        wait_reply(listener)


def fragment_header(identification: int, offset: int, last: bool, length: int) -> bytes:
    flags = offset // 8 | (0 if last else MORE_FRAGMENTS)
    start = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, identification, flags, 64, IPPROTO_UDP, 0)
    return start + inet_aton(BOX[AF_INET]) + inet_aton(STUN_SERVER[AF_INET])


def wait_reply(sock: socket) -> None:
    """Keeps the socket open until a reply arrives or a second has passed."""
    sock.settimeout(1)
    with suppress(TimeoutError):
        sock.recv(65535)


@pytest.mark.parametrize(
    ("family", "attempt"),
    [
        pytest.param(AF_INET6, destination_options, id="ipv6_destination_options"),
        pytest.param(AF_INET, partial(large_from_box, AF_INET), id="ipv4_fragments_forwarded"),
        pytest.param(AF_INET6, partial(large_from_box, AF_INET6), id="ipv6_fragments_forwarded"),
        pytest.param(AF_INET, tiny_from_box, id="ipv4_tiny_fragments_forwarded"),
    ],
)
def test_stun_behind_unusual_headers_is_blocked(lab: Lab, family: int, attempt: Attempt) -> None:
    with CONTAINER.made(lab, family):
        assert_leaks(lab, partial(attempt, lab))
        with Agent(lab):
            assert not on_wire(lab, partial(attempt, lab))

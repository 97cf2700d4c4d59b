"""UDP flows that stunwall redirects into the VPN, and what is sent in them."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET

from lab.addresses import ECHO_SERVER
from lab.messages import REFUSED, binding_request, error_code, transaction_of
from lab.probe import SOURCE_BOUND, connect, exchange
from lab.topology import Lab
from lab.wire import Wire

MEDIA_PORT = 5004  # the echo server's


def rtp() -> bytes:
    """A packet that looks like RTP (RFC 3550 §5.1: version 2), with random contents."""
    return b"\x80\x60" + os.urandom(200)


def refused(reply: bytes | None) -> bool:
    return error_code(reply) == REFUSED


@contextmanager
def redirected_flow(lab: Lab, family: int = AF_INET) -> Iterator[socket.socket]:
    """A source-bound socket to the echo server. Its first packet, STUN, came back through the VPN."""
    with connect(lab.client, (ECHO_SERVER[family], MEDIA_PORT), SOURCE_BOUND[family]) as sock:
        request = binding_request()
        with Wire(lab) as wire:
            assert exchange(sock, request) == request
            assert not wire.leaks(transaction_of(request))
        yield sock


def stays_inside(lab: Lab, sock: socket.socket, payload: bytes) -> bool:
    """Whether `payload` comes back; it must not be seen outside the VPN."""
    with Wire(lab) as wire:
        back = exchange(sock, payload)
        assert not wire.leaks(payload)
    return back == payload

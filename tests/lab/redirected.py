"""Flows that stunwall moves into the VPN, and what is sent in them."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET

from lab.addresses import CLIENT, ECHO_SERVER, FAMILIES
from lab.messages import binding_request, error_code, transaction_of
from lab.probe import Binding, connect, send
from lab.topology import Lab
from lab.tunnel import BY_SOURCE, Proxy
from lab.wire import Wire

SOURCE_BOUND = {family: Binding(source=CLIENT[family]) for family in FAMILIES}
MEDIA_PORT = 5004  # the echo server's


def rtp() -> bytes:
    """A packet that looks like RTP (RFC 3550 §5.1: version 2), unlike any other."""
    return b"\x80\x60" + os.urandom(200)


def refused(reply: bytes | None) -> bool:
    return error_code(reply) == 403


def exchange(sock: socket.socket, payload: bytes, seconds: float = 1) -> bytes | None:
    """What comes back for `payload`, or None."""
    send(sock, payload)
    sock.settimeout(seconds)
    try:
        return sock.recv(65535)
    except (TimeoutError, ConnectionError):
        return None


@contextmanager
def redirected_flow(lab: Lab, family: int = AF_INET) -> Iterator[socket.socket]:
    """A source-bound socket to the echo server, whose first packet, STUN, has come back through the VPN."""
    with connect(lab.client, (ECHO_SERVER[family], MEDIA_PORT), SOURCE_BOUND[family]) as sock:
        request = binding_request()
        with Wire(lab) as wire:
            assert exchange(sock, request) == request
            assert not wire.leaks(transaction_of(request))
        yield sock


def stays_inside(lab: Lab, sock: socket.socket, payload: bytes) -> bool:
    """Whether `payload` comes back, without having been seen outside the VPN."""
    with Wire(lab) as wire:
        back = exchange(sock, payload)
        assert not wire.leaks(payload)
    return back == payload


@contextmanager
def proxy(lab: Lab, ipv6: bool = False) -> Iterator[Proxy]:
    """A proxy with sing-box's rules by source, up, and the lab's own VPN down."""
    lab.vpn.down()
    tunnel = Proxy(lab.client, lab.server)
    try:
        tunnel.up(BY_SOURCE, ipv6=ipv6)
        yield tunnel
    finally:
        tunnel.close()


def remove_detour(lab: Lab) -> None:
    """Removes the routing rule and routes that a killed daemon leaves."""
    for version in ("-4", "-6"):
        lab.client.run("ip", version, "rule", "del", "pref", "50")
        lab.client.run("ip", version, "route", "flush", "table", "4780")

"""Sends bytes from any namespace, over a socket bound in any way, and returns the reply."""

import fcntl
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

from lab.addresses import CLIENT, FAMILIES, PHYSICAL
from lab.namespace import Namespace

# Linux's numbers, which the socket module doesn't have.
IP_UNICAST_IF, IPV6_UNICAST_IF = 50, 76
SIOCGIFINDEX = 0x8933

CONNECT_SECONDS = 5
ANSWER_SECONDS = 5  # for an answer that must come: it ends the wait, and a busy machine is slow


@dataclass(frozen=True, slots=True)
class Binding:
    """How a program binds its socket; by default not at all."""

    source: str | None = None
    """bind() to this address."""
    device: str | None = None
    """SO_BINDTODEVICE."""
    unicast_if: str | None = None
    """IP_UNICAST_IF or IPV6_UNICAST_IF: prefers this interface without binding to it."""
    mark: int | None = None
    """SO_MARK."""
    owner: int | None = None
    """The user ID that routing rules and firewalls see."""

    def open(self, namespace: Namespace, family: int, kind: int = SOCK_DGRAM) -> socket.socket:
        """A socket of a namespace, bound so."""
        sock = namespace.socket(family, kind, user=self.owner or 0)
        try:
            self.apply(sock)
        except OSError:
            sock.close()
            raise
        return sock

    def apply(self, sock: socket.socket) -> None:
        if self.mark is not None:
            sock.setsockopt(SOL_SOCKET, socket.SO_MARK, struct.pack("=I", self.mark))
        if self.owner is not None:
            os.fchown(sock.fileno(), self.owner, -1)  # changes the socket's sk_uid
        if self.device is not None:
            sock.setsockopt(SOL_SOCKET, socket.SO_BINDTODEVICE, self.device.encode())
        if self.unicast_if is not None:
            index = struct.pack("!I", _interface_index(sock, self.unicast_if))  # network order, ip(7)
            if sock.family == AF_INET:
                sock.setsockopt(IPPROTO_IP, IP_UNICAST_IF, index)
            else:
                sock.setsockopt(IPPROTO_IPV6, IPV6_UNICAST_IF, index)
        if self.source is not None:
            sock.bind((self.source, 0))


UNBOUND = Binding()
DEVICE_BOUND = Binding(device=PHYSICAL)
"""Bypasses every VPN."""
SOURCE_BOUND = {family: Binding(source=CLIENT[family]) for family in FAMILIES}
"""Bypasses a VPN whose routing rules go by the source address."""


def _interface_index(sock: socket.socket, name: str) -> int:
    # Asked through the socket, because the calling thread is in another namespace.
    answer = fcntl.ioctl(sock, SIOCGIFINDEX, struct.pack("16si16x", name.encode(), 0))
    return int(struct.unpack_from("i", answer, 16)[0])


def connect(
    namespace: Namespace, server: tuple[str, int], binding: Binding = UNBOUND, kind: int = SOCK_DGRAM
) -> socket.socket:
    """A socket connected to `server`; OSError if TCP can't connect within CONNECT_SECONDS."""
    family = AF_INET6 if ":" in server[0] else AF_INET
    sock = binding.open(namespace, family, kind)
    try:
        sock.settimeout(CONNECT_SECONDS)
        sock.connect(server)
        if kind == SOCK_STREAM:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Closing resets: a FIN that is dropped would be sent again for minutes, into the next tests.
            sock.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        sock.close()
        raise
    return sock


def send(sock: socket.socket, payload: bytes) -> None:
    """Sends; a packet that a firewall drops is lost without an error."""
    # A drop in the output or postrouting hook reaches the sender of a datagram as EPERM.
    with suppress(PermissionError):
        sock.sendall(payload)


def ask(
    namespace: Namespace,
    server: tuple[str, int],
    payload: bytes,
    binding: Binding = UNBOUND,
    kind: int = SOCK_DGRAM,
    seconds: float = ANSWER_SECONDS,
) -> bytes | None:
    """The first bytes that come back for `payload`, or None if none do within `seconds`."""
    with connect(namespace, server, binding, kind) as sock:
        return exchange(sock, payload, seconds)


def exchange(sock: socket.socket, payload: bytes, seconds: float = ANSWER_SECONDS) -> bytes | None:
    """As ask(), over a socket that is connected already."""
    send(sock, payload)
    sock.settimeout(seconds)
    try:
        return sock.recv(65535) or None
    except (TimeoutError, ConnectionError):
        return None


def transport_name(kind: int) -> str:
    """For test IDs and messages: a socket type's transport."""
    return "TCP" if kind == SOCK_STREAM else "UDP"

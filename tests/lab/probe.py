"""Sends bytes from a chosen namespace, over a socket bound in a chosen way, and returns the reply."""

import fcntl
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

from lab.namespace import Namespace

# Linux's numbers, which the socket module doesn't have.
IP_UNICAST_IF, IPV6_UNICAST_IF = 50, 76
SIOCGIFINDEX = 0x8933

CONNECT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Binding:
    """How a program ties its socket to a path; by default not at all."""

    source: str | None = None
    """bind() to this address."""
    device: str | None = None
    """SO_BINDTODEVICE."""
    unicast_if: str | None = None
    """IP_UNICAST_IF or IPV6_UNICAST_IF: prefers an interface without binding to it."""
    mark: int | None = None
    """SO_MARK."""
    owner: int | None = None
    """The user ID that the kernel's routing rules see."""

    def apply(self, sock: socket.socket) -> None:
        if self.mark is not None:
            sock.setsockopt(SOL_SOCKET, socket.SO_MARK, struct.pack("=I", self.mark))
        if self.owner is not None:
            os.fchown(sock.fileno(), self.owner, -1)  # sets the socket's sk_uid
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


def _interface_index(sock: socket.socket, name: str) -> int:
    # Asked of the socket, since the calling thread is in another namespace.
    answer = fcntl.ioctl(sock, SIOCGIFINDEX, struct.pack("16si16x", name.encode(), 0))
    return int(struct.unpack_from("i", answer, 16)[0])


def connect(
    namespace: Namespace, server: tuple[str, int], binding: Binding = UNBOUND, kind: int = SOCK_DGRAM
) -> socket.socket:
    """A socket connected to `server`; OSError if TCP can't connect within CONNECT_SECONDS."""
    family = AF_INET6 if ":" in server[0] else AF_INET
    sock = namespace.socket(family, kind)
    try:
        binding.apply(sock)
        sock.settimeout(CONNECT_SECONDS)
        sock.connect(server)
        if kind == SOCK_STREAM:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Closing resets: a FIN that a wall swallows would be repeated for minutes, over the next tests.
            sock.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        sock.close()
        raise
    return sock


def send(sock: socket.socket, payload: bytes) -> None:
    """Sends, and takes the kernel's refusal as what it is: a lost packet."""
    # A firewall's drop in the output or postrouting hook reaches the sender of a datagram as EPERM.
    with suppress(PermissionError):
        sock.sendall(payload)


def ask(
    namespace: Namespace,
    server: tuple[str, int],
    payload: bytes,
    binding: Binding = UNBOUND,
    kind: int = SOCK_DGRAM,
    seconds: float = 1.0,
) -> bytes | None:
    """The first bytes that come back for `payload`, or None when none do within `seconds`."""
    with connect(namespace, server, binding, kind) as sock:
        send(sock, payload)
        sock.settimeout(seconds)
        try:
            return sock.recv(65535) or None
        except (TimeoutError, ConnectionError):
            return None

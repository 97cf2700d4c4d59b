"""A server that sends back whatever it receives, byte for byte."""

import selectors
import socket
import threading
from contextlib import suppress
from socket import AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

from lab.addresses import ECHO_SERVER
from lab.namespace import Namespace

UDP_PORTS = (53, 69, 123, 443, 3478, 5004, 50001, 51821)
TCP_PORTS = (80, 443, 3478, 5349, 8080)


class Echo:
    """Listens on these ports of ECHO_SERVER's addresses, from the constructor until close()."""

    def __init__(self, namespace: Namespace) -> None:
        self._selector = selectors.DefaultSelector()
        for family, ip in ECHO_SERVER.items():
            for port in UDP_PORTS:
                self._open(namespace, family, SOCK_DGRAM, (ip, port))
            for port in TCP_PORTS:
                self._open(namespace, family, SOCK_STREAM, (ip, port))
        self._wake, waker = socket.socketpair()
        self._selector.register(waker, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, name="echo", daemon=True)
        self._thread.start()

    def _open(self, namespace: Namespace, family: int, kind: int, address: tuple[str, int]) -> None:
        sock = namespace.socket(family, kind)
        sock.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == AF_INET6:
            sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        sock.bind(address)
        if kind == SOCK_STREAM:
            sock.listen()
        serve = self._accept if kind == SOCK_STREAM else self._datagram
        self._selector.register(sock, selectors.EVENT_READ, serve)

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                key.data(key.fileobj)

    def _datagram(self, sock: socket.socket) -> None:
        # An error is an ICMP error about an earlier reply; the client that waits for this one will report it.
        with suppress(OSError):
            payload, sender = sock.recvfrom(65535)
            sock.sendto(payload, sender)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(5)
        self._selector.register(connection, selectors.EVENT_READ, self._stream)

    def _stream(self, connection: socket.socket) -> None:
        try:
            payload = connection.recv(65535)
            connection.sendall(payload)
        except OSError:
            payload = b""
        if not payload:
            self._selector.unregister(connection)
            connection.close()

    def close(self) -> None:
        self._wake.send(b"end")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._wake.close()
        self._selector.close()


def round_trip(sock: socket.socket, payload: bytes, seconds: float = 5) -> bytes:
    """What comes back for `payload` over a connected socket; each read waits up to `seconds`."""
    sock.settimeout(seconds)
    # In a thread, because the first bytes of a large payload come back before the last ones are sent.
    sender = threading.Thread(target=sock.sendall, args=(payload,), daemon=True)
    sender.start()
    back = b""
    with suppress(TimeoutError):  # the caller's comparison shows what is missing
        while len(back) < len(payload):
            piece = sock.recv(65535)
            back += piece
            if not piece or sock.type == SOCK_DGRAM:
                break
    sender.join(seconds)
    return back

"""A server over UDP and TCP that replies to each datagram, and to each piece of a stream."""

import selectors
import socket
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_STREAM, SOL_SOCKET
from typing import Any, ClassVar, Self

from lab.namespace import Namespace

Endpoint = tuple[int, str, int]  # SOCK_DGRAM or SOCK_STREAM, address, port


class Server:
    """Serves from the constructor until close(), or to the end of a `with`."""

    resets: ClassVar[bool] = False
    """Whether closing a TCP connection resets it: an answer that is dropped would else be sent again for minutes."""

    def __init__(self, namespace: Namespace, endpoints: Iterable[Endpoint]) -> None:
        self._selector = selectors.DefaultSelector()
        for kind, address, port in endpoints:
            self._open(namespace, kind, address, port)
        self._wake, waker = socket.socketpair()
        self._selector.register(waker, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, name=type(self).__name__, daemon=True)
        self._thread.start()

    def reply(self, payload: bytes, sender: tuple[Any, ...]) -> bytes:
        """What to send back for `payload`, which came from this socket address. Called in the server's thread."""
        raise NotImplementedError

    def close(self) -> None:
        self._wake.send(b"end")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._wake.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, namespace: Namespace, kind: int, address: str, port: int) -> None:
        family = AF_INET6 if ":" in address else AF_INET
        sock = namespace.socket(family, kind)
        sock.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == AF_INET6:
            sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        sock.bind((address, port))
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
        # An error is an ICMP error about an earlier reply, or a firewall's; the client that waits will report it.
        with suppress(OSError):
            payload, sender = sock.recvfrom(65535)
            sock.sendto(self.reply(payload, sender), sender)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(5)
        if self.resets:
            connection.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._selector.register(connection, selectors.EVENT_READ, self._stream)

    def _stream(self, connection: socket.socket) -> None:
        try:
            payload = connection.recv(65535)
            if payload:
                connection.sendall(self.reply(payload, connection.getpeername()))
        except OSError:
            payload = b""
        if not payload:
            self._selector.unregister(connection)
            connection.close()

"""A STUN server that somebody hosts behind stunwall: on the client, or in a container with a published port."""

import selectors
import socket
import struct
import threading
from contextlib import suppress
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET
from typing import Self

from lab.messages import BINDING_SUCCESS, COOKIE, XOR_MAPPED_ADDRESS, attribute, message, transaction_of
from lab.namespace import Namespace

FAMILY = {4: b"\0\1", 6: b"\0\2"}  # RFC 8489 §14.1


class Responder:
    """Answers Binding Requests over UDP and TCP on `port` of these addresses, inside a `with`."""

    def __init__(self, namespace: Namespace, port: int, *addresses: str) -> None:
        self.heard: list[bytes] = []
        """The transaction ID of each message that arrived."""
        self._selector = selectors.DefaultSelector()
        for address in addresses:
            family = AF_INET6 if ":" in address else AF_INET
            for kind in (SOCK_DGRAM, SOCK_STREAM):
                sock = namespace.socket(family, kind)
                sock.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
                if kind == SOCK_STREAM:
                    sock.listen()
                self._selector.register(
                    sock, selectors.EVENT_READ, self._accept if kind == SOCK_STREAM else self._datagram
                )
        self._wake, waker = socket.socketpair()
        self._selector.register(waker, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, name="responder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.send(b"end")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._wake.close()
        self._selector.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                key.data(key.fileobj)

    def _datagram(self, sock: socket.socket) -> None:
        # An error is an ICMP error about an earlier answer, or a firewall's.
        with suppress(OSError):
            request, sender = sock.recvfrom(65535)
            sock.sendto(self._answer(request, sender), sender)

    def _accept(self, listener: socket.socket) -> None:
        connection, sender = listener.accept()
        connection.settimeout(5)
        # Closing resets: an answer that is dropped would be sent again for minutes, into the next tests.
        connection.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._selector.register(connection, selectors.EVENT_READ, lambda sock: self._stream(sock, sender))

    def _stream(self, connection: socket.socket, sender: tuple[str, int]) -> None:
        try:
            request = connection.recv(65535)
            if request:
                connection.sendall(self._answer(request, sender))
        except OSError:
            request = b""
        if not request:
            self._selector.unregister(connection)
            connection.close()

    def _answer(self, request: bytes, sender: tuple[str, int]) -> bytes:
        transaction = transaction_of(request)
        self.heard.append(transaction)
        ip = ip_address(sender[0])
        mask = COOKIE + transaction
        address = bytes(a ^ b for a, b in zip(ip.packed, mask, strict=False))
        port = (sender[1] ^ int.from_bytes(COOKIE[:2], "big")).to_bytes(2, "big")
        value = FAMILY[ip.version] + port + address
        return message(BINDING_SUCCESS, attribute(XOR_MAPPED_ADDRESS, value), transaction)

"""Connections that stay open for what the daemon tells them, each until its other end hangs up."""

import json
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from stunwall.control.protocol import Status

Send = Callable[[Status], None]
HangUp = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Hold:
    """The peer's connection stays open.

    `reply` is sent at once. `opened` is called with a function that sends an object to the peer, and one that ends the
    connection, both for the selector's thread. `closed` is called once the connection has ended.
    """

    reply: Status
    opened: Callable[[Send, HangUp], None]
    closed: Callable[[], None]


class Held:
    """The connections that are held, in the selector's thread."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._clients: dict[socket.socket, Hold] = {}

    def add(self, client: socket.socket, hold: Hold) -> None:
        """Take over a connection that the selector does not know."""
        self._clients[client] = hold
        self._selector.register(client, selectors.EVENT_READ, partial(self._drop, client))
        hold.opened(partial(self._send, client), partial(self._drop, client))
        self._send(client, hold.reply)

    def close(self) -> None:
        """End all of them."""
        for client in list(self._clients):
            self._drop(client)

    def _send(self, client: socket.socket, said: Status) -> None:
        if client not in self._clients:
            return
        line = json.dumps(said).encode() + b"\n"
        try:
            taken = client.send(line)
        except OSError:  # gone, or its buffer is full
            taken = 0
        if taken < len(line):  # who reads too slowly has to begin again
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        """End a connection: its peer has hung up, or said something that nobody asked for."""
        if (hold := self._clients.pop(client, None)) is not None:
            self._selector.unregister(client)
            client.close()
            hold.closed()

"""Asks the kernel one question at a time by netlink(7), as its look-ups of one socket, route or process."""

import socket
from contextlib import suppress

from stunwall import netlink

_REQUEST = 0x1  # linux/netlink.h: NLM_F_REQUEST
# Messages that are read for one question. The answer is the first, unless an earlier one was not waited for.
_REPLIES = 8


class KernelQuery:
    """A netlink socket of one protocol, in the network namespace where this was made. Not for several threads."""

    def __init__(self, protocol: int) -> None:
        self._sequence = 0
        # It asks the kernel alone, which answers before `send` returns.
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.setblocking(False)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, kind: int, body: bytes) -> bytes | None:
        """Return the body of the answer to a message of this type, None if it is an error, or none. Never raises."""
        self.begin(kind, body)
        return self.answer()

    def begin(self, kind: int, body: bytes) -> None:
        """Ask by a message of this type: the kernel finds the answer before this returns. Never raises."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        with suppress(OSError):
            self._socket.send(netlink.message(kind, _REQUEST, self._sequence, body))

    def answer(self) -> bytes | None:
        """Return the body of the answer to the last question, None if it is an error, or none. Never raises."""
        with suppress(OSError):
            for _ in range(_REPLIES):
                data, sender = self._socket.recvfrom(8192)
                if sender[0] != 0:  # another process, not the kernel
                    continue
                for answer in netlink.messages(data):
                    if answer.sequence == self._sequence:
                        return None if answer.kind == netlink.ERROR else data[answer.start : answer.end]
        return None

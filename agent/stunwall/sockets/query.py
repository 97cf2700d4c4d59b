"""Asks the kernel by netlink(7) for one socket, route or process."""

import socket
from contextlib import suppress

from stunwall import netlink

_REQUEST = 0x1  # linux/netlink.h: NLM_F_REQUEST
# Messages that are read for one question. The answer is the first, unless earlier ones were left out.
_REPLIES = 64


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
        return self.answer(self.begin(kind, body))

    def begin(self, kind: int, body: bytes) -> int:
        """Ask by a message of this type. The kernel has found the answer when this returns. Never raises.

        Returns the question's number, for `answer`; 0 if it could not be sent.
        """
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        try:
            self._socket.send(netlink.message(kind, _REQUEST, self._sequence, body))
        except OSError:
            return 0
        return self._sequence

    def answer(self, question: int) -> bytes | None:
        """Return the body of the answer to the question with this number, None if it is an error, or none.

        Questions are answered in their order; an answer that was left out is thrown away. Never raises.
        """
        with suppress(OSError):
            for _ in range(_REPLIES if question else 0):
                data, sender = self._socket.recvfrom(8192)
                if sender[0] != 0:  # another process, not the kernel
                    continue
                for answer in netlink.messages(data):
                    if answer.sequence == question:
                        return None if answer.kind == netlink.ERROR else data[answer.start : answer.end]
        return None

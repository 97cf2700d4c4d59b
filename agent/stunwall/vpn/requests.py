"""Asks the kernel by netlink, and reads all of its answer (netlink(7))."""

import os
import socket
from collections.abc import Callable, Iterator
from typing import TypeVar

from stunwall import netlink
from stunwall.netlink import Message
from stunwall.vpn import messages

T = TypeVar("T")

_SOL_NETLINK, _GET_STRICT_CHK = 270, 12  # linux/netlink.h: a dump is of what the request says
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300  # NLM_F_*
_RECEIVE = 1 << 20  # bytes
_TRIES = 5  # to read something that changes meanwhile


def whole(message: Message) -> Message:
    """What a dump takes of each message to have all of it."""
    return message


class Requests:
    """A netlink socket of one protocol, in the network namespace where this was made. Use it in one thread.

    All methods raise OSError: with the number that the kernel answers, if it refuses.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, kind: int, body: bytes, flags: int = 0) -> list[Message]:
        """Send a message; return what is answered to it besides the acknowledgement. `flags` are further NLM_F_*."""
        return list(self._answer(kind, body, _ACK | flags))

    def dump(self, kind: int, body: bytes, take: Callable[[Message], T | None]) -> list[T]:
        """Return what `take` makes of each message of a dump, but None."""
        for _ in range(_TRIES):
            found: list[T] = []
            interrupted = 0
            for message in self._answer(kind, body, _DUMP):
                interrupted |= message.flags & netlink.DUMP_INTERRUPTED
                if (each := take(message)) is not None:
                    found.append(each)
            if not interrupted:
                return found
        raise OSError("they change too fast")

    def _answer(self, kind: int, body: bytes, flags: int) -> Iterator[Message]:
        self._sequence += 1
        self._socket.sendto(netlink.message(kind, _REQUEST | flags, self._sequence, body), (0, 0))
        while True:
            data, sender = self._socket.recvfrom(_RECEIVE)
            if sender[0] != 0:  # another process, not the kernel
                continue
            for message in netlink.messages(data):
                if message.sequence != self._sequence:
                    continue
                if message.kind in (netlink.DONE, netlink.ERROR):
                    if number := messages.error(message):
                        raise OSError(number, os.strerror(number))
                    return
                yield message

"""The proof that the queue lives: a packet of our own that only stunwalld's verdict can end (UDP over "lo")."""

import os
import socket
from struct import pack

_HEADER = bytes.fromhex("0001 0000 2112a442")  # RFC 8489 §5: a Binding request without attributes
_ID = 12  # bytes of a transaction ID


class Probe:
    """Sends beats to itself. The wall queues them by their mark and lets none through, so they never arrive.

    `mark`: both of stunwall's bits.
    """

    def __init__(self, mark: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, pack("=I", mark))
        self._socket.bind(("127.0.0.1", 0))
        self._beat = b""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self) -> None:
        """Send the next beat. Raises OSError, as while "lo" is down."""
        self._beat = _HEADER + os.urandom(_ID)
        self._socket.sendto(self._beat, self._socket.getsockname())

    def matches(self, packet: bytes) -> bool:
        """Whether a packet from the queue is the last beat that was sent."""
        return bool(self._beat) and packet.endswith(self._beat)

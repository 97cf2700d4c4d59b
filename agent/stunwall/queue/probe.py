"""The heartbeat: a UDP packet to ourselves through the wall and the queue, which proves that both work."""

import os
import socket
from struct import pack

_HEADER = bytes.fromhex("0001 0000 2112a442")  # RFC 8489 §5: a Binding request without attributes
_ID = 12  # bytes of a transaction ID


class Probe:
    """Sends probes over "lo". The wall queues them by their mark and stunwalld drops them, so none arrives.

    `mark`: both of stunwall's bits.
    """

    def __init__(self, mark: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, pack("=I", mark))
        self._socket.bind(("127.0.0.1", 0))
        self._last = b""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self) -> None:
        """Send the next probe. Raises OSError, for example while "lo" is down."""
        self._last = _HEADER + os.urandom(_ID)
        self._socket.sendto(self._last, self._socket.getsockname())

    def matches(self, packet: bytes) -> bool:
        """Whether a packet from the queue is the last probe that was sent."""
        return bool(self._last) and packet.endswith(self._last)

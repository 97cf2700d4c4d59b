"""Captures the Ethernet frames on one interface, and fails if the kernel lost any of them."""

import socket
import struct
import threading
from contextlib import suppress
from socket import AF_PACKET, SOCK_RAW, SOL_SOCKET
from typing import Self

from lab.namespace import Namespace

# Linux's numbers, which the socket module doesn't have.
ETH_P_ALL, SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 3, 33, 263, 6
PACKET_OUTGOING = 4

BUFFER = 64 << 20  # bytes; a test sends far less
LARGEST = 1 << 18  # bytes; veth passes on segments of 64 KiB that are not cut to size yet
LEAVING_SECONDS = 0.05  # how long the thread may take to notice that the capture ends


class Capture:
    """Calls take() with every frame, in a thread of its own, from entering to leaving.

    A lost frame is an error, because the capture could no longer say what passed.
    """

    def __init__(self, namespace: Namespace, interface: str) -> None:
        self._namespace = namespace
        self._interface = interface
        self._ended = threading.Event()

    def take(self, frame: bytes, outgoing: bool) -> None:
        """What to do with a frame. `outgoing`: whether the namespace sends it, rather than receives it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._socket = self._namespace.socket(AF_PACKET, SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.bind((self._interface, ETH_P_ALL))
        self._socket.settimeout(LEAVING_SECONDS)
        self._thread = threading.Thread(target=self._run, name=f"on {self._interface}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self.check_complete()
        finally:
            self._socket.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            with suppress(TimeoutError):
                self._read()
        # What arrived before the end counts, even if it has not been read yet.
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._read()

    def _read(self) -> None:
        frame, address = self._socket.recvfrom(LARGEST)
        self.take(frame, outgoing=address[2] == PACKET_OUTGOING)

    def check_complete(self) -> None:
        """Raises RuntimeError if the kernel lost a frame since the last call."""
        seen, dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        if dropped:
            raise RuntimeError(
                f"the capture on {self._interface} lost {dropped} of {seen} frames, so it proves nothing"
            )

"""What really leaves the client: every frame that the provider's end of the cable receives.

It looks for bytes anywhere in a frame, not for STUN as stunwall understands it, so that a mistake there can't
hide itself here.
"""

import os
import socket
import struct
import threading
from contextlib import suppress
from socket import AF_PACKET, IPPROTO_UDP, SOCK_RAW, SOL_SOCKET
from types import TracebackType
from typing import Protocol, Self

from lab.addresses import FAMILIES, VPN_PORT, VPN_SERVER
from lab.deadline import until
from lab.frame import Packet, join_fragments, parse
from lab.messages import COOKIE
from lab.namespace import Namespace

# Linux's numbers, which the socket module doesn't have.
ETH_P_ALL, SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 3, 33, 263, 6
PACKET_OUTGOING = 4

MARKER_PORT = 9  # discard; nobody listens
BUFFER = 64 << 20  # bytes; a test sends far less
SETTLE_SECONDS = 30  # a virtual machine beside other tests is slow


class Watched(Protocol):
    """A client behind its provider: the lab's namespace, or a machine in its place."""

    isp: Namespace

    def send_marker(self, family: int, marker: bytes) -> None: ...
    def queues_empty(self) -> bool: ...


class Wire:
    """Records from entering to leaving. A frame that the kernel lost is an error, not an omission."""

    def __init__(self, lab: Watched) -> None:
        self._lab = lab
        self._frames: list[bytes] = []
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._socket = self._lab.isp.socket(AF_PACKET, SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.bind(("home", ETH_P_ALL))
        self._socket.settimeout(0.05)  # how long leaving may take
        self._thread = threading.Thread(target=self._record, name="wire", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self._check_complete()
        finally:
            self._socket.close()

    def _record(self) -> None:
        while not self._ended.is_set():
            with suppress(TimeoutError):
                self._take()
        self._socket.setblocking(False)
        with suppress(BlockingIOError):  # what had come by then is read all the same
            while True:
                self._take()

    def _take(self) -> None:
        frame, address = self._socket.recvfrom(1 << 18)
        if address[2] != PACKET_OUTGOING:  # towards the client
            self._frames.append(frame)

    def _check_complete(self) -> None:
        seen, dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        if dropped:
            raise RuntimeError(
                f"the recorder lost {dropped} of {seen} frames, so it can't say what left the client"
            )

    def settle(self) -> None:
        """Returns when all that the client sent before the call has been decided on and recorded.

        First nothing waits in the client's packet queues, then a marker sent on the same path has been seen.
        """
        until(self._lab.queues_empty, SETTLE_SECONDS, "a verdict for every packet queued to user space")
        for family in FAMILIES:
            marker = b"marker " + os.urandom(16).hex().encode()
            self._lab.send_marker(family, marker)
            until(lambda marker=marker: self._seen(marker), SETTLE_SECONDS, "the marker on the wire")  # type: ignore[misc]
        self._check_complete()

    def _seen(self, needle: bytes) -> bool:
        return any(needle in frame for frame in list(self._frames))

    def packets(self) -> list[Packet]:
        """Every IP packet that left the client's physical interface so far, the VPN's own included."""
        return [packet for frame in list(self._frames) if (packet := parse(frame))]

    def leaks(self, needle: bytes) -> list[Packet]:
        """The packets outside the VPN with `needle` anywhere in them, or in what their fragments add up to.

        Settles first, so that an empty list means that none left.
        """
        self.settle()
        return self.seen(needle)

    def seen(self, needle: bytes) -> list[Packet]:
        """As leaks(), but those recorded so far: for a client that can't answer, and after leaving."""
        outside = [packet for packet in self.packets() if not _is_vpn(packet)]
        found = [packet for packet in outside if needle in packet.frame]
        if not found and any(needle in whole for whole in join_fragments(outside)):
            return [packet for packet in outside if packet.fragment is not None]
        return found

    def stun(self) -> list[Packet]:
        """The packets outside the VPN with STUN's magic cookie anywhere in them."""
        return self.leaks(COOKIE)


def _is_vpn(packet: Packet) -> bool:
    to_server = packet.destination in VPN_SERVER.values() and packet.protocol == IPPROTO_UDP
    return to_server and packet.destination_port == VPN_PORT

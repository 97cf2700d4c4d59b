"""What really leaves the client: every frame that the provider's end of its cable receives.

It looks for bytes anywhere in a frame, not for STUN as stunwall understands it, so that a mistake in stunwall
can't hide itself here.
"""

import os
from socket import IPPROTO_UDP
from typing import Protocol

from lab.addresses import FAMILIES, VPN_PORT, VPN_SERVER
from lab.capture import Capture
from lab.deadline import until
from lab.frame import Packet, join_fragments, parse
from lab.messages import COOKIE
from lab.namespace import Namespace

MARKER_PORT = 9  # discard; nobody listens
SETTLE_SECONDS = 30  # a virtual machine that shares its processors with other tests is slow


class Watched(Protocol):
    """A client behind its provider: the lab's namespace, or a virtual machine in its place."""

    isp: Namespace

    def send_marker(self, family: int, marker: bytes) -> None: ...
    def queues_empty(self) -> bool: ...


class Wire(Capture):
    """Keeps every frame that leaves the client, from entering to leaving. `end`: the provider's end of a cable."""

    def __init__(self, lab: Watched, end: str = "home") -> None:
        super().__init__(lab.isp, end)
        self._lab = lab
        self._frames: list[bytes] = []

    def take(self, frame: bytes, outgoing: bool) -> None:
        # The provider's outgoing frames are on their way to the client.
        if not outgoing:
            self._frames.append(frame)

    def settle(self) -> None:
        """Returns when everything that the client sent before the call has its verdict and is captured.

        First it waits until the client's packet queues are empty, then for a marker sent by the same path.
        """
        until(self._lab.queues_empty, SETTLE_SECONDS, "a verdict for every packet queued to user space")
        for family in FAMILIES:
            marker = b"marker " + os.urandom(16).hex().encode()
            self._lab.send_marker(family, marker)
            until(lambda marker=marker: self._has(marker), SETTLE_SECONDS, "the marker on the wire")  # type: ignore[misc]
        self.check_complete()

    def _has(self, needle: bytes) -> bool:
        return any(needle in frame for frame in list(self._frames))

    def packets(self) -> list[Packet]:
        """Every IP packet that left the client's physical interface so far, the VPN's own included."""
        return [packet for frame in list(self._frames) if (packet := parse(frame))]

    def outside(self) -> list[Packet]:
        """The packets outside the VPN so far."""
        return [packet for packet in self.packets() if not _is_vpn(packet)]

    def leaks(self, needle: bytes) -> list[Packet]:
        """The packets outside the VPN that contain `needle`, alone or joined from their fragments.

        Settles first, so that an empty list means that none left.
        """
        self.settle()
        return self.seen(needle)

    def seen(self, needle: bytes) -> list[Packet]:
        """As leaks(), without settling: for a client that can't send a marker, and after leaving."""
        outside = self.outside()
        found = [packet for packet in outside if needle in packet.frame]
        if not found and any(needle in joined for joined in join_fragments(outside)):
            return [packet for packet in outside if packet.fragment is not None]
        return found

    def stun(self) -> list[Packet]:
        """The packets outside the VPN that contain STUN's magic cookie, wherever it is in them."""
        return self.leaks(COOKIE)


def _is_vpn(packet: Packet) -> bool:
    to_server = packet.destination in VPN_SERVER.values() and packet.protocol == IPPROTO_UDP
    return to_server and packet.destination_port == VPN_PORT

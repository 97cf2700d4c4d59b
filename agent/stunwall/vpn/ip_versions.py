"""Which IP versions this system has: IPv6 is missing with the kernel option ipv6.disable=1."""

import socket
from contextlib import suppress

from stunwall.model import FAMILIES


def available() -> frozenset[int]:
    """Return the IP versions (4, 6) that sockets can be made for."""
    found = set()
    for version, family in FAMILIES.items():
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM):  # EAFNOSUPPORT
            found.add(version)
    return frozenset(found)

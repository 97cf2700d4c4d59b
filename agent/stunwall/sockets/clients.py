"""Which machine behind this one sent a packet: its MAC address, and the name by which DHCP knows it."""

import os
import socket
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from struct import Struct

from stunwall.model import EXPOSED, FAMILIES, Event
from stunwall.netlink import attribute, attributes
from stunwall.sockets import leases
from stunwall.sockets.query import KernelQuery

_NETLINK_ROUTE = 0  # linux/netlink.h
_RTM_GETNEIGH = 30  # linux/rtnetlink.h
_NDMSG = Struct("=BxxxiHBB")  # struct ndmsg: family, interface, state, flags, type (linux/neighbour.h)
_NDA_DST, _NDA_LLADDR = 1, 2
_ETHERNET = 6  # bytes of an address
_KEPT = 5.0  # seconds for which a file is not looked at again
_LARGEST = 4 << 20  # bytes that are read of a file, from its end: servers append
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

FILES: tuple[tuple[str, leases.Parser], ...] = (
    # The administrator's own word comes first.
    ("/etc/hosts", leases.hosts),
    ("/var/lib/misc/dnsmasq.leases", leases.dnsmasq),
    ("/var/lib/dnsmasq/dnsmasq.leases", leases.dnsmasq),
    ("/var/lib/dhcp/dhcpd.leases", leases.isc),
    ("/var/lib/dhcpd/dhcpd.leases", leases.isc),
    ("/var/lib/kea/kea-leases4.csv", leases.kea),
    ("/var/lib/kea/kea-leases6.csv", leases.kea),
    ("/var/lib/systemd/network/dhcp-server-lease/*", leases.networkd),
)
"""Where the distributions have them; the daemon reads those that its user may read."""


class Clients:
    """Names the machines whose packets were forwarded. It reads files, so it is for a thread that may wait.

    `files`: as FILES.
    """

    def __init__(self, files: Iterable[tuple[str, leases.Parser]] = FILES) -> None:
        self._query = KernelQuery(_NETLINK_ROUTE)
        self._files = tuple(files)
        self._until = 0.0  # of the monotonic clock
        self._seen: object = None
        self._by_address: dict[str, leases.Lease] = {}
        self._by_mac: dict[str, str] = {}

    def close(self) -> None:
        """Close the netlink socket."""
        self._query.close()

    def identify(self, event: Event) -> Event:
        """Return the event with the MAC address and the name of the machine that sent it. Never raises.

        A packet of this machine stays as it is, and so does a response, which nobody behind this machine sent.
        """
        if not event.incoming or not event.source or event.verdict == EXPOSED:
            return event
        self._read()
        mac = self._neighbour(event)
        return replace(event, mac=mac, client=self._name(event.source, mac))

    def _name(self, address: str, mac: str) -> str:
        """Return the name of a machine, "" if it has none, or if another machine had the address before."""
        lease = self._by_address.get(address)
        if lease is not None and lease.name and (not lease.mac or not mac or lease.mac == mac):
            return lease.name
        return self._by_mac.get(mac, "")

    def _neighbour(self, event: Event) -> str:
        """Return the MAC address that has a sender's address, "" if the kernel knows none."""
        family = FAMILIES.get(event.family)
        with suppress(OSError, ValueError):  # the interface is gone, or no address
            if family is not None:
                index = socket.if_nametoindex(event.incoming)
                asked = attribute(_NDA_DST, socket.inet_pton(family, event.source))
                answer = self._query.ask(_RTM_GETNEIGH, _NDMSG.pack(family, index, 0, 0, 0) + asked)
                found = attributes(answer or b"", _NDMSG.size, len(answer or b"")).get(_NDA_LLADDR, b"")
                return found.hex(":") if len(found) == _ETHERNET else ""
        return ""

    def _read(self) -> None:
        """Read the files again if they have changed."""
        now = time.monotonic()
        if now < self._until:
            return
        self._until = now + _KEPT
        found = [(path, parse) for pattern, parse in self._files for path in _matching(pattern)]
        seen = [(path, _state(path)) for path, _ in found]
        if seen == self._seen:
            return
        self._seen = seen
        self._by_address, self._by_mac = {}, {}
        for path, parse in found:
            for lease in parse(_text(path)):
                self._by_address.setdefault(lease.address, lease)
                if lease.mac and lease.name:
                    self._by_mac.setdefault(lease.mac, lease.name)


def _matching(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.name != "*":
        return [path]
    try:
        return sorted(path.parent.iterdir())
    except OSError:
        return []


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes with a file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _text(path: Path) -> str:
    """Return a file's text, "" if it cannot be read or is no file."""
    with suppress(OSError):
        descriptor = os.open(path, _OPEN)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                file.seek(max(0, status.st_size - _LARGEST))
                return file.read(_LARGEST).decode(errors="replace")
    return ""

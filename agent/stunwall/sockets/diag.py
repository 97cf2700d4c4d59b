"""Finds the socket that a packet belongs to, by its addresses and ports (sock_diag(7)).

An exact look-up, without NLM_F_DUMP, takes some 10 µs, whatever else the machine has open. Any user may ask.
"""

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from struct import Struct, error
from typing import NamedTuple

from stunwall.model import FAMILIES, Address, Datagram, Plain, Transport
from stunwall.netlink import attributes
from stunwall.sockets.query import KernelQuery

_NETLINK_SOCK_DIAG = 4  # linux/netlink.h
_SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
_ANY_STATE = 0xFFFFFFFF
_TCP_TIME_WAIT, _TCP_LISTEN = 6, 10  # include/net/tcp_states.h
# linux/inet_diag.h, enum
_INET_DIAG_MARK, _INET_DIAG_CGROUP_ID = 15, 21
_UDP_LITE = 136  # RFC 3828

_REQUEST = Struct("=BBBBI")  # struct inet_diag_req_v2: family, protocol, extensions, -, states
_UDP4, _UDP6 = (
    _REQUEST.pack(family, socket.IPPROTO_UDP, 0, 0, _ANY_STATE)
    for family in (socket.AF_INET, socket.AF_INET6)
)
# struct inet_diag_sockid: ports and addresses in network order, interface, cookie
_ENDS = Struct("=2s2s16s16sI8s")
_INTERFACE = Struct("=I")
_SOCKID_INTERFACE = 36  # its offset there
_NO_COOKIE = b"\xff" * 8  # INET_DIAG_NOCOOKIE, twice
# struct inet_diag_msg: family, state, timer, retransmissions, the id (48 bytes), expiry, two queues, uid, inode
_REPLY = Struct("=BBBB48sIIIII")


class Socket(NamedTuple):
    """A socket as the kernel knows it.

    `uid` is its user, `inode` that of /proc/PID/fd. The kernel's own sockets, as WireGuard's, have inode 0, and so do
    those that their program has closed. `interface` is the index that the socket is bound to (SO_BINDTODEVICE), 0 for
    none. `cgroup` is the inode of its folder in cgroup v2, 0 where the kernel does not say. `mark` is SO_MARK, 0 for
    none and where the right to read it is missing (CAP_NET_ADMIN).
    """

    uid: int
    inode: int
    interface: int
    cgroup: int
    mark: int


class SocketLookup:
    """Asks the kernel for sockets, in the network namespace where this was made. Not for several threads.

    Where the kernel cannot look up sockets of a protocol (CONFIG_INET_DIAG, CONFIG_INET_UDP_DIAG), none is found.

    `index`: returns an interface's index by its name, 0 if it is gone.
    """

    def __init__(self, index: Callable[[str], int]) -> None:
        self._index = index
        self._query = KernelQuery(_NETLINK_SOCK_DIAG)

    def close(self) -> None:
        """Close the netlink socket."""
        self._query.close()

    def find(self, datagram: Datagram, interface: str) -> Socket | None:
        """Return the socket that has sent a packet of this machine, None if there is none (any more). Never raises.

        Args:
            datagram: the packet. Its source is the socket's own address.
            interface: by which it leaves: without it, sockets that are bound to an interface are not found.
        """
        return self.found(self.begin(datagram, interface))

    def begin(self, datagram: Datagram, interface: str) -> int:
        """Find a socket as `find` does, and leave it to `found` to return it; return the question's number."""
        return self._query.begin(_SOCK_DIAG_BY_FAMILY, _request(datagram, self._index(interface)))

    def begin_plain(self, request: Plain, interface: int) -> int:
        """As `begin`, for a plain Binding Request and the index of an interface."""
        source, destination, source_port, destination_port, _ = request
        begins = _UDP4 if len(source) == 4 else _UDP6
        # The other side first, as in _request.
        ends = _ENDS.pack(destination_port, source_port, destination, source, interface, _NO_COOKIE)
        return self._query.begin(_SOCK_DIAG_BY_FAMILY, begins + ends)

    def found(self, question: int) -> Socket | None:
        """Return the socket that `begin` has found, None if there is none. Ask in the same order. Never raises."""
        reply = self._query.answer(question)
        return None if reply is None else parse(reply)

    def owner(self, datagram: Datagram, interface: str) -> int | None:
        """Return the user of the socket that `find` returns, None if there is none. Never raises."""
        found = self.find(datagram, interface)
        return None if found is None else found.uid

    def awaited(self, response: Datagram, interface: str) -> bool:
        """Whether a program waits for a packet that came in by `interface`: one of this machine, or of one behind it.

        Nothing is known of the programs behind this machine, so that they are taken to wait. Never raises.
        """
        if not _is_local(response.destination):
            return True
        asked = response._replace(
            source=response.destination,
            source_port=response.destination_port,
            destination=response.source,
            destination_port=response.source_port,
        )
        found = self.find(asked, interface)
        return found is not None and found.inode != 0


def _is_local(address: Address) -> bool:
    """Whether an address is one of this machine: then it is also what the kernel sends from to there."""
    with socket.socket(FAMILIES[address.version], socket.SOCK_DGRAM) as asking, suppress(OSError):
        asking.connect((str(address), 9))  # sends nothing
        return str(asking.getsockname()[0]) == str(address)
    return False


def _request(datagram: Datagram, interface: int) -> bytes:
    udp = datagram.transport is Transport.UDP
    protocol = _UDP_LITE if datagram.lite else socket.IPPROTO_UDP if udp else socket.IPPROTO_TCP
    own = datagram.source_port.to_bytes(2, "big"), datagram.source.packed
    other = datagram.destination_port.to_bytes(2, "big"), datagram.destination.packed
    # net/ipv4/udp_diag.c, udp_dump_one: it looks up as for an incoming packet, so the source is the other side.
    # net/ipv4/inet_diag.c, inet_diag_find_one_icsk: for TCP the source is the own side.
    first, second = (other, own) if udp else (own, other)
    ends = _ENDS.pack(first[0], second[0], first[1], second[1], interface, _NO_COOKIE)
    return _REQUEST.pack(FAMILIES[datagram.family], protocol, 0, 0, _ANY_STATE) + ends


def parse(reply: bytes) -> Socket | None:
    """Return the socket in a struct inet_diag_msg with attributes, None if it has none, or is malformed."""
    try:
        _, state, _, _, sockid, _, _, _, uid, inode = _REPLY.unpack_from(reply)
    except error:
        return None
    # The kernel falls back to a socket that listens on the same port. TIME_WAIT is no socket any more.
    if state in (_TCP_LISTEN, _TCP_TIME_WAIT):
        return None
    more = attributes(reply, _REPLY.size, len(reply))
    (interface,) = _INTERFACE.unpack_from(sockid, _SOCKID_INTERFACE)
    return Socket(
        uid,
        inode,
        interface,
        cgroup=int.from_bytes(more.get(_INET_DIAG_CGROUP_ID, b""), sys.byteorder),
        mark=int.from_bytes(more.get(_INET_DIAG_MARK, b""), sys.byteorder),
    )

"""Follows links, addresses, routes and routing rules in the kernel (rtnetlink(7))."""

import os
import select
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from errno import ENOBUFS, ENODEV
from ipaddress import ip_address

from stunwall import netlink
from stunwall.model import StunwallError
from stunwall.netlink import Message
from stunwall.vpn import messages
from stunwall.vpn.interfaces import Snapshot
from stunwall.vpn.messages import Read
from stunwall.vpn.network import Network
from stunwall.vpn.routes import LinkRoutes

# linux/rtnetlink.h: RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE, and
# RTNLGRP_IPV6_RULE (19) and _NEXTHOP (32) as bits
_GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << (19 - 1) | 1 << (32 - 1)
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; not in Python's socket module
_SOL_NETLINK, _GET_STRICT_CHK = 270, 12  # linux/netlink.h: a dump is of what the request says
_REQUEST, _DUMP = 0x1, 0x300  # NLM_F_*
# Bytes for notifications that wait, some 1,000 each. A VPN client makes thousands of routes at once.
_WAITING = 1 << 23
_RECEIVE = 1 << 20  # bytes; a link with many virtual functions needs more than 64 KiB
# Seconds of work until the loop serves its other parts; the kernel hands over 32 KiB at once, which takes some 2 ms.
_TURN = 0.003
_TRIES = 20  # to read something that changes meanwhile; more are an error
_LATE_MAX = 20_000  # notifications that come while something is read
# Internet addresses that no VPN routes specially (RFC 2544, RFC 5180). Nothing is sent there.
_OUT_THERE = {4: ip_address("198.18.0.1"), 6: ip_address("2001:2::1")}


class RtnetlinkError(StunwallError):
    """The kernel's links or routes could not be read."""


@dataclass(slots=True)
class _Reading:
    """Something that is being read. `late`: the notifications that came meanwhile."""

    read: Read
    sequence: int
    found: list[Message] = field(default_factory=list)
    routes: dict[tuple[int, int], LinkRoutes] = field(default_factory=dict)
    late: list[Message] = field(default_factory=list)
    interrupted: bool = False


class Rtnetlink:
    """The network as the kernel has it, in the namespace where this was made.

    Each notification changes `network`; what has to be read from the kernel is read a piece at a time, so that one call
    takes some milliseconds at most. What came by notifications meanwhile is taken once more afterwards, as a piece may
    be older. `versions` are the IP versions that the system has, `named` and `lan` as Network has them.
    """

    def __init__(self, versions: frozenset[int], named: tuple[str, ...] = (), *, lan: bool = False) -> None:
        self.network = Network(versions, named, lan=lan)
        self.known = False
        """Whether all of the network has been read since notifications were lost the last time."""
        self._versions = versions
        self._buffer = bytearray(_RECEIVE)
        self._sequence = 0
        self._tries = 0
        self._reading: _Reading | None = None
        self._epoll = select.epoll()
        # Subscribed before anything is read, so that no change is missed.
        self._changes = _socket()
        self._changes.setblocking(False)
        self._changes.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _WAITING)
        self._changes.bind((0, _GROUPS))
        self._epoll.register(self._changes, select.EPOLLIN)
        self._answers = _socket()
        self._requests = self._connect()
        self.network.everything()

    def close(self) -> None:
        """Close the sockets."""
        for each in (self._changes, self._answers, self._requests, self._epoll):
            each.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when `receive` is to be called."""
        return self._epoll.fileno()

    def read(self) -> None:
        """Read all of the network that is not known, however long it takes. Raises RtnetlinkError."""
        while not self.known:
            self.receive()

    def receive(self) -> None:
        """Take notifications, and read on, for some milliseconds at most. Raises RtnetlinkError."""
        end = time.monotonic() + _TURN
        try:
            self._take_notifications(end)
            self._read_on(end)
        except OSError as error:
            with suppress(OSError):
                self._start_anew()
            raise RtnetlinkError(f"cannot read interfaces and routes from the kernel: {error}") from error

    def snapshot(self) -> Snapshot:
        """Return the network as far as it is known. Raises RtnetlinkError."""
        try:
            egress = {version: self._egress(version) for version in self._versions}
        except OSError as error:
            raise RtnetlinkError(f"cannot ask the kernel for routes: {error}") from error
        return self.network.snapshot(egress)

    def _take_notifications(self, end: float) -> None:
        while time.monotonic() < end:
            try:
                data = self._receive(self._changes)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != ENOBUFS:
                    raise
                self._start_anew()  # some were lost
                continue
            for message in netlink.messages(data):
                self.network.take(message)
                if self._reading is not None:
                    self._reading.late.append(message)

    def _start_anew(self) -> None:
        """Read everything again, first whether the VPN's links are as before."""
        self.known = False
        self.network.everything()
        self._abort()
        self._tries = 0
        for index in self.network.vpn():
            self._look_at(index)

    def _abort(self) -> None:
        if self._reading is not None:
            self._requests.close()  # and with it, what the kernel still has to say
            self._requests = self._connect()
            self._reading = None

    def _connect(self) -> socket.socket:
        requests = _socket()
        requests.setblocking(False)
        self._epoll.register(requests, select.EPOLLIN)
        return requests

    def _read_on(self, end: float) -> None:
        """Read what is wanted, until the time is over; what is read next has been asked for in any case."""
        while (reading := self._begin()) is not None and time.monotonic() < end:
            for message in netlink.messages(self._receive(self._requests)):
                if message.sequence == reading.sequence and self._take_answer(reading, message):
                    self._reading = None
                    self._finish(reading)
                    break

    def _begin(self) -> _Reading | None:
        """Ask for what is wanted next, if nothing is being read; return what is."""
        network = self.network
        while self._reading is None and network.wanted:
            read = next(iter(network.wanted))
            if read.kind == messages.GETLINK and read.index:
                del network.wanted[read]
                self._look_at(read.index)
                continue
            self._sequence += 1
            self._reading = _Reading(read, self._sequence)
            if read.kind == messages.GETROUTE:
                self._reading.routes = network.fresh_routes(read)
            self._send(self._requests, read.kind, _REQUEST | _DUMP, messages.request(read))
            del network.wanted[read]
        if self._reading is None and not self.known:
            self.known = self.network.changed = True
        return self._reading

    def _take_answer(self, reading: _Reading, message: Message) -> bool:
        """Take a part of what is being read; return whether it was the last."""
        reading.interrupted |= bool(message.flags & netlink.DUMP_INTERRUPTED)
        if message.kind in (netlink.DONE, netlink.ERROR):
            number = messages.error(message)
            if number not in (0, ENODEV):  # the link has gone
                raise OSError(number, os.strerror(number))
            return True
        if reading.read.kind == messages.GETROUTE:
            self.network.take_route(message, reading.routes)
        else:
            reading.found.append(message)
        return False

    def _finish(self, reading: _Reading) -> None:
        read = reading.read
        if _is_doubtful(reading):
            self._tries += 1
            if self._tries >= _TRIES:
                raise OSError("they change too fast")
            self.network.wanted = {read: None} | self.network.wanted
            return
        self._tries = 0
        match read.kind:
            case messages.GETLINK:
                self.network.replace_links(reading.found)
            case messages.GETADDR:
                self.network.replace_addresses(read, reading.found)
            case messages.GETRULE:
                self.network.replace_rules(read.version, reading.found)
            case messages.GETROUTE:
                self.network.replace_routes(reading.routes)
        for message in reading.late:
            self.network.take(message)

    def _look_at(self, index: int) -> None:
        """Read one link now."""
        found = self._ask(messages.GETLINK, messages.request(Read(messages.GETLINK, 0, index)))
        if found is None:
            self.network.remove_link(index)
        else:
            self.network.take_link(found)

    def _egress(self, version: int) -> int:
        found = self._ask(messages.GETROUTE, messages.towards(_OUT_THERE[version]))
        route = messages.route(found) if found is not None else None
        return route.nexthops[0][0] if route is not None and route.nexthops else 0

    def _ask(self, kind: int, body: bytes) -> Message | None:
        """Return the kernel's answer, None if it says that there is none. It answers before send() returns."""
        self._sequence += 1
        self._send(self._answers, kind, _REQUEST, body)
        while True:
            for found in netlink.messages(self._receive(self._answers)):
                if found.sequence == self._sequence:
                    return None if found.kind == netlink.ERROR else found

    def _send(self, to: socket.socket, kind: int, flags: int, body: bytes) -> None:
        to.sendto(netlink.message(kind, flags, self._sequence, body), (0, 0))

    def _receive(self, what: socket.socket) -> bytes:
        size = what.recv_into(self._buffer)
        return bytes(memoryview(self._buffer)[:size])


def _is_doubtful(reading: _Reading) -> bool:
    """Whether something may be missing, since it was changed while it was read.

    For IPv4's routes, the kernel goes on from the last one, whatever came or went before it (net/ipv4/fib_trie.c,
    fib_table_dump); for IPv6's, it counts from the first one (net/ipv6/ip6_fib.c, fib6_walk_continue).
    """
    counted = reading.read.kind == messages.GETROUTE and reading.read.version != 4
    moved = counted and any(
        messages.family(late) == reading.read.version
        for late in reading.late
        if late.kind in (messages.NEWROUTE, messages.DELROUTE)
    )
    return reading.interrupted or moved or len(reading.late) > _LATE_MAX


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    made.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
    return made

"""Sends packets that end at a router nearby, and waits for who reports them (ICMP; RECVERR in ip(7)). Any user may."""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Self

from stunwall.check.ways import Way
from stunwall.model import FAMILIES, Address, Transport
from stunwall.vpn.walk import LOOPBACK

# linux/in.h, linux/in6.h, linux/tcp.h, linux/socket.h: not all are in Python's socket module.
_RECVERR = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}
TTL = {4: (socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)}
_IP_PKTINFO = 8
_PKTINFO = {4: (socket.IPPROTO_IP, _IP_PKTINFO), 6: (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)}
_SO_MARK = 36
_FASTOPEN_NO_COOKIE = 34
_MSG_ERRQUEUE, _MSG_FASTOPEN = 0x2000, 0x20000000
_ORIGIN_ICMP = (2, 3)  # linux/errqueue.h: SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_OFFENDER = 16  # bytes of struct sock_extended_err: then comes the reporter's struct sockaddr
_RECEIVE = 2048  # bytes


@dataclass(slots=True, eq=False)
class Probe:
    """A packet to be sent, and its outcome."""

    way: Way
    name: str
    transport: Transport
    port: int
    make: Callable[[], bytes]
    """Returns the payload, with a random part."""
    seen_by: Address | None = None
    """The router that reported that the packet ended there: it has left this machine."""
    answered: bool = False
    """Whether this machine has answered it, in place of the server."""
    refused: str = ""
    """Why it was not sent, or what came in place of a report."""

    @property
    def done(self) -> bool:
        """Whether nothing else is to be expected."""
        return self.seen_by is not None or self.answered or bool(self.refused)

    def again(self) -> Self:
        """Return the same packet, which is still to be sent."""
        return replace(self, seen_by=None, answered=False, refused="")


def send(probes: Sequence[Probe], hops: int, seconds: float, own: frozenset[Address]) -> None:
    """Send all of them, in their order, so that they end after `hops` routers, and wait for reports.

    Returns after `seconds`, or once all is known. `own`: the machine's addresses: what they report was never sent.
    """
    end = time.monotonic() + seconds
    poll = select.poll()
    with ExitStack() as stack:
        waiting: dict[int, tuple[Probe, socket.socket]] = {}
        for probe in probes:
            try:
                made = stack.enter_context(_open(probe, hops))
            except OSError as error:
                probe.refused = f"could not be sent: {error.strerror}"
                continue
            try:
                _begin(probe, made)
            except PermissionError:
                probe.refused = "was dropped by this machine's rules"
                continue
            except OSError as error:
                fast_open = error.errno == errno.EOPNOTSUPP and probe.transport is Transport.TCP
                why = "sysctl net.ipv4.tcp_fastopen is off" if fast_open else error.strerror
                probe.refused = f"was not sent: {why}"
                continue
            waiting[made.fileno()] = probe, made
            poll.register(made, select.POLLIN)
        while waiting and (left := end - time.monotonic()) > 0:
            ready = poll.poll(left * 1000)
            # What is read later may be the report of a packet that the kernel has sent by itself.
            if time.monotonic() >= end:
                return
            for descriptor, _ in ready:
                probe, made = waiting[descriptor]
                _take(probe, made, own)
                if probe.done:
                    poll.unregister(descriptor)
                    del waiting[descriptor]


def may_mark() -> bool:
    """Return whether this process may send with a mark: root may, and a service with CAP_NET_ADMIN."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_MARK, 0)
        except PermissionError:
            return False
    return True


def _open(probe: Probe, hops: int) -> socket.socket:
    version = probe.way.packet.version
    made = bound(probe.way, probe.transport)
    try:
        made.setsockopt(*TTL[version], hops)
        if probe.transport is Transport.TCP:
            # A connection's first packet carries the payload (tcp(7), RFC 7413): nobody needs to answer.
            made.setsockopt(socket.IPPROTO_TCP, _FASTOPEN_NO_COOKIE, 1)
    except BaseException:
        made.close()
        raise
    return made


def bound(way: Way, transport: Transport) -> socket.socket:
    """Return a socket that is bound as a way says, and is told of errors and interfaces. Raises OSError."""
    packet = way.packet
    kind = socket.SOCK_DGRAM if transport is Transport.UDP else socket.SOCK_STREAM
    made = socket.socket(FAMILIES[packet.version], kind | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(*_RECVERR[packet.version], 1)
        made.setsockopt(*_PKTINFO[packet.version], 1)
        if packet.mark:
            made.setsockopt(socket.SOL_SOCKET, _SO_MARK, packet.mark)
        if way.device:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(way.device))
        if packet.source is not None:
            made.bind((str(packet.source), 0))
    except BaseException:
        made.close()
        raise
    return made


def _begin(probe: Probe, made: socket.socket) -> None:
    to = str(probe.way.packet.destination), probe.port
    if probe.transport is Transport.UDP:
        made.connect(to)  # over IPv6, others are not told of errors
        made.send(probe.make())
    else:
        with suppress(BlockingIOError):  # EINPROGRESS
            made.sendto(probe.make(), _MSG_FASTOPEN, to)


def _take(probe: Probe, made: socket.socket, own: frozenset[Address]) -> None:
    """Read what the kernel has for a socket."""
    with suppress(BlockingIOError):
        _, said, _, _ = made.recvmsg(_RECEIVE, _RECEIVE, _MSG_ERRQUEUE)
        for level, kind, data in said:
            if (level, kind) == _RECVERR[probe.way.packet.version]:
                _report(probe, data, own)
        return
    try:
        _, said, _, _ = made.recvmsg(_RECEIVE, _RECEIVE)
    except BlockingIOError:
        return
    except OSError as error:
        probe.refused = f"was refused ({error.strerror})"
        return
    # No server has that address. What this machine sends itself comes in by the loopback interface.
    probe.answered = came_by(said) == LOOPBACK
    probe.refused = "was answered by this machine" if probe.answered else "was answered"


def came_by(said: Sequence[tuple[int, int, bytes]]) -> int:
    """Return the interface that control messages name, 0 if they name none: struct in_pktinfo, in6_pktinfo."""
    places = {(socket.IPPROTO_IP, _IP_PKTINFO): 0, (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO): 16}
    for level, kind, data in said:
        if (at := places.get((level, kind))) is not None:
            return int(struct.unpack_from("=i", data, at)[0])
    return 0


def _report(probe: Probe, data: bytes, own: frozenset[Address]) -> None:
    number, origin = struct.unpack_from("=IB", data)
    if origin not in _ORIGIN_ICMP:
        probe.refused = f"was not sent: {os.strerror(number)}"
        return
    length, at = (4, 4) if probe.way.packet.version == 4 else (16, 8)  # in struct sockaddr_in, sockaddr_in6
    reporter = ip_address(data[_OFFENDER + at : _OFFENDER + at + length])
    if reporter in own or reporter == probe.way.packet.destination:
        probe.refused = "was refused"
    else:
        probe.seen_by = reporter

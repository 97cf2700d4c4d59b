"""Asks a STUN server that the user names which address it sees, in each way that a program can send."""

import os
import re
import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_address

from stunwall.check import probe
from stunwall.check.verdict import Verdict
from stunwall.check.ways import Way
from stunwall.model import Address, StunwallError, Transport
from stunwall.stun.message import (
    HEADER,
    MAGIC_COOKIE,
    Message,
    MessageClass,
    StunError,
    mapped_address,
    parse,
)
from stunwall.vpn.walk import LOOPBACK

PORT = 3478  # RFC 8489 §18.6
# Seconds after the first request at which it is repeated, and then waited (RFC 8489 §6.2.1: RTO 500 ms, doubled).
_REPEATED, _SECONDS = (0.5, 1.5), 3.5
_RECEIVE = 2048  # bytes


class ServerError(StunwallError):
    """The server could not be asked."""

    exit_code = 5


@dataclass(slots=True, eq=False)
class Asked:
    """A way, and what came of the request: `why_not` says why none was sent, or what came in place of an answer.

    `address`: what the server saw of this machine. `by`: the name of the interface that the answer came in by.
    """

    way: Way
    transaction: bytes
    hops: int = 0
    """After how many routers the request ends, 0: after as many as usual."""
    answered: bool = False
    address: Address | None = None
    by: str = ""
    why_not: str = ""
    here: bool = False
    """Whether this machine has stopped it."""

    @property
    def done(self) -> bool:
        """Whether nothing else is to be expected."""
        return self.answered or bool(self.why_not)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a way has shown: `address` is what the server saw, None if it did not answer so."""

    way: Way
    address: Address | None
    verdict: Verdict
    why: str


def parse_uri(text: str) -> tuple[str, int]:
    """Return host and port of `stun:HOST[:PORT]` (RFC 7064 §3.1). Raises ServerError."""
    match = re.fullmatch(
        r"stun:(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?", text, re.IGNORECASE | re.ASCII
    )
    port = int(match[2] or PORT) if match else 0
    if match is None or not 0 < port < 1 << 16:
        raise ServerError(
            f"expected a STUN server such as stun:stun.example.org or stun:[2001:db8::1]:3478, not {text}"
        )
    return match[1].strip("[]"), port


def resolve(host: str, port: int) -> dict[int, Address]:
    """Return an address of the host of each IP version that it has; it is looked up once. Raises ServerError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise ServerError(f"{host} has no address: {error.strerror}") from error
    addresses: dict[int, Address] = {}
    for *_, (text, *_rest) in found:
        address = ip_address(str(text).partition("%")[0])
        addresses.setdefault(address.version, address)
    return addresses


def ask(found: Iterable[Way], port: int) -> list[Asked]:
    """Send a request in each of the ways, over UDP, and return what came of them: in some seconds at most.

    stunwall refuses in the server's name, with an error. A request that ends at the first router reaches no server
    behind it: if that is answered with an error, too, it was this machine.
    """
    asked = _ask([Asked(way, os.urandom(12)) for way in found], port)
    errors = [each for each in asked if each.answered and each.address is None and is_behind_router(each.way)]
    again = _ask([Asked(each.way, os.urandom(12), hops=1) for each in errors], port)
    for each, second in zip(errors, again, strict=True):
        if second.here or (second.answered and second.address is None):
            each.answered, each.here, each.why_not = False, True, "was refused by this machine"
    return asked


def is_behind_router(way: Way) -> bool:
    """Whether a packet passes a router on its way."""
    route = way.explanation.path.route
    return route is not None and bool(route.hops) and all(hop.gateway for hop in route.hops)


def _ask(asked: list[Asked], port: int) -> list[Asked]:
    start, repeats = time.monotonic(), list(_REPEATED)
    with ExitStack() as stack:
        waiting: dict[int, tuple[Asked, socket.socket]] = {}
        poll = select.poll()
        for each in asked:
            if (made := _open(each, port)) is not None:
                stack.enter_context(made)
                _send(each, made)
                waiting[made.fileno()] = each, made
                poll.register(made, select.POLLIN)
        while any(not each.done for each, _ in waiting.values()):
            passed = time.monotonic() - start
            if passed >= _SECONDS:
                break
            if repeats and passed >= repeats[0]:
                del repeats[0]
                for each, made in waiting.values():
                    if not each.done:
                        _send(each, made)
            for descriptor, _ in poll.poll(max(0.0, (repeats or [_SECONDS])[0] - passed) * 1000):
                each, made = waiting[descriptor]
                _take(each, made)
                if each.done:
                    poll.unregister(descriptor)
    return asked


def _open(asked: Asked, port: int) -> socket.socket | None:
    try:
        made = probe.bound(asked.way, Transport.UDP)
    except OSError as error:
        asked.why_not = f"could not be sent: {error.strerror}"
        return None
    try:
        if asked.hops:
            made.setsockopt(*probe.TTL[asked.way.packet.version], asked.hops)
        made.connect((str(asked.way.packet.destination), port))
    except OSError as error:
        made.close()
        asked.why_not = f"could not be sent: {error.strerror}"
        return None
    return made


def _send(asked: Asked, made: socket.socket) -> None:
    try:
        made.send(struct.pack("!HH", 1, 0) + MAGIC_COOKIE + asked.transaction)
    except PermissionError:
        asked.why_not, asked.here = "was dropped by this machine's rules", True
    except OSError as error:
        asked.why_not = f"was refused ({error.strerror})"


def _take(asked: Asked, made: socket.socket) -> None:
    """Read what the kernel has for a socket."""
    try:
        data, said, _, _ = made.recvmsg(_RECEIVE, _RECEIVE)
    except BlockingIOError:
        # It is readable because of an error.
        with suppress(OSError):
            made.recvmsg(_RECEIVE, _RECEIVE, socket.MSG_ERRQUEUE)
        asked.why_not = "was refused"
        return
    except OSError as error:
        asked.why_not = f"was refused ({error.strerror})"
        return
    message = _message(data)
    if message is None or message.transaction_id != asked.transaction:
        return  # of somebody else
    index = probe.came_by(said)
    if index == LOOPBACK:
        asked.why_not, asked.here = "was refused by this machine", True
        return
    with suppress(OSError):  # gone since
        asked.by = socket.if_indextoname(index)
    asked.answered = True
    if message.message_class is MessageClass.SUCCESS:
        asked.address = mapped_address(message)


def _message(data: bytes) -> Message | None:
    """Return the response in a datagram, None if it is none."""
    try:
        message = parse(data)
    except StunError:
        return None
    is_response = message.message_class in (MessageClass.SUCCESS, MessageClass.ERROR)
    return message if message.cookie and is_response and len(data) >= HEADER else None


def judge(asked: Sequence[Asked], vpn: frozenset[str]) -> list[Answer]:
    """Return what each way has shown. `vpn`: the names of the interfaces that are the VPN.

    What the server saw of what went into the VPN is the VPN's address: by another way, it must see the same or nothing.
    """
    reference = {each.address for each in asked if each.way.into_vpn and each.address is not None}
    return [Answer(each.way, each.address, *_judge(each, reference, vpn)) for each in asked]


def _judge(asked: Asked, reference: set[Address], vpn: frozenset[str]) -> tuple[Verdict, str]:
    saw = f"the server saw {asked.address}" if asked.address else "the server answered, but named no address"
    if asked.way.into_vpn:
        if not asked.answered:
            return Verdict.MUTE, f"no answer through the VPN: the request {asked.why_not or 'got none'}"
        if asked.by and asked.by not in vpn:
            return Verdict.LEAK, f"{saw}, and its answer came in by {asked.by}, outside the VPN"
        return Verdict.THROUGH, f"{saw}, through the VPN"
    if asked.answered:
        same = asked.address is None or asked.address in reference or not reference
        if asked.by in vpn and same:
            return Verdict.SEALED, f"{saw}: the request was moved into the VPN"
        if asked.address is None and not is_behind_router(asked.way):
            return Verdict.INCONCLUSIVE, "it was refused, by this machine or a server in the same network"
        return Verdict.LEAK, f"{saw} by {asked.by or 'another interface'}, outside the VPN"
    if asked.here:
        return Verdict.SEALED, f"the request {asked.why_not}"
    return Verdict.INCONCLUSIVE, f"the request {asked.why_not or 'got no answer, which has many causes'}"

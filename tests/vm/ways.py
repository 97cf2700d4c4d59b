"""STUN by ways that pass no rules of the first lock: functions that test_second_lock.py calls inside the machine.

As for inside.py: only the standard library and files of the lab; JSON, with bytes as hexadecimal digits.
"""

import fcntl
import sys
from contextlib import suppress
from functools import partial
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM, socket
from typing import Any

from lab import second_lock
from lab.deadline import until
from lab.namespace import Namespace
from lab.probe import Binding, connect, exchange
from vm.inside import Here

SIOCOUTQNSD = 0x894B  # linux/sockios.h
OPENING = b"no STUN: the first data of a flow"


class Existing(Namespace):
    """A namespace that somebody else has made."""

    def __init__(self, name: str) -> None:
        self.name = name


def dropped() -> int:
    """How many packets the second lock has dropped so far as STUN that the first has not passed."""
    return second_lock.dropped(Here())


def write_frames(namespace: str, device: str, family: int, how: dict[str, Any], payloads: list[str]) -> None:
    """By a packet socket of a namespace, of the machine's own network if it has no name."""
    source = Existing(namespace) if namespace else Here()
    with second_lock.packet_socket(source, device, family, second_lock.Frame(**how)) as write:
        for payload in payloads:
            write(bytes.fromhex(payload))


def send_in_flow(namespace: str, server: tuple[str, int], kind: int, payloads: list[str]) -> None:
    """Over a new socket, once the server has sent something back to it, so that the flow is in a flowtable."""
    host, port = server
    with connect(Existing(namespace), (host, port), kind=kind) as sock:
        until(partial(exchange, sock, OPENING), 10, "an answer in the flow")
        for payload in payloads:
            sock.sendall(bytes.fromhex(payload))
        # Closing resets the connection, and discards what the kernel still holds back (tcp_autocorking).
        until(lambda: kind != SOCK_STREAM or not _unsent(sock), 5, "all of it to be sent")


def _unsent(sock: socket) -> int:
    """How many bytes TCP has not sent yet."""
    answer = fcntl.ioctl(sock, SIOCOUTQNSD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def send_datagrams(device: str, server: tuple[str, int], payloads: list[str]) -> None:
    """By an ordinary socket that is bound to an interface. IPv4."""
    host, port = server
    with Here().socket(AF_INET, SOCK_DGRAM) as sock:
        Binding(device=device).apply(sock)
        for payload in payloads:
            with suppress(PermissionError):  # a firewall dropped it
                sock.sendto(bytes.fromhex(payload), (host, port))


def frames_arrive(device: str, family: int, how: dict[str, Any], namespace: str, interface: str) -> bool:
    """lab.second_lock.comes_out, from the machine's own network to another namespace of it."""
    end = Existing(namespace), interface
    return second_lock.comes_out(Here(), device, family, second_lock.Frame(**how), end)


def datagrams_arrive(device: str, server: tuple[str, int], namespace: str, interface: str) -> bool:
    """The same for ordinary sockets."""
    return second_lock.arrives(
        lambda payloads: send_datagrams(device, server, [payload.hex() for payload in payloads]),
        (Existing(namespace), interface),
    )

"""A server that sends back whatever it receives, byte for byte."""

import socket
import threading
from contextlib import suppress
from socket import SOCK_DGRAM, SOCK_STREAM
from typing import Any

from lab.addresses import ECHO_SERVER
from lab.namespace import Namespace
from lab.server import Server

UDP_PORTS = (53, 69, 123, 443, 3478, 5004, 50001, 51821)
TCP_PORTS = (80, 443, 3478, 5349, 8080)


class Echo(Server):
    """Listens on these ports of ECHO_SERVER's addresses."""

    def __init__(self, namespace: Namespace) -> None:
        ports = [(SOCK_DGRAM, port) for port in UDP_PORTS] + [(SOCK_STREAM, port) for port in TCP_PORTS]
        super().__init__(namespace, [(kind, ip, port) for ip in ECHO_SERVER.values() for kind, port in ports])

    def reply(self, payload: bytes, sender: tuple[Any, ...]) -> bytes:
        return payload


def round_trip(sock: socket.socket, payload: bytes, seconds: float = 5) -> bytes:
    """What comes back for `payload` over a connected socket; each read waits up to `seconds`."""
    sock.settimeout(seconds)
    # In a thread, because the first bytes of a large payload come back before the last ones are sent.
    sender = threading.Thread(target=sock.sendall, args=(payload,), daemon=True)
    sender.start()
    back = b""
    with suppress(TimeoutError):  # the caller's comparison shows what is missing
        while len(back) < len(payload):
            piece = sock.recv(65535)
            back += piece
            if not piece or sock.type == SOCK_DGRAM:
                break
    sender.join(seconds)
    return back

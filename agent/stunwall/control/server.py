"""The daemon's end of the socket: who asks, and what is answered."""

import grp
import json
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stunwall.control.protocol import FILE, ControlError, Status
from stunwall.model import GROUP

_SO_PEERGROUPS = 59  # asm-generic/socket.h; not in Python's socket module
_GROUPS_BYTES = 1024  # the most that Python's getsockopt() takes: 256 groups
_REQUEST_MAX = 4096  # bytes; a request is a line of some tens
_CLIENTS_MAX = 16
_BACKLOG = 128  # that may wait to be served
_REST = 0.01  # seconds until another is accepted after one without rights, who must not keep us busy


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks, as the kernel knows it (SO_PEERCRED); `may_change`: root, or of the group `stunwall`."""

    uid: int
    may_change: bool


Answer = Callable[[dict[str, Any], Peer], Status]


class Control:
    """Serves the socket inside the daemon's selector; `answer(request, peer)` returns the reply to a request.

    `for_all`: everybody may connect, else root and the group `stunwall`.
    """

    def __init__(
        self, folder: Path, selector: selectors.BaseSelector, answer: Answer, for_all: bool = False
    ) -> None:
        self._file = folder / FILE
        self._selector = selector
        self._answer = answer
        # Of each client what it has sent of its request, then what is still to be sent of the reply.
        self._clients: dict[socket.socket, bytes] = {}
        self._resting_until = 0.0  # seconds of the monotonic clock, 0 while clients are accepted
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        before = os.umask(0o111 if for_all else 0o117)  # the right mode from the start
        try:
            self._file.unlink(missing_ok=True)
            self._listener.bind(str(self._file))
        except OSError as error:
            self._listener.close()
            raise ControlError(f"cannot make the socket {self._file}: {error.strerror or error}") from error
        finally:
            os.umask(before)
        self._listener.listen(_BACKLOG)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def admit(self, for_all: bool) -> None:
        """Let everybody connect from now on, or root and the group alone. Raises ControlError."""
        try:
            self._file.chmod(0o666 if for_all else 0o660)
        except OSError as error:
            raise ControlError(f"cannot change who may use {self._file}: {error.strerror}") from error

    @property
    def rest(self) -> float | None:
        """The seconds until `resume` is to be called, None if it is not."""
        return max(0.0, self._resting_until - time.monotonic()) if self._resting_until else None

    def resume(self) -> None:
        """Accept clients again, if the rest is over."""
        if self.rest == 0:
            self._resting_until = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """End all conversations, and remove the socket."""
        for client in list(self._clients):
            self._drop(client)
        if not self._resting_until:
            self._selector.unregister(self._listener)
        self._listener.close()
        self._file.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # gone again
            return
        if len(self._clients) >= _CLIENTS_MAX:
            self._drop(next(iter(self._clients)))  # the oldest has had its time
        client.setblocking(False)
        self._clients[client] = b""
        peer = _peer(client)
        self._selector.register(client, selectors.EVENT_READ, lambda: self._read(client, peer))
        if not peer.may_change:
            self._selector.unregister(self._listener)
            self._resting_until = time.monotonic() + _REST

    def _read(self, client: socket.socket, peer: Peer) -> None:
        if client not in self._clients:  # dropped for a newer one since the selector looked
            return
        try:
            received = client.recv(_REQUEST_MAX)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        line = self._clients[client] + received
        if received and b"\n" not in line and len(line) <= _REQUEST_MAX:
            self._clients[client] = line
            return
        if not received:
            self._drop(client)
            return
        self._clients[client] = json.dumps(self._reply(line, peer)).encode() + b"\n"
        self._selector.modify(client, selectors.EVENT_WRITE, lambda: self._write(client))
        self._write(client)

    def _write(self, client: socket.socket) -> None:
        """Send what the socket takes of the reply; the selector calls again for the rest."""
        if client not in self._clients:
            return
        reply = self._clients[client]
        try:
            reply = reply[client.send(reply) :]
        except BlockingIOError:
            return
        except OSError:  # gone
            reply = b""
        self._clients[client] = reply
        if not reply:
            self._drop(client)

    def _reply(self, line: bytes, peer: Peer) -> Status:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": f"a JSON object in one line of at most {_REQUEST_MAX} bytes expected"}
        if not isinstance(request, dict):
            return {"error": 'a JSON object expected, as {"command": "status"}'}
        return self._answer(request, peer)

    def _drop(self, client: socket.socket) -> None:
        del self._clients[client]
        self._selector.unregister(client)
        client.close()


def _peer(client: socket.socket) -> Peer:
    _, uid, gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = b""
    with suppress(OSError):  # ERANGE: a member of more groups than that
        groups = client.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    try:
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        group = -1
    ids = {gid, *struct.unpack(f"{len(groups) // 4}I", groups)}
    return Peer(uid, uid in (0, os.geteuid()) or group in ids)

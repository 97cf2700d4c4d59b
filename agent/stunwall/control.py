"""The daemon's UNIX socket: one JSON line asks, one JSON line answers."""

import json
import os
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from stunwall.model import StunwallError

FILE = "control.sock"
_REQUEST_MAX = 4096  # bytes; a request is a line of some tens
_CLIENTS_MAX = 16
_TIMEOUT = 2.0  # seconds that the CLI waits for the daemon

Status = dict[str, Any]


class ControlError(StunwallError):
    """The daemon could not be asked."""


class ControlRightsError(ControlError):
    """The socket is there, but not for this user."""

    exit_code = 4


class Control:
    """Serves the socket inside the daemon's selector; `answer(request)` returns the reply to a request."""

    def __init__(
        self, folder: Path, selector: selectors.BaseSelector, answer: Callable[[dict[str, Any]], Status]
    ) -> None:
        self._file = folder / FILE
        self._selector = selector
        self._answer = answer
        self._clients: dict[socket.socket, bytes] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        before = os.umask(0o117)  # rw for user and group from the start
        try:
            self._file.unlink(missing_ok=True)
            self._listener.bind(str(self._file))
        except OSError as error:
            self._listener.close()
            raise ControlError(f"cannot make the socket {self._file}: {error.strerror or error}") from error
        finally:
            os.umask(before)
        self._listener.listen(_CLIENTS_MAX)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """End all conversations, and remove the socket."""
        for client in list(self._clients):
            self._drop(client)
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
        self._selector.register(client, selectors.EVENT_READ, lambda: self._read(client))

    def _read(self, client: socket.socket) -> None:
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
        if received:
            with suppress(OSError):  # a client that does not read its answer has no claim to it
                client.send(json.dumps(self._reply(line)).encode() + b"\n")
        self._drop(client)

    def _reply(self, line: bytes) -> Status:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": f"a JSON object in one line of at most {_REQUEST_MAX} bytes expected"}
        if not isinstance(request, dict):
            return {"error": 'a JSON object expected, as {"command": "status"}'}
        return self._answer(request)

    def _drop(self, client: socket.socket) -> None:
        del self._clients[client]
        self._selector.unregister(client)
        client.close()


def ask(folder: Path, request: dict[str, Any]) -> Status | None:
    """Return the daemon's reply, None if no daemon runs there. Raises ControlError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_TIMEOUT)
        try:
            client.connect(str(folder / FILE))
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as stream:
                reply = json.loads(stream.readline())
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except PermissionError as error:
            raise ControlRightsError(
                f"the daemon's socket {folder / FILE} is for root and the group stunwall: try with sudo, or "
                "join the group with `sudo usermod -aG stunwall $USER` and log in again"
            ) from error
        except (OSError, ValueError) as error:
            raise ControlError(f"stunwalld does not answer on {folder / FILE}: {error}") from error
    if not isinstance(reply, dict):
        raise ControlError(f"stunwalld answered on {folder / FILE} with something else than an object")
    return reply

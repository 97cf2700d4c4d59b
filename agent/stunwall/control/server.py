"""The daemon's end of the socket: who asks, and what is answered."""

import errno
import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stunwall.control.held import Held, Hold
from stunwall.control.mailbox import Mailbox
from stunwall.control.peer import Peer, peer_of
from stunwall.control.prompts import Authorize, Prompts
from stunwall.control.protocol import FILE, ControlError, Status
from stunwall.control.subscribers import Subscribers

_REQUEST_MAX = 4096  # bytes; a request is a line of some tens
_CLIENTS_MAX = 16
_BACKLOG = 128  # that may wait to be served
_WORKERS_MAX = 4  # replies that are made at the same time
_REST = 0.01  # seconds until another is accepted after one without rights, who must not keep us busy


@dataclass(frozen=True, slots=True)
class Later:
    """A reply that takes long, or reads the disk: `make` is called in a thread of its own."""

    make: Callable[[], Status]


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The peer's connection stays open: its user's new events are sent there. `answers`: and it answers questions."""

    answers: bool = False


Reply = Status | Later | Subscribe | Authorize | Hold
Answer = Callable[[dict[str, Any], Peer], Reply]


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
        self._mailbox = Mailbox()
        self._working = 0
        self.subscribers = Subscribers(selector, self._mailbox)
        self._held = Held(selector)
        self._prompts = Prompts(selector, self._mailbox, self._resume_client)
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
        selector.register(self._mailbox, selectors.EVENT_READ, self._mailbox.run)

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
        self.subscribers.close()
        self._held.close()
        self._prompts.close()
        self._selector.unregister(self._mailbox)
        self._mailbox.close()
        if not self._resting_until:
            self._selector.unregister(self._listener)
        self._listener.close()
        self._file.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # the listener stays readable until one is closed
                self._stop_accepting()
            return
        client.setblocking(False)
        self._keep(client)
        peer = peer_of(client)
        self._selector.register(client, selectors.EVENT_READ, lambda: self._read(client, peer))
        if not peer.may_change:
            self._stop_accepting()

    def _stop_accepting(self) -> None:
        self._selector.unregister(self._listener)
        self._resting_until = time.monotonic() + _REST

    def _keep(self, client: socket.socket) -> None:
        if len(self._clients) >= _CLIENTS_MAX:
            self._drop(next(iter(self._clients)))  # the oldest has had its time
        self._clients[client] = b""

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
        self._selector.unregister(client)
        match self._reply(line, peer):
            case Later() as later:
                self._make(later, client)
            case Subscribe(answers):
                del self._clients[client]
                self.subscribers.add(client, peer.uid, answers)
            case Hold() as hold:
                del self._clients[client]
                self._held.add(client, hold)
            case Authorize() as asked:
                del self._clients[client]  # others must not push it out while its user answers
                self._prompts.add(client, asked)
            case dict() as reply:
                self._send(client, reply)

    def _make(self, later: Later, client: socket.socket) -> None:
        if self._working >= _WORKERS_MAX:
            self._send(client, {"error": "stunwalld is busy: try again"})
            return

        def work() -> None:
            reply = later.make()
            self._mailbox.post(lambda: self._made(client, reply))

        self._working += 1
        threading.Thread(target=work, name="reply", daemon=True).start()

    def _made(self, client: socket.socket, reply: Status) -> None:
        self._working -= 1
        if client in self._clients:  # else dropped for a newer one
            self._send(client, reply)

    def _send(self, client: socket.socket, reply: Status) -> None:
        self._clients[client] = json.dumps(reply).encode() + b"\n"
        self._selector.register(client, selectors.EVENT_WRITE, lambda: self._write(client))
        self._write(client)

    def _resume_client(self, client: socket.socket, reply: Status) -> None:
        """Send the reply to a client that waited for polkit."""
        self._keep(client)
        self._send(client, reply)

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

    def _reply(self, line: bytes, peer: Peer) -> Reply:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": f"a JSON object in one line of at most {_REQUEST_MAX} bytes expected"}
        if not isinstance(request, dict):
            return {"error": 'a JSON object expected, as {"command": "status"}'}
        return self._answer(request, peer)

    def _drop(self, client: socket.socket) -> None:
        del self._clients[client]
        with suppress(KeyError):  # its reply is being made
            self._selector.unregister(client)
        client.close()

"""Connections that stay open, and get a line for each new event of their user. Some of them also answer questions."""

import json
import selectors
import socket
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

from stunwall.control.mailbox import Mailbox

_EACH, _ALL = 4, 64  # connections of one user, and of all
_ANSWER_MAX = 8192  # bytes


@dataclass(slots=True)
class _Client:
    """`answers`: it has said that it answers questions. `received`: what has come of an answer."""

    uid: int
    answers: bool
    received: bytes = b""


class _Question:
    """A question that a thread waits for the answer to."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.answer: dict[str, Any] | None = None
        self.done = threading.Event()


class Subscribers:
    """Connections by user. They are served in the selector's thread; `publish` and `ask` are for any other."""

    def __init__(self, selector: selectors.BaseSelector, mailbox: Mailbox) -> None:
        self.uids: frozenset[int] = frozenset()
        """The users who have subscribed; may be read in any thread."""
        self.answering: frozenset[int] = frozenset()
        """Those of them who answer questions."""
        self._selector = selector
        self._mailbox = mailbox
        self._clients: dict[socket.socket, _Client] = {}  # by age
        self._questions: dict[tuple[int, int], _Question] = {}  # by user and key

    def add(self, client: socket.socket, uid: int, answers: bool = False) -> None:
        """Take over a connection that the selector does not know. Who has too many loses the oldest."""
        own = self._of(uid)
        if len(own) >= _EACH:
            self._drop(own[0])
        elif len(self._clients) >= _ALL:
            client.close()
            return
        self._clients[client] = _Client(uid, answers)
        self._selector.register(client, selectors.EVENT_READ, partial(self._read, client))
        self._count()
        self._send_to(client, b'{"subscribed": true}\n')

    def publish(self, uid: int, lines: bytes) -> None:
        """Send whole lines to a user who has subscribed."""
        self._mailbox.post(partial(self._send, uid, lines))

    def ask(self, uid: int, inode: int, seconds: float) -> dict[str, Any] | None:
        """Ask a user's agent whose a socket is; return what it says, None if it says nothing within `seconds`.

        What it says is a stranger's word: any object that has the key `whose`. Waits, so not for the selector's thread.
        """
        question = _Question(inode)
        self._mailbox.post(partial(self._pose, uid, question))
        question.done.wait(seconds)
        self._mailbox.post(partial(self._questions.pop, (uid, inode), None))
        return question.answer

    def close(self) -> None:
        """End all of them."""
        for client in list(self._clients):
            self._drop(client)

    def _of(self, uid: int) -> list[socket.socket]:
        return [each for each, client in self._clients.items() if client.uid == uid]

    def _send(self, uid: int, lines: bytes) -> None:
        for client in self._of(uid):
            self._send_to(client, lines)

    def _pose(self, uid: int, question: _Question) -> None:
        self._questions[uid, question.key] = question
        line = json.dumps({"whose": question.key}).encode() + b"\n"
        for client in self._of(uid):
            if self._clients[client].answers:
                self._send_to(client, line)

    def _send_to(self, client: socket.socket, lines: bytes) -> None:
        try:
            taken = client.send(lines)
        except OSError:  # gone, or its buffer is full
            taken = 0
        if taken < len(lines):  # who reads too slowly has to subscribe again
            self._drop(client)

    def _read(self, client: socket.socket) -> None:
        """Take an answer. One is dropped that hangs up, or says something that nobody asked for."""
        known = self._clients.get(client)
        if known is None:
            return
        try:
            received = client.recv(_ANSWER_MAX)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        *lines, known.received = (known.received + received).split(b"\n")
        fit = bool(received) and known.answers and len(known.received) <= _ANSWER_MAX
        for line in lines:
            fit = fit and self._answer(known.uid, line)
        if not fit:
            self._drop(client)

    def _answer(self, uid: int, line: bytes) -> bool:
        """Take one line; return whether it is an answer at all."""
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not isinstance(answer, dict) or not isinstance(answer.get("whose"), int):
            return False
        question = self._questions.pop((uid, answer["whose"]), None)
        if question is not None:  # else it comes too late
            question.answer = answer
            question.done.set()
        return True

    def _drop(self, client: socket.socket) -> None:
        if self._clients.pop(client, None) is not None:
            self._selector.unregister(client)
            client.close()
            self._count()

    def _count(self) -> None:
        self.uids = frozenset(client.uid for client in self._clients.values())
        self.answering = frozenset(client.uid for client in self._clients.values() if client.answers)

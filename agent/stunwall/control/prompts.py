"""Clients whose change polkit decides about. It may ask their user for a password, which takes as long as it takes."""

import pwd
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from stunwall.control.mailbox import Mailbox
from stunwall.control.peer import PeerProcess, process_of
from stunwall.control.protocol import ControlError, Status
from stunwall.polkit import Answer, PolkitError, Question
from stunwall.text import printable

# Questions that are open at the same time, each with a thread and a connection to the bus: of one user, and of all.
_EACH, _ALL = 2, 16


# By what right something is changed, as the end of a sentence.
ROOT = "who needs no permission"
MEMBER = "a member of the group stunwall"
_BY_POLKIT, _WITHOUT_POLKIT = "allowed by polkit", f"{MEMBER}; there is no polkit"


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, and by what right; `user` is "" where the name was not looked up."""

    uid: int
    user: str
    right: str

    def __str__(self) -> str:
        name = f" ({self.user})" if self.user else ""
        return f"by user {self.uid}{name}, {self.right}"


def author(uid: int, right: str) -> Author:
    """Return who changes something; the name is the number where the user has none.

    Looking the name up may take long, where a server has the users (nsswitch.conf(5)).
    """
    try:
        name = pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        name = str(uid)
    return Author(uid, printable(name), right)


@dataclass(frozen=True, slots=True)
class Authorize:
    """A change that is made if polkit allows it: `make` is called in the selector's thread, and returns the reply.

    `what`: is to be done, as the end of the sentence that a prompt shows. `interactive`: the client has a user who can
    answer a prompt.
    """

    action: str
    what: str
    interactive: bool
    make: Callable[[Author], Status]


@dataclass(slots=True)
class _Open:
    """A question that is open. `client` is None once it has hung up."""

    client: socket.socket | None
    process: PeerProcess
    asked: Authorize
    question: Question


class Prompts:
    """Holds the clients until polkit has decided. `reply` sends the reply to a client, which then is its own again.

    Its methods are for the selector's thread; each question waits in a thread of its own.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        mailbox: Mailbox,
        reply: Callable[[socket.socket, Status], None],
    ) -> None:
        self._selector = selector
        self._mailbox = mailbox
        self._reply = reply
        self._open: list[_Open] = []

    def add(self, client: socket.socket, asked: Authorize) -> None:
        """Take over a connection that the selector does not know, and ask polkit."""
        try:
            process = process_of(client)
        except ControlError as error:
            self._reply(client, _refusal(str(error)))
            return
        own = sum(each.process.uid == process.uid for each in self._open)
        if own >= _EACH or len(self._open) >= _ALL:
            process.close()
            self._reply(client, _refusal("other requests still wait for polkit's answer: answer those first"))
            return
        question = Question(
            (process.pidfd, process.pid, process.uid), asked.action, asked.what, asked.interactive
        )
        one = _Open(client, process, asked, question)
        self._open.append(one)
        self._selector.register(client, selectors.EVENT_READ, partial(self._hang_up, one))
        threading.Thread(target=self._ask, args=(one,), name="polkit", daemon=True).start()

    def close(self) -> None:
        """Have all questions end, and hang up."""
        for one in self._open:
            self._hang_up(one)

    def _hang_up(self, one: _Open) -> None:
        """The client has gone, or says more than it was asked for: nobody waits for the answer."""
        if one.client is not None:
            self._selector.unregister(one.client)
            one.client.close()
            one.client = None
            one.question.cancel()

    def _ask(self, one: _Open) -> None:
        decided: Author | str = "asking it failed"
        try:
            decided = _decision(one.question.ask(), one.process.uid)
        except PolkitError as error:
            decided = str(error)
        finally:
            self._mailbox.post(partial(self._decide, one, decided))

    def _decide(self, one: _Open, decided: Author | str) -> None:
        self._open.remove(one)
        lives = one.process.lives
        one.process.close()
        client, one.client = one.client, None  # it may have hung up in this very round
        if client is None:
            return
        self._selector.unregister(client)
        if isinstance(decided, str):
            reply = _refusal(f"polkit did not allow it ({decided}). To skip polkit, use sudo")
        elif not lives:
            reply = _refusal("the process that asked has ended")
        else:
            reply = one.asked.make(decided)
        self._reply(client, reply)


def _refusal(text: str) -> Status:
    return {"error": f"nothing was changed: {text}", "refused": True}


def _decision(answer: Answer, uid: int) -> Author | str:
    """Return who may make the change, or why not."""
    match answer:
        case Answer.ALLOWED:
            return author(uid, _BY_POLKIT)
        case Answer.ABSENT:
            return author(uid, _WITHOUT_POLKIT)
        case Answer.DENIED:
            return "its rules forbid it for you"
        case Answer.DISMISSED:
            return "the prompt was dismissed"
        case Answer.CHALLENGE:
            return "it needs an administrator's password, and no program of your session can ask for it"

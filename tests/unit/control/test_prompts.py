"""prompts.py and peer.py: clients that wait for polkit, over real sockets; polkit is a stub."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stunwall.control import peer, prompts
from stunwall.control.peer import Peer, PeerProcess, process_of
from stunwall.control.prompts import Author, Authorize
from stunwall.control.protocol import ControlError, ControlPermissionError
from stunwall.polkit import PAUSE, Answer, PolkitError
from unit.control.test_server import REQUEST, Served, received

PROMPT = b'{"command": "pause", "interactive": true}\n'


class Polkit:
    """Every question, which is open until the test or a cancellation ends it."""

    def __init__(self) -> None:
        self.questions: list[Polkit.Question] = []

    class Question:
        def __init__(self, process: tuple[int, int, int], action: str, what: str, interactive: bool) -> None:
            self.process, self.action, self.what, self.interactive = process, action, what, interactive
            self.cancelled = False
            self._outcome: Answer | Exception = PolkitError("it was cancelled")
            self._ended = threading.Event()

        def ask(self) -> Answer:
            assert self._ended.wait(30)
            if isinstance(self._outcome, Exception):
                raise self._outcome
            return self._outcome

        def cancel(self) -> None:
            self.cancelled = True
            self._ended.set()

        def end(self, outcome: Answer | Exception) -> None:
            self._outcome = outcome
            self._ended.set()

    def ask(
        self, process: tuple[int, int, int], action: str, what: str, interactive: bool
    ) -> "Polkit.Question":
        self.questions.append(Polkit.Question(process, action, what, interactive))
        return self.questions[-1]


class Prompting(Served):
    """A Control whose `pause` polkit decides about; everything else is answered at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.made: list[Author] = []

    def _answer(self, request: dict[str, Any], peer: Peer) -> Any:
        if request.get("command") == "pause":
            return Authorize(PAUSE, "pause", request.get("interactive") is True, self._make)
        return super()._answer(request, peer)

    def _make(self, by: Author) -> dict[str, Any]:
        self.made.append(by)
        return {"paused_until": 7}

    def prompt(self) -> socket.socket:
        """A client that has asked for a pause."""
        client = self.connect()
        client.sendall(PROMPT)
        self.serve()
        return client

    def serve_until(self, condition: Callable[[], bool]) -> None:
        """Serve until a thread has brought about a condition."""
        while not condition():
            ready = self.selector.select(30)
            assert ready, "nothing came for 30 s"
            for key, _ in ready:
                key.data()

    @property
    def open(self) -> int:
        return len(self.control._prompts._open)


@pytest.fixture
def polkit(monkeypatch: pytest.MonkeyPatch) -> Polkit:
    made = Polkit()
    monkeypatch.setattr(prompts, "Question", made.ask)
    return made


@pytest.fixture
def served(tmp_path: Path, polkit: Polkit) -> Iterator[Prompting]:
    one = Prompting(tmp_path)
    yield one
    one.control.close()
    one.selector.close()


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (Answer.ALLOWED, "allowed by polkit"),
        (Answer.ABSENT, "a member of the group stunwall; there is no polkit"),
    ],
)
def test_the_change_is_made_once_polkit_allows_it(
    served: Prompting, polkit: Polkit, answer: Answer, right: str
) -> None:
    with served.prompt() as client:
        (question,) = polkit.questions
        assert (question.process[1:], question.action) == ((os.getpid(), os.getuid()), PAUSE)
        assert question.interactive
        assert json.loads(served.talk(REQUEST))["state"] == "protected", "others are served meanwhile"
        assert served.made == []
        question.end(answer)
        served.serve_until(lambda: not served.open)
        assert json.loads(received(client)) == {"paused_until": 7}
    (author,) = served.made
    assert (author.uid, author.right) == (os.getuid(), right)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Answer.DENIED, "its rules forbid it"),
        (Answer.DISMISSED, "was dismissed"),
        (Answer.CHALLENGE, "administrator's password"),
        (PolkitError("it is ill"), "it is ill"),
    ],
)
def test_anything_else_changes_nothing_and_says_why(
    served: Prompting, polkit: Polkit, outcome: Answer | Exception, words: str
) -> None:
    with served.prompt() as client:
        polkit.questions[0].end(outcome)
        served.serve_until(lambda: not served.open)
        reply = json.loads(received(client))
    assert reply["refused"] is True
    assert reply["error"].startswith("nothing was changed: ")
    assert words in reply["error"]
    assert served.made == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_question_that_breaks_is_a_refusal(served: Prompting, polkit: Polkit) -> None:
    with served.prompt() as client:
        (waiting,) = (each for each in threading.enumerate() if each.name == "polkit")
        polkit.questions[0].end(ZeroDivisionError())
        served.serve_until(lambda: not served.open)
        waiting.join()
        assert json.loads(received(client))["refused"] is True
    assert served.made == []


@pytest.mark.parametrize("more", [b"", b"yes\n"], ids=["hangs_up", "says_more"])
def test_the_prompt_of_a_client_that_has_gone_goes_away(
    served: Prompting, polkit: Polkit, more: bytes
) -> None:
    with served.prompt() as client:
        if more:
            client.sendall(more)
        else:
            client.shutdown(socket.SHUT_WR)
        served.serve()
        assert polkit.questions[0].cancelled
        assert received(client) == b""
    served.serve_until(lambda: not served.open)
    assert served.made == []


def test_an_answer_that_comes_when_the_client_has_gone_changes_nothing(
    served: Prompting, polkit: Polkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = served.prompt()
    (question,) = polkit.questions
    monkeypatch.setattr(question, "cancel", lambda: None)  # polkit has already answered
    client.close()
    served.serve()
    question.end(Answer.ALLOWED)
    served.serve_until(lambda: not served.open)
    assert served.made == []


def test_a_process_that_has_ended_meanwhile_changes_nothing(
    served: Prompting, polkit: Polkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its PID, by which an old polkit knows it, may be another's by now."""
    with subprocess.Popen(["sleep", "60"]) as child:
        theirs = PeerProcess(os.pidfd_open(child.pid), child.pid, 1000)
        assert theirs.lives
        monkeypatch.setattr(prompts, "process_of", lambda client: theirs)
        with served.prompt() as client:
            child.kill()
            child.wait()
            polkit.questions[0].end(Answer.ALLOWED)
            served.serve_until(lambda: not served.open)
            assert "has ended" in json.loads(received(client))["error"]
    assert served.made == []


def test_a_thousand_clients_with_prompts_do_not_keep_others_out(
    served: Prompting, polkit: Polkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = 0
    monkeypatch.setattr(prompts, "process_of", lambda client: PeerProcess(os.dup(0), 1, uid))
    waiting: list[socket.socket] = []
    for number in range(1000):
        uid = 1000 + number // 3
        client = served.prompt()
        if number % 3 == 2 or len(waiting) == prompts._ALL:
            assert "other requests still wait" in json.loads(received(client))["error"]
            client.close()
        else:
            waiting.append(client)
    assert len(polkit.questions) == len(waiting) == prompts._ALL
    assert {question.process[2] for question in polkit.questions} == set(range(1000, 1008))
    for _ in range(30):
        assert json.loads(served.talk(REQUEST))["state"] == "protected"
    assert not any(question.cancelled for question in polkit.questions), "others do not push them out"
    for client in waiting:
        client.close()
    served.serve_until(lambda: not served.open)
    served.prompt().close()
    assert len(polkit.questions) == prompts._ALL + 1, "there is room again"


def test_questions_that_are_open_end_with_the_daemon(tmp_path: Path, polkit: Polkit) -> None:
    served = Prompting(tmp_path)
    with served.prompt() as client:
        served.control.close()
        served.selector.close()
        assert polkit.questions[0].cancelled
        assert received(client) == b""


@pytest.mark.parametrize("has_pidfd", [True, False], ids=["SO_PEERPIDFD", "before Linux 6.5"])
def test_the_process_is_the_one_that_connected(monkeypatch: pytest.MonkeyPatch, has_pidfd: bool) -> None:
    if not has_pidfd:
        monkeypatch.setattr(peer, "_SO_PEERPIDFD", 9999)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = process_of(ours)
        assert (found.pid, found.uid, found.lives) == (os.getpid(), os.getuid(), True)
        found.close()


@pytest.mark.parametrize("has_pidfd", [True, False], ids=["SO_PEERPIDFD", "before Linux 6.5"])
def test_a_process_that_has_ended_is_not_found(
    served: Prompting, monkeypatch: pytest.MonkeyPatch, has_pidfd: bool
) -> None:
    if not has_pidfd:
        monkeypatch.setattr(peer, "_SO_PEERPIDFD", 9999)
    client = served.connect()
    # The listener's end of a connection by a process that is gone; its own end lives on here.
    script = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    subprocess.run(["python3", "-c", script, str(served.folder / "control.sock")], check=True)
    client.close()
    accepted: list[socket.socket] = []
    monkeypatch.setattr(served.control, "_keep", accepted.append)
    monkeypatch.setattr(served.control, "_read", lambda client, peer: served.selector.unregister(client))
    served.serve()
    gone = accepted[1]
    try:
        found = process_of(gone)
    except ControlError as error:
        assert "has ended" in str(error)  # noqa: PT017 - or a pidfd that says so
    else:
        assert not found.lives
        found.close()


def test_a_refusal_is_a_permission_error(served: Prompting, polkit: Polkit) -> None:
    from stunwall.control import client

    refused = {"error": "nothing was changed: no", "refused": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "ask", lambda folder, request, seconds: refused)
        with pytest.raises(ControlPermissionError, match="nothing was changed") as raised:
            client.request(served.folder, {"command": "pause"})
    assert raised.value.exit_code == 4

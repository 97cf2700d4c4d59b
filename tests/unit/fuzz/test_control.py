"""Both ends of the daemon's socket, with a stranger at the other."""

import json
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.control.client import ask
from stunwall.control.peer import Peer
from stunwall.control.protocol import FILE, ControlError
from stunwall.control.server import Control, Subscribe
from unit.cli.command import Stunwall
from unit.damage import damaged
from unit.status import STATUS

REQUESTS = [
    json.dumps(each).encode() + b"\n"
    for each in (
        {"command": "status"},
        {"command": "pause", "seconds": 60},
        {"command": "allow-add", "rule": {"to": "10.0.0.0/8", "why": "x"}},
        {"command": "allow-remove", "number": 1},
        {"command": "events", "after": 1, "limit": 2},
        {"command": "subscribe"},
    )
]
REPLY = json.dumps(STATUS).encode() + b"\n"


class Rounds:
    """A server and its selector."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE
        self.asked: list[object] = []
        self.selector = selectors.DefaultSelector()
        self.control = Control(folder, self.selector, self._answer)

    def _answer(self, request: dict[str, Any], peer: Peer) -> dict[str, Any] | Subscribe:
        self.asked.append(request)
        return Subscribe() if request.get("command") == "subscribe" else {"state": "protected"}

    def serve(self) -> None:
        while ready := self.selector.select(timeout=0):
            for key, _ in ready:
                key.data()


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rounds]:
    made = Rounds(tmp_path_factory.mktemp("run"))
    yield made
    made.control.close()


@given(st.lists(st.one_of(damaged(REQUESTS), st.binary(max_size=5000)), max_size=3))
def test_whatever_a_client_sends_it_gets_one_line_or_nothing(rounds: Rounds, pieces: list[bytes]) -> None:
    rounds.asked.clear()
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(rounds.file))
        for piece in pieces:
            with suppress(OSError):  # it has been answered already
                client.sendall(piece)
            rounds.serve()
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        rounds.serve()
        client.settimeout(30)
        said = b""
        with suppress(ConnectionResetError):
            while piece := client.recv(65536):
                said += piece
    if said:
        assert said.endswith(b"\n")
        assert isinstance(json.loads(said), dict)
    assert len(rounds.asked) <= 1
    assert all(isinstance(request, dict) for request in rounds.asked)


@given(st.one_of(damaged([REPLY]), st.binary(max_size=200)))
def test_whatever_a_server_answers_is_an_object_or_a_clear_error(tmp_path: Path, reply: bytes) -> None:
    (tmp_path / FILE).unlink(missing_ok=True)
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / FILE))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        said = answered(tmp_path)
        thread.join()
    if isinstance(said, ControlError):
        assert str(tmp_path) in str(said)
        assert len(str(said)) < 1000
    else:
        assert isinstance(said, dict)


def answered(folder: Path) -> object:
    try:
        return ask(folder, {"command": "status"}, 30)
    except ControlError as error:
        return error


_TEXT = st.text(max_size=40)


@given(_TEXT, _TEXT, _TEXT, st.lists(_TEXT, max_size=3))
def test_what_the_daemon_says_of_strangers_prints_as_plain_text(
    stunwall: Stunwall, daemon: dict[str, Any], name: str, who: str, address: str, what: list[str]
) -> None:
    """Names of interfaces and programs, rules, and addresses come from others."""
    daemon.update(
        problems=what,
        differences=what,
        gaps=[{"start": 1.0, "end": 2.0, "who": who, "what": what}],
        exposures=[{"time": 1.0, "server": address, "address": address}],
        interfaces=[each | {"interface": name, "why": who} for each in STATUS["interfaces"]],
        second_lock=STATUS["second_lock"] | {"interfaces": [name], "why": who},
    )
    for command in ("status", "vpn"):
        done = stunwall(command)
        assert (done.out + done.err).replace("\n", "").isprintable(), done
        assert isinstance(json.loads(stunwall(command, "--json").out), dict | list)

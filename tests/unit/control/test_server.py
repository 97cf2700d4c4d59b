"""server.py and client.py: real UNIX sockets, with the daemon's selector turned by the test itself."""

import grp
import json
import os
import selectors
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stunwall.control import server
from stunwall.control.client import ask, request
from stunwall.control.peer import Peer
from stunwall.control.protocol import FILE, ControlError, ControlPermissionError
from stunwall.control.server import Control


class Served:
    """A Control in a folder, and the rounds of its selector."""

    def __init__(self, folder: Path, for_all: bool = False) -> None:
        self.folder = folder
        self.asked: list[dict[str, Any]] = []
        self.peers: list[Peer] = []
        self.selector = selectors.DefaultSelector()
        self.control = Control(folder, self.selector, self._answer, for_all)

    def _answer(self, request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        self.asked.append(request)
        self.peers.append(peer)
        return {"state": "protected", "filler": "x" * int(request.get("filler", 0))}

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(self.folder / FILE))
        client.settimeout(30)
        return client

    def serve(self) -> None:
        """Serve until nothing waits. As in daemon/loop.py, a round is served to its end."""
        while ready := self.selector.select(timeout=0):
            for key, _ in ready:
                key.data()

    def talk(self, *pieces: bytes) -> bytes:
        """Send the pieces, and return all that comes back."""
        with self.connect() as client:
            for piece in pieces:
                client.sendall(piece)
                self.serve()
            client.shutdown(socket.SHUT_WR)
            self.serve()
            return received(client)


def received(client: socket.socket) -> bytes:
    got = b""
    try:
        while piece := client.recv(65536):
            got += piece
    except ConnectionResetError:
        pass  # what was sent was not all read
    return got


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    one = Served(tmp_path)
    yield one
    one.control.close()
    one.selector.close()


REQUEST = b'{"command": "status"}\n'


def test_a_request_gets_its_reply_in_one_line(served: Served) -> None:
    reply = served.talk(REQUEST)
    assert json.loads(reply) == {"state": "protected", "filler": ""}
    assert reply.endswith(b"}\n")
    assert reply.count(b"\n") == 1
    assert served.asked == [{"command": "status"}]


def test_a_request_may_come_in_pieces(served: Served) -> None:
    assert json.loads(served.talk(REQUEST[:1], REQUEST[1:9], REQUEST[9:]))["state"] == "protected"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"status\n",
        b"\0\xff\xfe\n",
        b'{"command": \n',
        b"[" * 4000 + b"\n",
        b'{"a":' * 700 + b"\n",
        b"9" * 4090 + b"\n",
        b"null\n",
        b"[]\n",
        b'"status"\n',
        b"1\n",
        REQUEST + REQUEST,
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 5000,
        b"{" + b" " * 100_000 + b"}\n",
    ],
    ids=lambda garbage: repr(garbage[:20]),
)
def test_garbage_gets_an_error_and_is_not_asked(served: Served, garbage: bytes) -> None:
    assert "expected" in json.loads(served.talk(garbage))["error"]
    assert served.asked == []
    assert json.loads(served.talk(REQUEST))["state"] == "protected"


def test_half_a_line_is_waited_for_and_gets_nothing_when_its_sender_leaves(served: Served) -> None:
    with served.connect() as half:
        half.sendall(REQUEST[:-1])
        served.serve()
        assert json.loads(served.talk(REQUEST))["state"] == "protected"
    served.serve()
    assert served.talk(REQUEST[:-1]) == b""
    assert len(served.asked) == 1


def test_a_client_that_says_nothing_or_leaves_at_once_disturbs_nobody(served: Served) -> None:
    served.connect().close()
    silent = served.connect()
    served.serve()
    assert json.loads(served.talk(REQUEST))["state"] == "protected"
    silent.close()
    served.serve()


def test_many_clients_at_a_time_are_served_and_the_oldest_gives_way(served: Served) -> None:
    silent = []
    for _ in range(40):
        silent.append(served.connect())
        served.serve()
    assert json.loads(served.talk(REQUEST))["state"] == "protected"
    assert silent[0].recv(1) == b""  # sent away
    silent[-1].sendall(REQUEST)
    served.serve()
    assert b"protected" in received(silent[-1])
    assert len(served.selector.get_map()) <= 17
    for client in silent:
        client.close()


def test_a_client_that_is_sent_away_in_the_round_in_which_it_asks_does_not_end_the_daemon(
    served: Served,
) -> None:
    clients = []
    for _ in range(16):
        clients.append(served.connect())
        served.serve()
    clients.append(served.connect())  # the listener is ready first, and sends the oldest away …
    clients[0].sendall(REQUEST)  # … whose own call follows in the same round
    served.serve()
    clients[16].sendall(REQUEST)
    served.serve()
    assert b"protected" in received(clients[16])
    for client in clients:
        client.close()


@pytest.mark.parametrize("size", [200_000, 1_000_000, 20_000_000])
def test_a_reply_that_is_larger_than_the_sockets_buffer_arrives_whole(served: Served, size: int) -> None:
    with served.connect() as client:
        client.sendall(json.dumps({"filler": size}).encode() + b"\n")
        served.serve()
        client.settimeout(0)
        got = b""
        while not got.endswith(b"\n"):
            got += client.recv(1 << 20)  # BlockingIOError would mean that nothing more comes
            served.serve()
    assert len(json.loads(got)["filler"]) == size


def test_a_client_that_never_reads_does_not_stop_the_daemon(served: Served) -> None:
    deaf = served.connect()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    deaf.sendall(json.dumps({"filler": 5_000_000}).encode() + b"\n")
    served.serve()
    assert json.loads(served.talk(REQUEST))["state"] == "protected"
    assert len(served.asked) == 2
    deaf.close()


@pytest.mark.parametrize(("for_all", "wanted"), [(False, 0o660), (True, 0o666)])
def test_the_socket_is_for_user_and_group_only_or_for_all_whatever_the_umask(
    tmp_path: Path, for_all: bool, wanted: int
) -> None:
    for umask in (0o000, 0o022, 0o077):
        before = os.umask(umask)
        try:
            served = Served(tmp_path, for_all)
            mode = (tmp_path / FILE).stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == wanted
            assert os.umask(umask) == umask  # as it was
            served.control.close()
        finally:
            os.umask(before)


def test_the_socket_is_gone_after_the_end_and_one_left_over_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(tmp_path / FILE))
    assert ask(tmp_path, {}) is None  # nobody listens
    served = Served(tmp_path)
    assert served.talk(REQUEST)
    served.control.close()
    assert list(tmp_path.iterdir()) == []
    assert ask(tmp_path, {}) is None


@pytest.mark.parametrize("folder", ["missing", "x" * 200, "file"])
def test_a_socket_that_cannot_be_made_is_told_with_its_cause(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ControlError, match=r"cannot make the socket .*: [A-Z]"),
        selectors.DefaultSelector() as s,
    ):
        Control(tmp_path / folder, s, lambda request, peer: {})


def test_a_folder_in_the_sockets_place_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(ControlError, match="cannot make the socket"), selectors.DefaultSelector() as selector:
        Control(tmp_path, selector, lambda request, peer: {})


def _turned(served: Served) -> Callable[[], None]:
    """Serve in a thread, as the daemon would; the function that is returned ends it."""
    reader, writer = socket.socketpair()
    served.selector.register(reader, selectors.EVENT_READ, None)

    def turn() -> None:
        while True:
            for key, _ in served.selector.select():
                if key.data is None:
                    return
                key.data()

    thread = threading.Thread(target=turn)
    thread.start()

    def end() -> None:
        writer.send(b"x")
        thread.join()
        served.selector.unregister(reader)
        reader.close()
        writer.close()

    return end


def test_ask_gets_the_daemons_reply(served: Served) -> None:
    end = _turned(served)
    try:
        for _ in range(50):
            assert ask(served.folder, {"command": "status"}) == {"state": "protected", "filler": ""}
        reply = ask(served.folder, {"filler": 100_000})
        assert reply is not None
        assert len(reply["filler"]) == 100_000
    finally:
        end()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        *((nonsense, "does not answer") for nonsense in (b"", b"\n", b"{\n", b"\xff\n")),
        *((nonsense, "something else than an object") for nonsense in (b"[]\n", b"null\n")),
    ],
)
def test_ask_says_when_the_daemon_answers_nonsense(tmp_path: Path, answer: bytes, words: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / FILE))
        listener.listen(1)

        def reply() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(100)
                client.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(ControlError, match=words):
            ask(tmp_path, {"command": "status"})
        thread.join()


def test_ask_finds_nobody_where_there_is_no_socket_or_folder(tmp_path: Path) -> None:
    assert ask(tmp_path, {}) is None
    assert ask(tmp_path / "missing", {}) is None


@pytest.mark.parametrize("folder", ["x" * 200, "file"])
def test_ask_tells_what_is_wrong_with_a_strange_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ControlError, match="does not answer"):
        ask(tmp_path / folder, {})


def test_ask_without_the_right_names_the_cure(served: Served) -> None:
    if os.geteuid() == 0:
        for folder in (served.folder, *served.folder.parents[:2]):
            folder.chmod(folder.stat().st_mode | 0o755)
    (served.folder / FILE).chmod(0)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            ask(served.folder, {})
        except ControlPermissionError as error:
            os.write(writer, f"{error.exit_code} {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, encoding="utf-8") as said:  # noqa: PTH123 - a descriptor
        text = said.read()
    assert text.startswith("4 ")
    assert "usermod -aG stunwall" in text


GROUP_ID = 4780


@pytest.mark.parametrize(
    ("uid", "gid", "groups", "may_change"),
    [
        (0, 0, [], True),
        (0, 65534, [], True),
        (65534, 65534, [], False),
        (65534, 0, [0], False),  # root's group is not root
        (65534, GROUP_ID, [], True),
        (65534, 65534, [1, GROUP_ID], True),
        (65534, 65534, [1, GROUP_ID + 1], False),
        (65534, 65534, [*range(100_000, 100_255), GROUP_ID], True),
        (65534, 65534, [*range(100_000, 100_300)], False),  # more than are looked at
        (4294967294, 65534, [], False),
    ],
)
def test_who_asks_is_told_by_the_kernel_and_root_and_the_group_may_change(
    served: Served,
    lab: None,
    monkeypatch: pytest.MonkeyPatch,
    uid: int,
    gid: int,
    groups: list[int],
    may_change: bool,
) -> None:
    monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_gid=GROUP_ID))
    for folder in (served.folder, *served.folder.parents[:2]):
        folder.chmod(0o755)
    (served.folder / FILE).chmod(0o666)
    end = _turned(served)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            ask(served.folder, {"uid": 0, "may_change": True})
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    end()
    (peer,) = served.peers
    assert peer.uid % 2**32 == uid
    assert peer.may_change is may_change


def test_without_the_group_on_the_machine_root_alone_may_change(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(grp, "getgrnam", none)
    served.talk(REQUEST)
    assert served.peers == [Peer(os.geteuid(), True)]
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    served.talk(REQUEST)
    assert served.peers[1].may_change is (os.getuid() == 0)


def test_whoever_has_no_rights_is_not_accepted_again_at_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_REST", 1e6)
    with served.connect(), served.connect():
        served.serve()
    assert served.control.rest is None, "root is served as it comes"
    monkeypatch.setattr(server, "peer_of", lambda client: Peer(1000, False))
    waiting = [served.connect() for _ in range(3)]
    for client in waiting:
        client.sendall(REQUEST)
    served.serve()
    assert len(served.asked) == 1
    assert (served.control.rest or 0) > 1e5
    served.control.resume()
    served.serve()
    assert len(served.asked) == 1, "the rest is not over"
    for expected in (2, 3):
        monkeypatch.setattr(served.control, "_resting_until", 1e-9)
        assert served.control.rest == 0
        served.control.resume()
        served.serve()
        assert len(served.asked) == expected
    for client in waiting:
        assert json.loads(received(client))["state"] == "protected"
        client.close()


def test_request_needs_a_daemon_and_raises_what_it_refuses(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ControlError, match=r"is not running: start it with `sudo systemctl start stunwall`"):
        request(tmp_path / "none", {"command": "resume"})
    end = _turned(served)
    try:
        assert request(served.folder, {})["state"] == "protected"
        monkeypatch.setattr(served.control, "_answer", lambda asked, peer: {"error": "not now"})
        with pytest.raises(ControlError, match=r"^not now$"):
            request(served.folder, {})
    finally:
        end()

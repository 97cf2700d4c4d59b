"""subscribers.py, mailbox.py and replies that are made later, on a real socket; the test turns the selector."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stunwall.control.client import Subscription
from stunwall.control.mailbox import Mailbox
from stunwall.control.peer import Peer
from stunwall.control.protocol import ControlError, ControlPermissionError
from stunwall.control.server import Later, Subscribe
from unit.control.test_server import Served, received

SUBSCRIBE = b'{"command": "subscribe"}\n'
GREETING = b'{"subscribed": true}\n'


class Subscribed(Served):
    """A Control that takes subscriptions, and makes a reply when `ready` is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ready = threading.Event()

    def _answer(self, request: dict[str, Any], peer: Peer) -> Any:
        if request.get("command") == "subscribe":
            return Subscribe(request.get("answers") is True)
        return Later(self._slowly) if request.get("command") == "slow" else super()._answer(request, peer)

    def _slowly(self) -> dict[str, Any]:
        self.ready.wait()
        return {"made": "later"}

    def subscribe(self) -> socket.socket:
        client = self.connect()
        client.sendall(SUBSCRIBE)
        self.serve()
        return client

    def serve_until_made(self, client: socket.socket) -> bytes:
        """Serve until the reply that a thread makes has arrived."""
        client.setblocking(False)
        while True:
            try:
                return client.recv(65536)
            except BlockingIOError:  # not made yet, perhaps made while another's was waited for
                pass
            for key, _ in self.selector.select(timeout=30):
                key.data()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Subscribed]:
    one = Subscribed(tmp_path)
    yield one
    one.ready.set()
    one.control.close()
    one.selector.close()


def test_a_subscriber_is_sent_what_is_published_for_its_user_and_no_other(served: Subscribed) -> None:
    subscribers = served.control.subscribers
    with served.subscribe() as client:
        assert subscribers.uids == {os.geteuid()}
        subscribers.publish(os.geteuid() + 1, b"not yours\n")
        subscribers.publish(os.geteuid(), b"one\ntwo\n")
        served.serve()
        assert client.recv(65536) == GREETING + b"one\ntwo\n"
    served.serve()
    assert subscribers.uids == set()
    subscribers.publish(os.geteuid(), b"nobody listens\n")
    served.serve()


def test_other_clients_do_not_push_a_subscriber_out(served: Subscribed) -> None:
    with served.subscribe() as client:
        others = [served.connect() for _ in range(40)]
        served.serve()
        served.control.subscribers.publish(os.geteuid(), b"still here\n")
        served.serve()
        assert client.recv(65536) == GREETING + b"still here\n"
        for each in others:
            each.close()


def test_of_too_many_of_one_user_the_oldest_are_dropped(served: Subscribed) -> None:
    clients = [served.subscribe() for _ in range(6)]
    served.control.subscribers.publish(os.geteuid(), b"one\n")
    served.serve()
    for client in clients:
        client.shutdown(socket.SHUT_WR)
    served.serve()
    assert [received(client) for client in clients] == [GREETING] * 2 + [GREETING + b"one\n"] * 4


def test_a_subscriber_that_does_not_read_is_dropped_and_the_others_are_served(served: Subscribed) -> None:
    with served.subscribe(), served.subscribe() as reading:
        assert reading.recv(65536) == GREETING
        for _ in range(50):
            served.control.subscribers.publish(os.geteuid(), b"x" * 99_999 + b"\n")
            served.serve()
            got = b""
            while not got.endswith(b"\n"):
                got += reading.recv(1 << 20)
            assert len(got) == 100_000
        served.control.subscribers.publish(os.geteuid(), b"end\n")
        served.serve()
        assert reading.recv(65536) == b"end\n"


def test_a_subscriber_that_goes_on_talking_is_dropped(served: Subscribed) -> None:
    with served.subscribe() as client:
        client.sendall(SUBSCRIBE)
        served.serve()
        assert received(client) == GREETING
    assert served.control.subscribers.uids == set()


def test_a_reply_that_is_made_later_holds_nobody_up(served: Subscribed) -> None:
    with served.connect() as slow:
        slow.sendall(b'{"command": "slow"}\n')
        served.serve()
        assert json.loads(served.talk(b'{"command": "status"}\n'))["state"] == "protected"
        served.ready.set()
        assert json.loads(served.serve_until_made(slow)) == {"made": "later"}


def test_only_a_few_replies_are_made_at_once(served: Subscribed) -> None:
    waiting = [served.connect() for _ in range(4)]
    for client in waiting:
        client.sendall(b'{"command": "slow"}\n')
    served.serve()
    assert "busy" in json.loads(served.talk(b'{"command": "slow"}\n'))["error"]
    served.ready.set()
    for client in waiting:
        assert json.loads(served.serve_until_made(client)) == {"made": "later"}
        client.close()
    with served.connect() as client:
        client.sendall(b'{"command": "slow"}\n')
        assert json.loads(served.serve_until_made(client)) == {"made": "later"}


def test_a_client_that_leaves_before_its_reply_is_made_harms_nobody(served: Subscribed) -> None:
    for _ in range(20):  # more than may be connected
        with served.connect() as client:
            client.sendall(b'{"command": "slow"}\n')
            served.serve()
    served.ready.set()
    assert json.loads(served.talk(b'{"command": "status"}\n'))["state"] == "protected"


def test_a_subscription_reads_line_by_line_and_notices_the_end(served: Subscribed) -> None:
    serving = threading.Thread(
        target=lambda: [key.data() for _ in "12" for key, _ in served.selector.select()]
    )
    serving.start()
    subscription = Subscription(served.folder)
    serving.join()
    served.control.subscribers.publish(os.geteuid(), b'{"event": 1}\n{"ev')
    served.serve()
    assert subscription.first + subscription.receive() == [{"event": 1}]
    served.control.subscribers.publish(os.geteuid(), b'ent": 2}\n{"more": 3}\n')
    served.serve()
    assert subscription.receive() == [{"event": 2}, {"more": 3}]
    served.control.subscribers.close()
    with pytest.raises(ControlError, match="has ended"):
        subscription.receive()
    subscription.close()


def test_a_subscription_tells_why_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="stunwalld is not running: start it with"):
        Subscription(tmp_path)


def test_a_refused_subscription_is_a_lack_of_rights(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.control._answer = lambda request, peer: {"error": "not for you"}
    serving = threading.Thread(
        target=lambda: [key.data() for _ in "12" for key, _ in served.selector.select()]
    )
    serving.start()
    with pytest.raises(ControlPermissionError, match="not for you"):
        Subscription(tmp_path)
    serving.join()
    served.control.close()


def test_a_mailbox_that_nobody_empties_takes_calls_from_any_thread_without_waiting() -> None:
    mailbox = Mailbox()
    made: list[int] = []

    def post() -> None:
        for _ in range(20_000):
            mailbox.post(lambda: made.append(1))

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mailbox.run()
    assert len(made) == 80_000
    mailbox.close()
    mailbox.post(lambda: made.append(1))


# Questions


def asked(
    served: Subscribed, client: socket.socket, answer: bytes, seconds: float = 30.0
) -> dict[str, Any] | None:
    """What comes of a question about the socket 7, to which this client says `answer`."""
    subscribers, said = served.control.subscribers, []
    asking = threading.Thread(target=lambda: said.append(subscribers.ask(os.geteuid(), 7, seconds)))
    asking.start()
    for key, _ in served.selector.select(timeout=30):
        key.data()
    assert client.recv(65536) == b'{"whose": 7}\n'
    client.sendall(answer)
    served.serve()
    asking.join()
    served.serve()
    return said[0]


@pytest.fixture
def agent(served: Subscribed) -> Iterator[socket.socket]:
    """A subscriber that answers questions."""
    with served.connect() as client:
        client.sendall(b'{"command": "subscribe", "answers": true}\n')
        served.serve()
        assert client.recv(65536) == GREETING
        yield client


def test_an_agent_is_asked_and_what_it_says_is_returned(served: Subscribed, agent: socket.socket) -> None:
    assert served.control.subscribers.answering == {os.geteuid()}
    assert asked(served, agent, b'{"whose": 7, "pid": 1}\n') == {"whose": 7, "pid": 1}
    assert asked(served, agent, b'{"whose": 6}\n{"whose": 7, "pid": 2}\n') == {"whose": 7, "pid": 2}
    assert served.control.subscribers._questions == {}


@pytest.mark.parametrize(
    "answer",
    [
        b"\n",
        b"[]\n",
        b"null\n",
        b"{}\n",
        b'{"whose": "7"}\n',
        b'{"whose": null}\n',
        b"\xff\n",
        b"[" * 5000 + b"\n",
    ],
    ids=lambda answer: repr(answer[:20]),
)
def test_an_agent_that_says_something_else_is_dropped(
    served: Subscribed, agent: socket.socket, answer: bytes
) -> None:
    assert asked(served, agent, answer, 0.01) is None
    assert received(agent) == b""
    assert served.control.subscribers.answering == set()


def test_an_agent_that_never_ends_its_line_is_dropped(served: Subscribed, agent: socket.socket) -> None:
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        for _ in range(100):
            agent.sendall(b"x" * 1000)
            served.serve()


def test_who_did_not_offer_to_answer_is_not_asked(served: Subscribed) -> None:
    with served.subscribe() as client:
        assert served.control.subscribers.answering == set()
        assert served.control.subscribers.ask(os.geteuid(), 7, 0.01) is None
        served.serve()
        assert client.recv(65536) == GREETING

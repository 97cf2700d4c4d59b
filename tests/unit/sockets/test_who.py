"""Which process a packet's socket belongs to."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from stunwall.model import Event, Sender
from stunwall.sockets import who
from stunwall.sockets.processes import Process
from stunwall.sockets.who import NOT_OPEN, Who, _holder

_THIS = Process(name="python3", uid=os.getuid(), pid=os.getpid())


def test_a_process_that_has_the_socket_is_found_and_without_it_none_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        inode = os.fstat(sender.fileno()).st_ino
        assert _holder([_THIS], inode) == (_THIS, True)
    assert _holder([_THIS], inode) == (None, True)


def test_a_process_that_cannot_be_looked_into_may_have_the_socket() -> None:
    hidden = Process(name="hidden", uid=os.getuid(), pid=2**30)
    assert _holder([_THIS, hidden], 0) == (hidden, False)


def test_with_too_many_open_files_nothing_is_certain() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        assert _holder([_THIS], os.fstat(sender.fileno()).st_ino, files=1) == (_THIS, False)


# Many events at once


class Looking(Who):
    """A Who whose cgroups all hold this process alone; `looked` counts how often it is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = 0
        self._processes.of = self._of  # type: ignore[method-assign]

    def _of(self, cgroup: int) -> Iterator[Process]:
        self.looked += 1
        yield _THIS

    def ask(self, sock: socket.socket, since: float) -> Event:
        sender = Sender(os.getuid(), 1, os.fstat(sock.fileno()).st_ino)
        return self.identify(Event.note(since, "block", ""), sender)


@pytest.fixture
def looking() -> Iterator[Looking]:
    one = Looking()
    yield one
    one.close()


def test_hundreds_of_sockets_of_a_program_are_found_by_one_look(looking: Looking) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(300)]
        since = time.time()
        found = [looking.ask(sock, since) for sock in sockets]
    assert {(event.pid, event.who) for event in found} == {(os.getpid(), "")}
    assert looking.looked == 1


def test_a_socket_that_was_opened_since_the_last_look_is_found_by_another(looking: Looking) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as first:
        looking.ask(first, time.time())
        with socket.socket(type=socket.SOCK_DGRAM) as second:
            assert looking.ask(second, time.time()).pid == os.getpid()
    assert looking.looked == 2


def test_a_look_is_not_kept_where_the_clock_was_set_back(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as first:
        looking.ask(first, time.time())
    monkeypatch.setattr(who, "_KEPT", 0.0)
    with socket.socket(type=socket.SOCK_DGRAM) as second:
        looking.ask(second, time.time())
        for _ in range(2):  # by the clock, the look came after the packet
            assert looking.ask(second, 0.0).pid == os.getpid()
    assert looking.looked == 4


def test_a_socket_that_is_closed_before_the_look_names_nobody(looking: Looking) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sender = Sender(os.getuid(), 1, os.fstat(sock.fileno()).st_ino)
    found = looking.identify(Event.note(time.time(), "block", ""), sender)
    assert (found.pid, found.who) == (0, NOT_OPEN)

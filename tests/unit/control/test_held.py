"""control/held.py: connections that stay open, told by the daemon, until one end hangs up."""

import json
import selectors
import socket
from collections.abc import Iterator

import pytest

from stunwall.control.held import HangUp, Held, Hold, Send


class Kept:
    """One held connection."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.held = Held(self.selector)
        self.peer, ours = socket.socketpair()
        ours.setblocking(False)
        self.peer.settimeout(5)
        self.sends: list[Send] = []
        self.closed = 0
        self.held.add(ours, Hold({"begun": True}, self._open, self._close))

    def _open(self, send: Send, hang_up: HangUp) -> None:
        self.sends.append(send)
        self.hang_up = hang_up

    def _close(self) -> None:
        self.closed += 1

    def serve(self) -> None:
        for key, _ in self.selector.select(1):
            key.data()

    def lines(self) -> list[object]:
        return [json.loads(line) for line in self.peer.recv(65536).splitlines()]


@pytest.fixture
def kept() -> Iterator[Kept]:
    made = Kept()
    yield made
    made.held.close()
    made.peer.close()


def test_the_reply_comes_first_and_then_what_is_sent(kept: Kept) -> None:
    (send,) = kept.sends
    send({"a": 1})
    assert kept.lines() == [{"begun": True}, {"a": 1}]
    assert kept.closed == 0


def test_it_ends_when_the_peer_hangs_up(kept: Kept) -> None:
    kept.peer.close()
    kept.serve()
    assert kept.closed == 1
    kept.sends[0]({"late": True})  # to nobody
    assert not kept.selector.get_map()


def test_a_peer_that_says_something_is_dropped(kept: Kept) -> None:
    kept.peer.sendall(b"{}\n")
    kept.serve()
    assert kept.closed == 1


def test_a_peer_that_reads_too_slowly_is_dropped(kept: Kept) -> None:
    while not kept.closed:
        kept.sends[0]({"text": "x" * 10_000})
    assert kept.closed == 1


def test_closing_ends_all(kept: Kept) -> None:
    kept.held.close()
    assert kept.closed == 1


def test_it_can_be_ended_from_here() -> None:
    kept = Kept()
    kept.hang_up()
    assert kept.closed == 1
    kept.hang_up()
    assert kept.closed == 1

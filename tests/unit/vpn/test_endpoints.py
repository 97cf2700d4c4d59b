"""endpoints.py: the thread that asks for the endpoints of peers."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from lab.deadline import until
from stunwall.vpn import endpoints, wireguard
from stunwall.vpn.endpoints import EndpointWatch
from stunwall.vpn.interfaces import Link
from unit.vpn.uapi import ANSWER, FOUND, Program, program, says

WG = Link(7, "wgt0", "tun", False, up=True, running=True)
OTHER = Link(8, "wgt1", "tun", False, up=True, running=True)
CARD = Link(2, "eth0", "", False, up=True, running=True)
PEERS = {(ip_address(address), port) for address, port in FOUND}
MOVED = ANSWER.replace(b"182.122.22.19", b"198.51.100.7")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(wireguard, "_FOLDERS", (tmp_path,))
    return tmp_path


@pytest.fixture
def watch(folder: Path) -> Iterator[EndpointWatch]:
    with closing(EndpointWatch()) as made:
        yield made


def changes(watch: EndpointWatch) -> bool:
    """Whether it says within some seconds that there is something new."""
    readable = bool(select.select([watch], [], [], 10)[0])
    watch.drain()
    return readable


def silent_until(released: threading.Event, in_time: list[bool]) -> Program:
    def behave(client: socket.socket) -> None:
        in_time.append(released.wait(10))
        client.sendall(ANSWER)

    return behave


def test_nothing_waits_for_a_program_that_does_not_answer(
    folder: Path, watch: EndpointWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wireguard, "_TIMEOUT", 60)
    released, in_time = threading.Event(), list[bool]()
    with program(folder, silent_until(released, in_time)) as asked:
        assert watch.ask([CARD, WG]) == set()
        until(lambda: asked, 5, "the question")
        assert watch.ask([CARD, WG]) == set()
        released.set()
        assert changes(watch)
        assert watch.known == PEERS
    assert in_time == [True]


def test_a_peer_that_moves_is_noticed_without_a_change_of_the_network(
    folder: Path, watch: EndpointWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "_PERIOD", 0.01)
    answer = ANSWER
    with program(folder, lambda client: client.sendall(answer)):
        watch.ask([WG])
        assert changes(watch)
        answer = MOVED
        assert changes(watch)
        assert (ip_address("198.51.100.7"), 3233) in watch.known


def test_without_peers_nothing_is_asked_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_PERIOD", 0.01)
    monkeypatch.setattr(endpoints, "_REST", 0)
    with program(folder, says(b"errno=0\n\n")) as first, program(folder, says(ANSWER), "wgt1") as second:
        with closing(EndpointWatch()) as watch:
            watch.ask([WG])
            until(lambda: first, 5, "the question")
            assert not select.select([watch], [], [], 0.2)[0]
        with closing(EndpointWatch()) as watch:
            watch.ask([OTHER])
            until(lambda: len(second) > 3, 5, "more questions, as it has peers")
    assert len(first) == 1


def test_a_change_of_the_network_asks_again(folder: Path, watch: EndpointWatch) -> None:
    answer = b"errno=0\n\n"
    with program(folder, lambda client: client.sendall(answer)) as asked:
        watch.ask([WG])
        until(lambda: asked, 5, "the question")
        answer = ANSWER
        watch.ask([WG])
        assert changes(watch)
        assert watch.ask([WG]) == PEERS


def test_the_endpoints_of_a_link_that_is_gone_are_gone_at_once(folder: Path, watch: EndpointWatch) -> None:
    with program(folder, says(ANSWER)), program(folder, says(MOVED), "wgt1"):
        watch.ask([WG, OTHER])
        assert changes(watch)
        until(lambda: len(watch.known) == len(PEERS) + 1, 5, "both answers")
        assert watch.ask([WG]) == PEERS
        assert watch.ask([CARD]) == set()
        # Another link of that name, and the same after it was down.
        assert watch.ask([Link(9, WG.name, "tun", False, up=True, running=True)]) == set()
        assert watch.ask([Link(7, WG.name, "tun", False, up=False, running=False)]) == PEERS


def test_without_a_link_that_may_answer_there_is_no_thread(watch: EndpointWatch) -> None:
    before = threading.active_count()
    assert watch.ask([CARD, Link(3, "tap0", "tun", True, up=True, running=True)]) == set()
    assert threading.active_count() == before
    watch.drain()  # nothing to take is no error


def test_it_asks_on_after_a_fault(
    folder: Path, watch: EndpointWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(links: object) -> frozenset[wireguard.Endpoint]:
        raise RuntimeError

    told = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda arguments: told.set())
    with monkeypatch.context() as broken:
        broken.setattr(wireguard, "endpoints", fail)
        watch.ask([WG])
        until(told.is_set, 5, "the fault")
    with program(folder, says(ANSWER)):
        until(lambda: watch.ask([WG]) == PEERS, 5, "the endpoints")

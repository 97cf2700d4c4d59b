"""requests.py: the kernel asked for real, and answers that it gives only seldom."""

import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from errno import ENODEV, EOPNOTSUPP

import pytest

from stunwall import netlink
from stunwall.netlink import Message
from stunwall.vpn import messages, requests
from stunwall.vpn.messages import Read
from stunwall.vpn.requests import Requests

LINKS = Read(messages.GETLINK)
DUMP_INTERRUPTED = 0x10  # linux/netlink.h: NLM_F_DUMP_INTR


@pytest.fixture
def kernel() -> Iterator[Requests]:
    with closing(Requests()) as made:
        yield made


def names(kernel: Requests) -> list[str]:
    found = kernel.dump(LINKS.kind, messages.request(LINKS), messages.link)
    return [link.name for link, _ in found]


def test_a_dump_is_whole_and_the_next_one_as_well(kernel: Requests) -> None:
    wanted = [name for _, name in socket.if_nameindex()]
    assert names(kernel) == wanted
    assert names(kernel) == wanted


def test_what_it_makes_nothing_of_is_left_out(kernel: Requests) -> None:
    assert kernel.dump(LINKS.kind, messages.request(LINKS), lambda message: None) == []


def test_one_question_has_one_answer(kernel: Requests) -> None:
    index = socket.if_nametoindex("lo")
    (found,) = kernel.ask(LINKS.kind, messages.request(Read(messages.GETLINK, 0, index)))
    link = messages.link(found)
    assert link is not None
    assert link[0].name == "lo"


def test_a_refusal_is_the_kernels_error_and_the_next_question_is_answered(kernel: Requests) -> None:
    for kind, body, number in (
        (messages.GETLINK, messages.request(Read(messages.GETLINK, 0, 99_999)), ENODEV),
        (0xFFF, b"", EOPNOTSUPP),
    ):
        with pytest.raises(OSError) as refused:
            kernel.ask(kind, body)
        assert refused.value.errno == number
    assert "lo" in names(kernel)


class Interrupted(Requests):
    """A kernel whose links change while they are read, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.read = 0

    def _answer(self, kind: int, body: bytes, flags: int) -> Iterator[Message]:
        self.read += 1
        for message in super()._answer(kind, body, flags):
            yield message._replace(flags=DUMP_INTERRUPTED if self.read <= self.times else 0)


@pytest.mark.parametrize("times", [1, requests._TRIES - 1])
def test_what_changed_while_it_was_read_is_read_again(times: int) -> None:
    with closing(Interrupted(times)) as kernel:
        assert names(kernel) == [name for _, name in socket.if_nameindex()]
        assert kernel.read == times + 1


def test_what_never_stands_still_is_an_error() -> None:
    with (
        closing(Interrupted(requests._TRIES)) as kernel,
        pytest.raises(OSError, match="they change too fast"),
    ):
        names(kernel)


def test_an_answer_to_an_earlier_question_is_passed_over(
    kernel: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = netlink.message(netlink.ERROR, 0, 7, struct.pack("=i", -ENODEV) + bytes(16))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    class Peer:
        def sendto(self, data: bytes, to: tuple[int, int]) -> None:
            (asked,) = netlink.messages(data)
            theirs.send(late)
            theirs.send(netlink.message(netlink.ERROR, 0, asked.sequence, bytes(20)))

        def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
            return ours.recv(size), (0, 0)

    with ours, theirs, monkeypatch.context() as patch:
        patch.setattr(kernel, "_socket", Peer())
        assert kernel.ask(1, b"") == []


@pytest.mark.usefixtures("lab")
def test_what_another_process_sends_is_no_answer(kernel: Requests) -> None:
    kernel._socket.bind((0, 0))
    forged = netlink.message(netlink.DONE, 0, kernel._sequence + 1, bytes(4))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as other:
        other.sendto(forged, (kernel._socket.getsockname()[0], 0))
    assert "lo" in names(kernel)

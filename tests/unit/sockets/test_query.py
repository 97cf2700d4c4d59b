"""query.py: what is no answer."""

from contextlib import closing

import pytest

from stunwall.netlink import attribute
from stunwall.sockets.query import KernelQuery

ROUTE, GETROUTE = 0, 26  # linux/netlink.h, linux/rtnetlink.h


@pytest.mark.parametrize("body", [b"", b"\xff" * 12, bytes(12)])
def test_an_error_is_no_answer(body: bytes) -> None:
    with closing(KernelQuery(ROUTE)) as one:
        assert one.ask(GETROUTE, body) is None


def test_a_closed_socket_gets_no_answer() -> None:
    one = KernelQuery(ROUTE)
    one.close()
    assert one.ask(GETROUTE, b"") is None


def to(last: int) -> bytes:
    """The question how to reach 127.0.0.LAST: struct rtmsg, RTA_DST."""
    return bytes.fromhex("0220") + bytes(10) + attribute(1, bytes([127, 0, 0, last]))


def test_questions_are_answered_in_their_order_and_answers_may_be_left_out() -> None:
    with closing(KernelQuery(ROUTE)) as one:
        first, *_, third = (one.begin(GETROUTE, to(last)) for last in (1, 2, 3))
        assert attribute(1, bytes([127, 0, 0, 1])) in (one.answer(first) or b"")
        assert attribute(1, bytes([127, 0, 0, 3])) in (one.answer(third) or b"")
        assert one.answer(third) is None


def test_a_question_that_could_not_be_sent_takes_no_other_answer() -> None:
    with closing(KernelQuery(ROUTE)) as one:
        lost = one.begin(GETROUTE, bytes(1 << 20))
        sent = one.begin(GETROUTE, to(1))
        assert one.answer(lost) is None
        assert one.answer(sent) is not None

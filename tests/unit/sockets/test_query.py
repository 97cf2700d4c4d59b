"""query.py: what is no answer."""

from contextlib import closing

import pytest

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

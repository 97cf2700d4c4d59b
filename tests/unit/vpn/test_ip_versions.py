"""ip_versions.py: what a system without IPv6 says, with a kernel that refuses its sockets."""

import errno
import os
import socket
from typing import Any

import pytest

from stunwall.queue.refusal import RefusalSender
from stunwall.vpn import ip_versions
from stunwall.vpn.policy_route import PolicyRoute
from stunwall.vpn.rtnetlink import Rtnetlink

ONLY4 = frozenset({4})


@pytest.fixture
def no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ipv6.disable=1: every IPv6 socket fails with EAFNOSUPPORT."""
    real = socket.socket

    def refuse(family: int = -1, *given: Any, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return real(family, *given, **named)

    monkeypatch.setattr(socket, "socket", refuse)


def test_a_usual_system_has_both() -> None:
    assert ip_versions.available() == {4, 6}


def test_a_system_without_ipv6_has_ipv4_alone(no_ipv6: None) -> None:
    assert ip_versions.available() == ONLY4


def test_refusals_are_sent_over_ipv4_alone(lab: None, no_ipv6: None) -> None:
    RefusalSender(0x90000000, ONLY4).close()


def test_a_snapshot_has_nothing_of_a_version_that_is_not_there(lab: None) -> None:
    rtnetlink = Rtnetlink(ONLY4)
    rtnetlink.read()
    snapshot = rtnetlink.snapshot()
    rtnetlink.close()
    assert snapshot.tables.keys() == snapshot.egress.keys() == {4}
    assert {route.destination.version for route in snapshot.routes} <= {4}


def test_no_route_is_set_for_a_version_that_is_not_there(lab: None) -> None:
    policy_route = PolicyRoute(0x10000000, 0x90000000, ONLY4, lambda text: None)
    policy_route.point(6, socket.if_nametoindex("lo"))
    policy_route.close()

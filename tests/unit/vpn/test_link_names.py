"""link_names.py: the names of a snapshot, and what happens between it and the next one."""

import socket

import pytest

from stunwall.vpn.interfaces import Link
from stunwall.vpn.link_names import LinkNames

KNOWN = (Link(1, "lo", "", False, True, True), Link(70, "wg0", "wireguard", False, True, True))


@pytest.fixture
def names() -> LinkNames:
    made = LinkNames()
    made.follow(KNOWN)
    return made


def test_what_is_known_needs_no_system_call(names: LinkNames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "if_indextoname")
    monkeypatch.delattr(socket, "if_nametoindex")
    assert [names.name(index) for index in (1, 70)] == ["lo", "wg0"]
    assert [names.index(name) for name in ("lo", "wg0")] == [1, 70]


def test_another_snapshot_replaces_the_names(names: LinkNames) -> None:
    names.follow([Link(70, "home", "wireguard", False, True, True)])
    assert (names.name(70), names.index("home"), names.index("wg0")) == ("home", 70, 0)


def test_an_interface_that_is_newer_is_asked_for() -> None:
    names = LinkNames()
    assert names.name(socket.if_nametoindex("lo")) == "lo"
    assert names.index("lo") == socket.if_nametoindex("lo")


def test_an_interface_that_is_gone_has_its_number(names: LinkNames) -> None:
    assert names.name(71) == "#71"
    assert names.index("eth7") == 0


def test_a_newer_interface_does_not_get_the_name_of_the_vpn(
    names: LinkNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The VPN is gone and another interface has its name: what leaves by that one does not go into the VPN."""
    monkeypatch.setattr(socket, "if_indextoname", lambda index: "wg0")
    assert names.name(71) == "#71"

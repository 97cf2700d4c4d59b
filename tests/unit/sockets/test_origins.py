"""origins.py: whose a connection is, from real sockets, routes and processes."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from lab.sleeping import sleeping
from stunwall.model import Arrival, Datagram, Hook, Origin, Program, Transport
from stunwall.sockets import origins, processes
from stunwall.sockets.diag import SocketLookup
from stunwall.sockets.origins import Origins
from stunwall.vpn.link_names import LinkNames
from unit.tun import Tun, ip

OWN, SERVER, MARK = "192.0.2.17", "203.0.113.7", 0x77


@pytest.fixture
def ways(lab: None) -> Iterator[None]:
    """The default route leads to ori1, that of table 77 to ori0, which has the address."""
    with Tun("ori0", f"{OWN}/32") as physical, Tun("ori1", "10.9.8.7/32") as vpn:
        vpn.route("default")
        ip("route", "add", "default", "dev", physical.name, "table", "77")
        ip("rule", "add", "from", OWN, "lookup", "77")
        yield
        ip("rule", "delete", "from", OWN, "lookup", "77")


@pytest.fixture
def found(ways: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Origins]:
    monkeypatch.setattr(processes, "_HIERARCHIES", (tmp_path,))  # none: all processes are candidates
    monkeypatch.setattr(origins, "_REMEMBERED", 0.0)
    with (
        closing(SocketLookup(LinkNames().index)) as sockets,
        closing(Origins(sockets, ["a-browser"])) as one,
    ):
        yield one


def opening(device: str = "", user: int | None = None) -> socket.socket:
    """A socket that opens a connection from the physical address."""
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if user is not None:
        os.fchown(own.fileno(), user, -1)
    if device:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    own.bind((OWN, 0))
    own.setblocking(False)
    with suppress(BlockingIOError):
        own.connect((SERVER, 443))
    return own


def look_up(one: Origins, own: socket.socket, mark: int = 0) -> Origin:
    segment = Datagram(Transport.TCP, ip_address(OWN), ip_address(SERVER), own.getsockname()[1], 443, b"")
    return one.find(segment, Arrival(b"", "", "ori0", Hook.OUTPUT, mark, 0.0))


def test_the_route_is_that_without_the_sockets_address(found: Origins) -> None:
    with opening() as own:
        assert look_up(found, own) == Origin("ori1", False, Program.OTHER)
    with opening("ori0") as own:
        assert look_up(found, own) == Origin("ori1", True, Program.OTHER)


def test_the_route_is_that_of_the_packets_mark(found: Origins) -> None:
    ip("rule", "add", "fwmark", str(MARK), "lookup", "77")
    with opening() as own:
        assert look_up(found, own, MARK).route == "ori0"
        assert look_up(found, own).route == "ori1"
    ip("rule", "delete", "fwmark", str(MARK))


def test_a_program_of_the_same_user_that_does_webrtc_counts(found: Origins, tmp_path: Path) -> None:
    with opening() as own, sleeping(tmp_path / "a-browser"):
        assert look_up(found, own).program is Program.WEBRTC
        found.name_programs(())
        assert look_up(found, own).program is Program.OTHER


def test_a_user_without_processes_and_a_socket_that_is_gone_are_not_known(found: Origins) -> None:
    with opening(user=4321) as own:
        assert look_up(found, own).program is Program.UNKNOWN
    with opening() as own:
        port = own.getsockname()[1]
    segment = Datagram(Transport.TCP, ip_address(OWN), ip_address(SERVER), port, 443, b"")
    arrival = Arrival(b"", "", "ori0", Hook.OUTPUT, 0, 0.0)
    assert found.find(segment, arrival) == Origin("ori1", False, Program.UNKNOWN)


def test_what_was_found_is_remembered_for_a_moment(
    found: Origins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(origins, "_REMEMBERED", 1e9)
    with opening() as own:
        assert look_up(found, own).program is Program.OTHER
        monkeypatch.setattr(found._processes, "of", lambda cgroup: iter(()))
        assert look_up(found, own).program is Program.OTHER
        found.name_programs(())
        assert look_up(found, own).program is Program.UNKNOWN

"""diag.py: real sockets in the tests' own network namespace, and replies that no kernel sends."""

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.model import Datagram, Plain, Transport
from stunwall.sockets import diag
from stunwall.sockets.diag import SocketLookup
from stunwall.vpn.link_names import LinkNames
from unit.tun import Tun

OWN = {4: "192.0.2.17", 6: "2001:db8:17::17"}
OTHER = {4: "203.0.113.7", 6: "2001:db8:7::7"}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
ANY = {4: "0.0.0.0", 6: "::"}
PORT = 3478
MARK = 0x1234
UDP_LITE = 136


@pytest.fixture
def way(lab: None) -> Iterator[Tun]:
    """An interface with routes to everywhere, into which packets vanish."""
    with Tun("dia0", f"{OWN[4]}/32", f"{OWN[6]}/128") as tun:
        tun.route("default")
        tun.route("::/0")
        yield tun


@pytest.fixture
def lookup(lab: None) -> Iterator[SocketLookup]:
    with closing(SocketLookup(LinkNames().index)) as one:
        yield one


def index(way: Tun) -> int:
    return socket.if_nametoindex(way.name)


def sent(own: socket.socket, version: int, transport: Transport = Transport.UDP) -> Datagram:
    """A packet that the socket sends to the other side."""
    source, other = ip_address(OWN[version]), ip_address(OTHER[version])
    return Datagram(transport, source, other, own.getsockname()[1], PORT, b"")


def stream(version: int) -> socket.socket:
    """A TCP socket whose SYN has been sent and vanished."""
    own = socket.socket(FAMILIES[version], socket.SOCK_STREAM)
    own.setblocking(False)
    with suppress(BlockingIOError):
        own.connect((OTHER[version], PORT))
    return own


def inode(own: socket.socket) -> int:
    return os.fstat(own.fileno()).st_ino


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("bound", ["any", "source", "connected", "device"])
def test_a_udp_socket_is_found(way: Tun, lookup: SocketLookup, version: int, bound: str) -> None:
    with socket.socket(FAMILIES[version], socket.SOCK_DGRAM) as own:
        if bound == "device":
            own.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, way.name.encode())
        own.bind((OWN[version] if bound == "source" else ANY[version], 0))
        if bound == "connected":
            own.connect((OTHER[version], PORT))
        found = lookup.find(sent(own, version), way.name)
        assert found is not None
        assert (found.uid, found.inode) == (os.getuid(), inode(own))
        assert found.interface == (index(way) if bound == "device" else 0)


def test_a_socket_is_found_among_others_of_its_port(way: Tun, lookup: SocketLookup) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        one.bind((OWN[4], 0))
        other.bind(("127.0.0.1", one.getsockname()[1]))
        found = lookup.find(sent(one, 4), way.name)
        assert found is not None
        assert found.inode == inode(one)


@pytest.mark.parametrize("version", [4, 6])
def test_the_socket_of_a_plain_request_is_found(way: Tun, lookup: SocketLookup, version: int) -> None:
    with socket.socket(FAMILIES[version], socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, way.name.encode())
        own.bind(("", 0))
        packet = sent(own, version)
        request = Plain(
            packet.source.packed,
            packet.destination.packed,
            packet.source_port.to_bytes(2, "big"),
            packet.destination_port.to_bytes(2, "big"),
            bytes(12),
        )
        found = lookup.found(lookup.begin_plain(request, index(way)))
        assert found is not None
        assert found == lookup.find(packet, way.name)
        assert found.inode == inode(own)
        assert lookup.found(lookup.begin_plain(request, socket.if_nametoindex("lo"))) is None


@pytest.mark.parametrize("version", [4, 6])
def test_a_tcp_socket_is_found_while_it_connects(way: Tun, lookup: SocketLookup, version: int) -> None:
    with stream(version) as own:
        found = lookup.find(sent(own, version, Transport.TCP), way.name)
        assert found is not None
        assert (found.uid, found.inode) == (os.getuid(), inode(own))


def test_a_tcp_socket_is_found_while_it_is_connected(lookup: SocketLookup) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as own, server.accept()[0]:
            here = ip_address("127.0.0.1")
            packet = Datagram(Transport.TCP, here, here, own.getsockname()[1], address[1], b"")
            found = lookup.find(packet, "lo")
            assert found is not None
            assert found.inode == inode(own)


def test_a_socket_that_listens_on_the_same_port_is_not_the_sender(way: Tun, lookup: SocketLookup) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert lookup.find(sent(server, 4, Transport.TCP), way.name) is None


@pytest.mark.parametrize("transport", list(Transport))
def test_an_ipv6_socket_that_sends_ipv4_is_found(
    way: Tun, lookup: SocketLookup, transport: Transport
) -> None:
    kind = socket.SOCK_DGRAM if transport is Transport.UDP else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET6, kind) as own:
        own.setblocking(False)
        with suppress(BlockingIOError):
            own.connect((f"::ffff:{OTHER[4]}", PORT))
        found = lookup.find(sent(own, 4, transport), way.name)
        assert found is not None
        assert found.inode == inode(own)


def test_a_udp_lite_socket_is_found_and_is_no_udp_socket(way: Tun, lookup: SocketLookup) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, UDP_LITE) as own:
        own.bind(("0.0.0.0", 0))
        packet = sent(own, 4)
        found = lookup.find(packet._replace(lite=True), way.name)
        assert found is not None
        assert found.inode == inode(own)
        assert lookup.find(packet, way.name) is None


def test_a_socket_that_is_bound_to_another_interface_is_not_found(way: Tun, lookup: SocketLookup) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, way.name.encode())
        own.bind(("0.0.0.0", 0))
        assert lookup.find(sent(own, 4), "lo") is None


def test_the_mark_and_the_cgroup_are_told(way: Tun, lookup: SocketLookup, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "cgroup2", "none", str(tmp_path)], check=True)
    with stream(4) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        found = lookup.find(sent(own, 4, Transport.TCP), way.name)
        assert found is not None
        assert found.mark == MARK
        path = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
        assert found.cgroup == (tmp_path / path).stat().st_ino
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_socket_that_is_closed_is_gone_or_the_kernels(way: Tun, lookup: SocketLookup) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind((OWN[4], 0))
        packet = sent(own, 4)
    assert lookup.find(packet, way.name) is None


def test_a_socket_of_a_user_is_told_by_its_number(way: Tun, lookup: SocketLookup) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        os.fchown(own.fileno(), 1234, -1)
        own.bind((OWN[4], 0))
        found = lookup.find(sent(own, 4), way.name)
        assert found is not None
        assert found.uid == 1234


def test_an_answer_to_an_earlier_question_is_passed_over(way: Tun, lookup: SocketLookup) -> None:
    with stream(4) as one, stream(4) as other:
        # As if the daemon had given up before it read the reply.
        body = diag._request(sent(one, 4, Transport.TCP), index(way))
        lookup._query._socket.send(struct.pack("=IHHII", 16 + len(body), 20, 1, 0xFFFF, 0) + body)
        found = lookup.find(sent(other, 4, Transport.TCP), way.name)
        assert found is not None
        assert found.inode == inode(other)


def test_a_question_that_cannot_be_asked_finds_nothing(lookup: SocketLookup, way: Tun) -> None:
    with stream(4) as own:
        packet = sent(own, 4, Transport.TCP)
        lookup.close()
        assert lookup.find(packet, way.name) is None


def reply(state: int = 1, attributes: bytes = b"") -> bytes:
    """What the kernel sends: linux/inet_diag.h, struct inet_diag_msg."""
    sockid = struct.pack("!HH32x", 4000, PORT) + struct.pack("=I", 7) + b"\xff" * 8
    return (
        struct.pack("=BBBB", 2, state, 0, 0)
        + sockid
        + struct.pack("=IIIII", 0, 0, 0, 1000, 4711)
        + attributes
    )


def attribute(kind: int, value: bytes, length: int | None = None) -> bytes:
    size = 4 + len(value) if length is None else length
    return struct.pack("=HH", size, kind) + value + bytes(-len(value) % 4)


def test_a_reply_is_read() -> None:
    attributes = (
        attribute(2, b"x") + attribute(21, struct.pack("=Q", 99)) + attribute(15, struct.pack("=I", 5))
    )
    assert diag.parse(reply(attributes=attributes)) == diag.Socket(1000, 4711, 7, 99, 5)


def test_a_reply_without_attributes_knows_neither_cgroup_nor_mark() -> None:
    assert diag.parse(reply()) == diag.Socket(1000, 4711, 7, 0, 0)


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_an_attribute_of_a_wrong_length_ends_the_attributes(length: int) -> None:
    attributes = attribute(2, b"abcd", length) + attribute(15, struct.pack("=I", 5))
    found = diag.parse(reply(attributes=attributes))
    assert found is not None
    assert found.inode == 4711


def test_a_connection_that_waits_for_its_end_is_no_socket() -> None:
    assert diag.parse(reply(state=6)) is None


@pytest.mark.parametrize("cut", range(len(reply())))
def test_a_cut_reply_has_no_socket(cut: int) -> None:
    assert diag.parse(reply()[:cut]) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    diag.parse(data)


@given(st.binary(max_size=200))
def test_any_attributes_are_read(data: bytes) -> None:
    assert diag.parse(reply(attributes=data)) is not None


def response(own: socket.socket, version: int) -> Datagram:
    """A packet from the other side to the socket."""
    there, here = ip_address(OTHER[version]), ip_address(OWN[version])
    return Datagram(Transport.UDP, there, here, PORT, own.getsockname()[1], b"")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("connected", [False, True])
def test_a_response_is_awaited_as_long_as_its_socket_is_open(
    way: Tun, lookup: SocketLookup, version: int, connected: bool
) -> None:
    with socket.socket(FAMILIES[version], socket.SOCK_DGRAM) as own:
        own.bind((OWN[version], 0))
        if connected:
            own.connect((OTHER[version], PORT))
        expected = response(own, version)
        assert lookup.awaited(expected, way.name)
        assert lookup.awaited(expected._replace(source_port=PORT + 1), way.name) is not connected
    assert not lookup.awaited(expected, way.name)
    assert not lookup.awaited(expected, "gone0")


@pytest.mark.parametrize("address", ["198.51.100.9", "2001:db8:9::9"])
def test_a_machine_behind_this_one_is_taken_to_wait(way: Tun, lookup: SocketLookup, address: str) -> None:
    with socket.socket() as own:
        own.bind(("", 0))
        version = ip_address(address).version
        forwarded = response(own, version)._replace(destination=ip_address(address))
        assert lookup.awaited(forwarded, way.name)

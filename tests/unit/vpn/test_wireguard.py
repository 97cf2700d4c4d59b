"""wireguard.py: programs behind real sockets, honest and hostile ones."""

import socket
import struct
import time
from collections.abc import Callable
from contextlib import closing
from errno import ENOENT
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.generic import ctrlmsg
from pyroute2.netlink.generic.wireguard import wgmsg

from stunwall import netlink
from stunwall.netlink import Message
from stunwall.vpn import wireguard
from stunwall.vpn.interfaces import Link
from stunwall.vpn.requests import Requests
from unit.vpn.uapi import ANSWER, FOUND, Program, program, says

T = TypeVar("T")

PATIENCE = 5 * wireguard._TIMEOUT  # seconds: far less than an endless answer takes


def link(kind: str = "tun", name: str = "wgt0", tap: bool = False) -> Link:
    return Link(7, name, kind, tap, up=True, running=True)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    made = (tmp_path / "wireguard", tmp_path / "amneziawg")
    for folder in made:
        folder.mkdir()
    monkeypatch.setattr(wireguard, "_FOLDERS", made)
    return made


def found(*links: Link) -> set[tuple[str, int]]:
    begun = time.monotonic()
    seen = {(str(address), port) for address, port in wireguard.endpoints(links or (link(),))}
    assert time.monotonic() - begun < PATIENCE
    return seen


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("open_for", [0, 30])
def test_a_programs_peers_are_found_whether_or_not_it_keeps_the_connection(
    folders: tuple[Path, Path], place: int, open_for: float
) -> None:
    with program(folders[place], says(ANSWER[:50], ANSWER[50:], open_for=open_for)) as asked:
        assert found() == FOUND
    assert asked == [b"get=1\n\n"]


def test_it_does_not_wait_once_the_answer_has_ended(folders: tuple[Path, Path]) -> None:
    with program(folders[0], says(ANSWER, open_for=30)):
        begun = time.monotonic()
        found()
        assert time.monotonic() - begun < wireguard._TIMEOUT


def test_only_what_can_be_wireguard_is_asked(folders: tuple[Path, Path]) -> None:
    with program(folders[0], says(ANSWER)) as asked:
        assert found(link(""), link("veth"), link("tun", tap=True), link("tun", name="wgt1")) == set()
    assert asked == []


# The kernel's own. Its module is not everywhere, so what it answers is written here from its header files.

WIREGUARD, AMNEZIAWG = "wireguard", "amneziawg"


def attribute(number: int, value: bytes) -> bytes:
    """linux/netlink.h, struct nlattr: length, type, and the value up to a multiple of 4."""
    return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def device(*endpoints: bytes, more: bytes = b"", peer: bytes = attribute(5, b"\x19\0")) -> bytes:
    """A message of WG_CMD_GET_DEVICE (linux/wireguard.h) with a peer for each endpoint."""
    peers = b"".join(
        attribute(0, attribute(1, bytes(32)) + (attribute(4, each) if each else b"") + peer)
        for each in endpoints
    )
    body = struct.pack("=BBH", 0, 1, 0) + attribute(2, b"vpn0\0") + more + attribute(8, peers)
    return struct.pack("=IHHII", 16 + len(body), 33, 2, 1, 0) + body


def endpoint4(address: str, port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(address))


def endpoint6(address: str, port: int) -> bytes:
    packed = socket.inet_pton(socket.AF_INET6, address)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", port, 0, packed, 0)


# amneziawg-linux-kernel-module, src/uapi/wireguard.h and netlink.c: the same numbers, further attributes of the device
# (9 Jc, 13 S2, 14 H1, 22 I1) and the peer (11), and a keepalive of four bytes.
AMNEZIAWG_MORE = (
    attribute(9, b"\4\0")
    + attribute(13, b"\x10\0")
    + attribute(14, b"\5\0\0\0")
    + attribute(22, b"<b 0x0001>\0")
)
AMNEZIAWG_PEER = attribute(5, b"\x19\0\0\0") + attribute(11, b"")
FIRST = device(endpoint4("198.51.100.2", 51820), b"", endpoint6("2001:db8:3::2", 443))
SECOND = device(endpoint4("203.0.113.9", 1), more=AMNEZIAWG_MORE, peer=AMNEZIAWG_PEER)
THREE = {("198.51.100.2", 51820), ("2001:db8:3::2", 443), ("203.0.113.9", 1)}


class Kernel:
    """Generic netlink of a kernel that has these families. What it is asked is read by pyroute2."""

    def __init__(self, *families: str) -> None:
        self.families = families
        self.asked: list[int] = []

    def __call__(self, protocol: int) -> "Kernel":
        assert protocol == 16  # linux/netlink.h: NETLINK_GENERIC
        return self

    def close(self) -> None:
        pass

    def ask(self, kind: int, body: bytes) -> list[Message]:
        request = ctrlmsg(netlink.message(kind, 0, 1, body))
        request.decode()
        assert (kind, request["cmd"]) == (16, 3)  # GENL_ID_CTRL, CTRL_CMD_GETFAMILY
        if request.get("CTRL_ATTR_FAMILY_NAME") not in self.families:
            raise OSError(ENOENT, "No such file or directory")
        answer = struct.pack("=BBH", 1, 2, 0) + attribute(1, struct.pack("=H", 33))
        return list(netlink.messages(netlink.message(kind, 0, 1, answer)))

    def dump(self, kind: int, body: bytes, take: Callable[[Message], T | None]) -> list[T]:
        request = wgmsg(netlink.message(kind, 0, 1, body))
        request.decode()
        assert (kind, request["cmd"]) == (33, 0)
        self.asked.append(request.get("WGDEVICE_A_IFINDEX"))
        return [found for message in netlink.messages(FIRST + SECOND) if (found := take(message)) is not None]


@pytest.mark.parametrize("kind", [WIREGUARD, AMNEZIAWG])
def test_the_kernel_is_asked_by_the_kinds_own_family(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    kernel = Kernel(kind)
    monkeypatch.setattr(wireguard, "Requests", kernel)
    other = {WIREGUARD: AMNEZIAWG, AMNEZIAWG: WIREGUARD}[kind]
    assert found(link(kind, "a\udcffb"), link(other)) == THREE  # the name is not asked for
    assert kernel.asked == [7]


def test_families_have_the_kernels_numbers() -> None:
    with closing(Requests(16)) as kernel:
        assert (
            wireguard._family(kernel, "nlctrl") == 16
        )  # linux/genetlink.h: GENL_ID_CTRL, the only fixed one
        with pytest.raises(OSError, match="No such file or directory"):
            wireguard._family(kernel, "nosuchfamily")


@pytest.mark.parametrize("kind", [WIREGUARD, AMNEZIAWG])
def test_a_kernels_wireguard_that_cannot_be_asked_has_none(folders: tuple[Path, Path], kind: str) -> None:
    assert found(link(kind, "nowhere0")) == set()


def test_a_program_that_is_gone_or_a_socket_that_is_none_is_passed_over(folders: tuple[Path, Path]) -> None:
    assert found() == set()
    (folders[0] / "wgt0.sock").write_text("no socket")
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(folders[1] / "wgt0.sock"))
    assert found() == set()
    assert found(link(name="x" * 200)) == set()


def _endless(line: bytes, pause: float = 0.0) -> Program:
    def behave(client: socket.socket) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            client.sendall(line)
            time.sleep(pause)

    return behave


HOSTILE: dict[str, Program] = {
    "silent": says(open_for=30),
    "gone at once": says(),
    "half a line": says(b"endpoint=1.2.3.4", open_for=30),
    "empty": says(b"\n\n"),
    "not UTF-8": says(b"\xff\xfe\0\x80\n\n"),
    "zeros without end": _endless(bytes(65536)),
    "lines without end": _endless(b"public_key=00\n" * 1000),
    "a letter at a time": _endless(b"x", 0.01),
    "a line at a time": _endless(b"public_key=00\n", 0.01),
}


@pytest.mark.parametrize("behave", HOSTILE.values(), ids=HOSTILE)
def test_whatever_a_program_says_it_takes_no_longer_than_its_time_and_has_no_endpoint(
    folders: tuple[Path, Path], behave: Program
) -> None:
    with program(folders[0], behave):
        assert found() == set()


def test_endpoints_without_end_are_so_many_at_the_most(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wireguard, "_PEERS_MAX", 100)
    lines = b"".join(b"endpoint=10.0.%d.%d:1\n" % (n >> 8, n & 255) for n in range(1000))
    with program(folders[0], says(lines + b"\n")):
        assert len(found()) == 100


def test_what_came_before_the_garbage_counts(folders: tuple[Path, Path]) -> None:
    with program(folders[0], says(b"endpoint=1.2.3.4:5\nendpoint=nonsense\n\xff\nendpoint=1.2.3.5:5\n\n")):
        assert found() == {("1.2.3.4", 5), ("1.2.3.5", 5)}


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        ":",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:0",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:x",
        "example.org:1",
        "1.2.3.4:1 . 2",
        "[::1",
        "]:1",
        "1.2.3:4",
        "1.2.3.4:" + "9" * 5000,
        '1.2.3.4" accept:1',
        "%eth0:1",
    ],
)
def test_what_is_no_endpoint_is_none(folders: tuple[Path, Path], endpoint: str) -> None:
    with program(folders[0], says(f"endpoint={endpoint}\n\n".encode())):
        assert found() == set()


@given(st.text(max_size=30), st.text(max_size=8))
def test_what_counts_can_stand_in_a_rule(address: str, port: str) -> None:
    for seen, number in wireguard._endpoint(address, port):
        assert str(ip_address(str(seen))) == str(seen)
        assert "%" not in str(seen)
        assert 0 < number < 65536


ENDPOINTS = [endpoint4("198.51.100.2", 51820), endpoint6("2001:db8:3::2", 443)]
NONE = [b"", b"\2", endpoint4("198.51.100.2", 0), struct.pack("=H", socket.AF_UNIX) + bytes(30)]
CUT = [ENDPOINTS[0][:7], ENDPOINTS[1][:23]]


@pytest.mark.parametrize("value", [*NONE, *CUT], ids=repr)
def test_a_peer_of_the_kernel_without_endpoint_has_none(value: bytes) -> None:
    peers = [attribute(0, attribute(1, bytes(32)) + attribute(4, each)) for each in (value, ENDPOINTS[0])]
    assert set(wireguard._of_peers(b"".join(peers))) == {(ip_address("198.51.100.2"), 51820)}


@given(st.binary(max_size=200))
def test_whatever_peers_are_it_ends(peers: bytes) -> None:
    assert all(0 < port < 65536 for _, port in wireguard._of_peers(peers))


def test_nothing_stays_open(folders: tuple[Path, Path], recwarn: pytest.WarningsRecorder) -> None:
    with program(folders[0], says(ANSWER)), closing(socket.socket()):
        found()
    assert [str(w.message) for w in recwarn if w.category is ResourceWarning] == []

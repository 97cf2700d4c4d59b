"""route.py: real routes and rules in the tests' own network namespace."""

import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest

from stunwall.model import Datagram, Transport
from stunwall.sockets.route import RouteLookup
from unit.tun import Tun, ip

ADDRESSES = {4: ("192.0.2.17", "203.0.113.7"), 6: ("2001:db8:17::17", "2001:db8:7::7")}
MARK, OTHER_MARK = 0x77, 0x78


@pytest.fixture
def lookup() -> Iterator[RouteLookup]:
    with closing(RouteLookup()) as one:
        yield one


@pytest.fixture(params=[4, 6])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def ways(lab: None, version: int) -> Iterator[tuple[int, int]]:
    """The indexes of two ways; the second has the default route of table 77, to which a test's rule leads."""
    family = f"-{version}"
    default = {4: "0.0.0.0/0", 6: "::/0"}[version]
    own = f"{ADDRESSES[version][0]}/{32 if version == 4 else 128}"
    with Tun("rou0", own) as one, Tun("rou1") as other:
        one.route(default)
        ip(family, "route", "add", default, "dev", "rou1", "table", "77")
        yield socket.if_nametoindex(one.name), socket.if_nametoindex(other.name)
        for line in ip(family, "rule").splitlines():
            if "lookup 77" in line:
                ip(family, "rule", "delete", "pref", line.split(":")[0])


def segment(version: int) -> Datagram:
    own, server = map(ip_address, ADDRESSES[version])
    return Datagram(Transport.TCP, own, server, 40000, 3478, b"")


def test_the_sender_of_a_packet_does_not_count(
    lookup: RouteLookup, ways: tuple[int, int], version: int
) -> None:
    ip(f"-{version}", "rule", "add", "from", ADDRESSES[version][0], "lookup", "77")
    assert lookup.find(segment(version), 0, None) == ways[0]


@pytest.mark.parametrize(
    "rule",
    [
        ("fwmark", str(MARK)),
        ("uidrange", "4321-4321"),
        ("ipproto", "tcp", "dport", "3478"),
        ("ipproto", "tcp", "sport", "40000"),
    ],
    ids=lambda rule: rule[-2],
)
def test_mark_user_and_ports_do(
    lookup: RouteLookup, ways: tuple[int, int], version: int, rule: tuple[str, ...]
) -> None:
    assert lookup.find(segment(version), MARK, 4321) == ways[0]
    ip(f"-{version}", "rule", "add", *rule, "lookup", "77")
    assert lookup.find(segment(version), MARK, 4321) == ways[1]


def test_of_another_mark_or_user_they_do_not(
    lookup: RouteLookup, ways: tuple[int, int], version: int
) -> None:
    ip(f"-{version}", "rule", "add", "fwmark", str(MARK), "lookup", "77")
    ip(f"-{version}", "rule", "add", "uidrange", "4321-4321", "lookup", "77")
    assert lookup.find(segment(version), OTHER_MARK, 4322) == ways[0]
    assert lookup.find(segment(version), OTHER_MARK, None) == ways[0]


def test_without_a_route_there_is_no_interface(lab: None, lookup: RouteLookup, version: int) -> None:
    assert lookup.find(segment(version), 0, None) == 0

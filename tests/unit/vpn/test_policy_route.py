"""policy_route.py: rules and routes in the tests' own network namespace, seen by `ip` and asked of the kernel."""

import re
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stunwall.model import REDIRECT_TABLE
from stunwall.vpn.policy_route import PolicyRoute, PolicyRouteError
from unit.tun import Tun, ip, routing

MASK, MARK = 0x90000000, 0x10000000
SERVERS = {4: "203.0.113.7", 6: "2001:db8:7::7"}
CONF = Path("/proc/sys/net/ipv4/conf")
KEYS = ("rp_filter", "src_valid_mark")


class Made:
    """A policy route, and what it reported."""

    def __init__(
        self, mark: int = MARK, mask: int = MASK, versions: frozenset[int] = frozenset({4, 6})
    ) -> None:
        self.told: list[str] = []
        self.policy_route = PolicyRoute(mark, mask, versions, self.told.append)

    def point(self, tun: Tun | None, *versions: int) -> None:
        for version in versions or (4, 6):
            self.policy_route.point(version, socket.if_nametoindex(tun.name) if tun else None)


def way(version: int, mark: int = 0) -> str:
    """The interface that a packet with this mark leaves by, "" if there is no route."""
    try:
        found = ip(f"-{version}", "route", "get", SERVERS[version], "mark", hex(mark))
    except Exception:  # noqa: BLE001 - unreachable
        return ""
    match = re.search(r" dev (\S+)", found)
    return match[1] if match else ""


@pytest.fixture
def home(lab: None) -> Iterator[Tun]:
    """The default route, and it stands for the physical interface."""
    with Tun("std0", "192.0.2.17/24", "2001:db8:17::17/64") as made:
        made.route("default", "::/0")
        yield made


@pytest.fixture
def vpn(home: Tun) -> Iterator[Tun]:
    with Tun("std1", "10.9.8.7/24", "fd00::7/64") as made:
        Path("/proc/sys/net/ipv6/conf/std1/keep_addr_on_down").write_text("1")
        yield made


@pytest.fixture
def made(vpn: Tun) -> Iterator[Made]:
    before = routing()
    one = Made()
    yield one
    one.policy_route.remove()
    assert routing() == before


@pytest.mark.parametrize("version", [4, 6])
def test_what_has_the_mark_goes_where_it_points_and_nothing_else(made: Made, vpn: Tun, version: int) -> None:
    made.point(vpn, version)
    rule = f"50:\tfrom all fwmark {MARK:#x}/{MASK:#x} lookup {REDIRECT_TABLE}"
    assert ip(f"-{version}", "rule").count(rule) == 1
    assert ip(f"-{10 - version}", "rule").count("lookup 4780") == 0
    for mark, wanted in {
        0: "std0",
        MARK: "std1",
        MARK | 0x6FFFFFFF: "std1",  # other programs' bits do not matter
        MASK: "std0",  # both: stunwalld's refusals
        MASK ^ MARK: "std0",
        0x6FFFFFFF: "std0",
    }.items():
        assert way(version, mark) == wanted, hex(mark)
    assert way(10 - version, MARK) == "std0"
    assert made.told == []


@pytest.mark.parametrize("version", [4, 6])
def test_it_follows_the_vpn_from_interface_to_interface_and_to_none(
    made: Made, vpn: Tun, version: int
) -> None:
    with Tun("std2", "10.9.7.7/24", "fd00:1::7/64") as other:
        for tun, wanted in ((vpn, "std1"), (other, "std2"), (None, "std0"), (vpn, "std1"), (other, "std2")):
            made.point(tun)
            assert way(version, MARK) == wanted
            routes = ip(f"-{version}", "route", "show", "table", str(REDIRECT_TABLE))
            assert routes.count("default dev") == (tun is not None)
    assert way(version, MARK) == "std0"  # gone with its interface
    made.point(vpn)
    assert way(version, MARK) == "std1"


def test_other_marks_can_be_set(vpn: Tun) -> None:
    before = routing()
    made = Made(0x2, 0x6)
    made.point(vpn)
    assert (way(4, 0x2), way(4, 0x6), way(6, 0xF2)) == ("std1", "std0", "std1")
    made.policy_route.remove()
    assert routing() == before


def test_what_a_killed_daemon_left_is_replaced_and_removed(vpn: Tun, home: Tun) -> None:
    before = routing()
    Made(0x2, 0x6).point(home)  # never removed
    made = Made()
    made.point(vpn)
    assert [ip(f"-{version}", "rule").count("lookup 4780") for version in (4, 6)] == [1, 1]
    assert (way(4, MARK), way(4, 0x2)) == ("std1", "std0")
    made.policy_route.remove()
    assert routing() == before


def test_one_that_never_pointed_anywhere_removes_what_was_left_too(vpn: Tun) -> None:
    before = routing()
    Made().point(vpn)
    made = Made()
    made.point(None)
    assert way(4, MARK) == "std0"
    made.policy_route.remove()
    assert routing() == before


def test_rules_and_routes_of_others_stay(vpn: Tun, home: Tun) -> None:
    for family in ("-4", "-6"):
        ip(family, "rule", "add", "pref", "50", "fwmark", "0x7", "lookup", "100")
        ip(family, "rule", "add", "pref", "51", "lookup", str(REDIRECT_TABLE))
        ip(family, "route", "add", "default", "dev", home.name, "table", "100")
    before = routing()
    made = Made()
    made.point(vpn)
    assert way(4, 0x7) == "std0"
    made.policy_route.remove()
    assert routing() == before
    for family in ("-4", "-6"):
        ip(family, "rule", "delete", "pref", "50")
        ip(family, "rule", "delete", "pref", "51")


@pytest.mark.parametrize("version", [4, 6])
def test_what_was_lost_meanwhile_is_put_back_at_the_next_look(made: Made, vpn: Tun, version: int) -> None:
    def lose_by_link() -> None:
        ip("link", "set", vpn.name, "down")
        ip("link", "set", vpn.name, "up")

    def lose_route() -> None:
        ip(f"-{version}", "route", "flush", "table", str(REDIRECT_TABLE))

    def lose_rule() -> None:
        ip(f"-{version}", "rule", "delete", "pref", "50")

    for lose in (lose_by_link, lose_route, lose_rule):
        made.point(vpn)
        lose()
        assert way(version, MARK) != "std1", lose
        made.point(vpn)
        assert way(version, MARK) == "std1", lose
    assert ip(f"-{version}", "rule").count("lookup 4780") == 1


@pytest.mark.parametrize("version", [4, 6])
def test_rule_that_others_put_ahead_is_overtaken_at_the_next_look(
    made: Made, vpn: Tun, home: Tun, version: int
) -> None:
    made.point(vpn)
    ip(f"-{version}", "route", "add", "default", "dev", home.name, "table", "100")
    for _ in range(2):
        ip(f"-{version}", "rule", "add", "fwmark", hex(MARK), "lookup", "100")  # without `pref`: ahead of all
        assert way(version, MARK) == home.name
        made.point(vpn)
        assert way(version, MARK) == vpn.name
    for _ in range(2):
        ip(f"-{version}", "rule", "delete", "lookup", "100")
    ip(f"-{version}", "route", "flush", "table", "100")
    made.point(vpn)
    assert re.search(r"^50:.* lookup 4780", ip(f"-{version}", "rule"), re.M)


def test_pointing_to_the_same_again_changes_nothing_or_it_would_be_told_of_its_own_doing(
    made: Made, vpn: Tun
) -> None:
    made.point(vpn)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as changes:
        changes.bind((0, 0x7FFFFFFF))
        made.point(vpn)
        made.point(vpn)
        assert select.select([changes], [], [], 0)[0] == []
        made.point(None)
        assert select.select([changes], [], [], 0)[0] == [changes]


@pytest.mark.parametrize("version", [4, 6])
def test_an_interface_that_is_gone_is_an_error_and_the_next_try_works(
    made: Made, vpn: Tun, version: int
) -> None:
    made.point(vpn)
    for _ in range(2):
        with pytest.raises(PolicyRouteError, match="cannot set the route for redirected packets"):
            made.policy_route.point(version, 9999)
    made.point(vpn)
    assert way(version, MARK) == "std1"


def set_filters(everywhere: int, own: int, seen: tuple[int, int] = (0, 0)) -> None:
    for name, values in (("all", (everywhere, seen[0])), ("std1", (own, seen[1]))):
        for key, value in zip(KEYS, values, strict=True):
            (CONF / name / key).write_text(str(value))


@pytest.fixture
def filters(lab: None) -> Iterator[None]:
    before = {key: (CONF / "all" / key).read_text() for key in KEYS}
    yield
    for key, value in before.items():
        (CONF / "all" / key).write_text(value)


# ip-sysctl: the larger value of conf/all and conf/interface holds; 1 is strict, 2 loose.
@pytest.mark.parametrize(
    ("everywhere", "own", "strict"),
    [
        (0, 0, False),
        (1, 0, True),
        (0, 1, True),
        (1, 1, True),
        (2, 0, False),
        (0, 2, False),
        (1, 2, False),
        (2, 1, False),
        (2, 2, False),
    ],
)
def test_answers_are_let_in_where_the_reverse_path_is_checked_strictly_and_only_there(
    filters: None, made: Made, vpn: Tun, everywhere: int, own: int, strict: bool
) -> None:
    set_filters(everywhere, own)
    made.point(vpn, 6)
    assert (CONF / "std1" / "src_valid_mark").read_text() == "0\n"  # there is no such thing in IPv6
    made.point(vpn)
    assert (CONF / "std1" / "src_valid_mark").read_text() == f"{int(strict)}\n"
    assert (CONF / "all" / "src_valid_mark").read_text() == "0\n"
    assert len(made.told) == strict
    made.point(vpn)
    made.policy_route.remove()
    assert (CONF / "std1" / "src_valid_mark").read_text() == "0\n"
    assert made.told == strict * [
        "set net.ipv4.conf.std1.src_valid_mark to 1, as rp_filter is strict there; it is set back when stunwalld stops",
        "set net.ipv4.conf.std1.src_valid_mark back to 0",
    ]


@pytest.mark.parametrize("seen", [(1, 0), (0, 1), (1, 1)])
def test_a_mark_that_the_check_sees_already_is_left_as_it_is(
    filters: None, made: Made, vpn: Tun, seen: tuple[int, int]
) -> None:
    set_filters(1, 1, seen)
    made.point(vpn)
    made.policy_route.remove()
    assert [(CONF / name / "src_valid_mark").read_text() for name in ("all", "std1")] == [
        f"{value}\n" for value in seen
    ]
    assert made.told == []


def test_an_interface_that_is_made_anew_is_put_back_once_and_one_that_is_gone_is_forgotten(
    filters: None, home: Tun
) -> None:
    (CONF / "all" / "rp_filter").write_text("1")
    made = Made()
    for _ in range(2):
        with Tun("std1", "10.9.8.7/24") as vpn:
            made.point(vpn, 4)
            assert (CONF / "std1" / "src_valid_mark").read_text() == "1\n"
    made.policy_route.remove()
    assert [text.partition(" ")[0] for text in made.told] == ["set", "set"]

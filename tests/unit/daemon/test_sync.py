"""sync.py: a real network with a VPN that comes and goes, and the wall that follows it."""

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from stunwall.config import Allow, BoundTcp, Config, Mode, WhenVpnDown
from stunwall.daemon.sync import NetworkSync
from stunwall.model import StunwallError
from stunwall.vpn import wireguard
from stunwall.vpn.rtnetlink import Rtnetlink, RtnetlinkError
from stunwall.wall import contents, second_lock, state, table, units
from stunwall.wall.contents import Addition
from stunwall.wall.nft import Nft, NftError
from stunwall.wall.second_lock import SecondLock
from stunwall.wall.state import Rule, Wall
from unit.tun import Tun, ip, routing
from unit.vpn.uapi import ANSWER, program, says
from unit.wall_kernel import listed

NOTHING: tuple[str | int, ...] = ()
REDIRECT = Config(mode=Mode.REDIRECT)


class Running:
    """A network that is followed, and what it told."""

    def __init__(self, settings: Config) -> None:
        self.told: list[str] = []
        self.problems: list[str] = []
        self.replaced = 0  # how often it told that the rules of the exceptions were replaced
        self.nft = Nft()
        self.second_lock = SecondLock(self.nft, settings.mark_mask, self.problems.append)
        versions = frozenset({4, 6})
        report, problem = self.told.append, self.problems.append
        self.network = NetworkSync(
            settings,
            self.nft,
            self.second_lock,
            versions,
            report,
            problem,
            self._replaced,
            self._renew,
        )

    def _renew(self) -> None:
        self.network.put_up_wall()

    def _replaced(self) -> None:
        self.replaced += 1

    def close(self) -> None:
        self.network.close()
        self.nft.close()

    def changed(self) -> bool:
        """Whether a change waits."""
        sources = [self.network.network.fileno(), self.network.programs.fileno()]
        return bool(select.select(sources, [], [], 0)[0]) or self.network.due is not None

    def follow(self) -> Wall:
        """Follow until nothing is left to be followed, as the daemon does."""
        rounds = 0
        while self.changed():
            self.network.follow()
            self.network.follow_programs()
            rounds += 1
            assert rounds < 20, "it follows its own doing"
        return self.wall

    @property
    def wall(self) -> Wall:
        wall = state.read(self.nft)
        assert wall is not None
        return wall


@pytest.fixture(autouse=True)
def clear(lab: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A physical interface with the default route; nothing is left behind but that."""
    monkeypatch.setattr(units, "ROOT", tmp_path)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    with Tun("stn0", "192.168.7.2/24", "2001:db8:17::17/64") as home:
        home.route("default")
        before = routing()
        yield
        assert routing() == before
    subprocess.run(["nft", "flush", "ruleset"], check=True)


def running(settings: Config) -> Iterator[Running]:
    one = Running(settings)
    one.network.put_up_wall()
    yield one
    with suppress(StunwallError):
        one.follow()
    one.close()


@pytest.fixture
def blocking() -> Iterator[Running]:
    yield from running(Config(interfaces=("stn1",)))


@pytest.fixture
def redirecting() -> Iterator[Running]:
    yield from running(replace(REDIRECT, interfaces=("stn1",)))


def vpn(*addresses: str) -> Tun:
    return Tun("stn1", *(addresses or ("10.9.8.7/24", "fd00::7/64")))


def test_a_vpn_that_comes_and_goes_is_in_the_set_while_it_is_there(blocking: Running) -> None:
    assert blocking.wall.sets["vpn"] == NOTHING
    for _ in range(2):
        with vpn():
            assert blocking.changed()
            assert blocking.follow().sets["vpn"] == ("stn1",)
            assert blocking.network.view.vpn == {"stn1"}
        assert blocking.changed()
        assert blocking.follow().sets["vpn"] == NOTHING
        assert blocking.network.view.vpn == frozenset()
    assert blocking.told == ["VPN: stn1", "VPN: none is up"] * 2
    assert set(blocking.problems) == {""}


def test_what_leads_to_machines_behind_this_one_is_in_the_set_until_it_is_seen_to_lead_out() -> None:
    # A bridge whose default route shows that it leads out stands for the network card that the tests do not have.
    for link in (("stn2", "bridge"), ("stn3", "veth"), ("stn4", "bridge")):
        ip("link", "add", link[0], "up", "type", link[1])
    ip("address", "add", "10.66.0.1/24", "dev", "stn2")
    ip("address", "add", "10.77.0.1/24", "dev", "stn4")
    ip("route", "add", "default", "via", "10.66.0.2", "metric", "7")
    peer = "veth0"  # the kernel's name for the other end
    try:
        for one in running(Config(interfaces=("stn1",), inside=(peer,))):
            assert set(one.wall.sets["inside"]) == {"stn3", "stn4", peer}
            assert one.network.view.inside == {"stn3", "stn4", peer}
            ip("route", "add", "10.88.0.0/16", "via", "10.77.0.2")
            assert set(one.follow().sets["inside"]) == {"stn3", peer}
            ip("route", "delete", "10.88.0.0/16")
            assert set(one.follow().sets["inside"]) == {"stn3", peer}
            one.network.configure(Config(interfaces=("stn1",), inside=("stn4",)))
            assert set(one.wall.sets["inside"]) == {"stn3", "stn4", peer}
    finally:
        for name in ("stn2", "stn3", "stn4"):
            ip("link", "delete", name)


def test_by_kind_it_counts_with_its_default_route() -> None:
    # Of its own kind the physical interface of this test is a tun device too.
    one = Running(Config())
    one.network.put_up_wall()
    assert one.network.view.vpn == {"stn0"}
    with vpn() as there:
        assert one.follow().sets["vpn"] == ("stn0",)
        there.route("0.0.0.0/1", "128.0.0.0/1")
        assert set(one.follow().sets["vpn"]) == {"stn0", "stn1"}
    assert one.follow().sets["vpn"] == ("stn0",)
    standing = {each.interface: each.counts for each in one.network.assessments}
    assert standing == {"lo": False, "stn0": True}
    one.close()


def test_in_mode_block_nothing_is_routed_anew(blocking: Running) -> None:
    before = routing()
    with vpn():
        wall = blocking.follow()
        assert "redirectable" not in wall.sets
        assert "lookup 4780" not in routing()
    blocking.follow()
    assert routing() == before


@pytest.mark.parametrize(
    ("addresses", "families"),
    [
        (("10.9.8.7/24",), {"ipv4"}),
        (("fd00::7/64",), {"ipv6"}),
        (("10.9.8.7/24", "fd00::7/64"), {"ipv4", "ipv6"}),
    ],
)
def test_redirecting_goes_into_the_vpn_with_the_ip_versions_that_it_has_addresses_of(
    redirecting: Running, addresses: tuple[str, ...], families: set[str]
) -> None:
    ip("link", "set", "lo", "up")
    with vpn(*addresses):
        wall = redirecting.follow()
        assert set(wall.sets["redirectable"]) == families
        assert {f"ipv{version}" for version in redirecting.network.view.families} == families
        for version in (4, 6):
            routes = (
                ip(f"-{version}", "route", "show", "table", "4780") if f"ipv{version}" in families else ""
            )
            assert ("default dev stn1" in routes) is (f"ipv{version}" in families)
    wall = redirecting.follow()
    assert wall.sets["redirectable"] == ()
    assert redirecting.network.view.families == frozenset()


def test_a_route_that_a_short_break_took_away_is_put_back(redirecting: Running) -> None:
    with vpn():
        redirecting.follow()
        ip("link", "set", "stn1", "down")
        ip("link", "set", "stn1", "up")
        redirecting.follow()
        assert "default dev stn1" in ip("route", "show", "table", "4780")
    redirecting.follow()


@pytest.mark.parametrize("lan", [False, True])
def test_the_lan_is_let_out_only_if_the_user_says_so(lan: bool) -> None:
    ip("route", "add", "192.168.7.1", "dev", "stn0")  # inside the other, as DHCP and VPN clients make it
    for one in running(Config(interfaces=("stn1",), allow_lan=lan)):
        assert one.wall.sets["lan4"] == (("192.168.7.0/24 . stn0",) if lan else ())
    ip("route", "delete", "192.168.7.1", "dev", "stn0")


def test_exceptions_can_be_changed_while_it_runs(blocking: Running) -> None:
    for allow in ((Allow("a", port=1), Allow("b", port=2)), (Allow("b", port=2),), ()):
        blocking.network.configure(Config(interfaces=("stn1",), allow=allow))
        found = [rule.comment for rule in blocking.wall.rules if rule.chain == "allow_rules"]
        assert found == [f"allow {number}" for number in range(1, len(allow) + 1)]
    assert blocking.replaced == 3


def test_a_change_of_the_network_leaves_the_exceptions_alone(blocking: Running) -> None:
    with vpn():
        blocking.follow()
        assert blocking.network.filled is not None
        assert blocking.network.filled["vpn"] == ['"stn1"']
    blocking.follow()
    assert blocking.replaced == 0


def test_exceptions_that_the_kernel_refuses_leave_the_old_ones(
    blocking: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocking.network.configure(Config(interfaces=("stn1",), allow=(Allow("a", port=1),)))
    right = contents.fill_exceptions
    monkeypatch.setattr(table, "fill_exceptions", lambda *given: right(*given) + "nonsense\n")
    with pytest.raises(NftError):
        blocking.network.configure(Config(interfaces=("stn1",), allow=(Allow("b", port=2),)))
    monkeypatch.undo()
    blocking.network.follow()
    assert "dport 1 " in listed()
    assert "dport 2 " not in listed()


def test_another_configuration_loads_the_files_that_it_needs(blocking: Running) -> None:
    network = blocking.network
    block = Config(interfaces=("stn1",), bound_tcp=BoundTcp.OFF)
    redirect = replace(block, mode=Mode.REDIRECT)
    by_unit = replace(block, allow=(Allow("w", unit="a.service"),))
    redirecting = {Addition.OUTPUT, Addition.REDIRECT}
    flow = "add element inet stunwall redirected4 { 1 . 192.0.2.1 . 2 }"
    for settings, expected in (
        (redirect, redirecting),
        (block, set()),
        (replace(block, when_vpn_down=WhenVpnDown.ALLOW), {Addition.VPN_DOWN}),
        (by_unit, {Addition.OUTPUT}),
        (Config(interfaces=("stn1",)), {Addition.BOUND_TCP}),
        (redirect, redirecting),
        (block, redirecting),
    ):
        if expected and settings is block:  # a flow was redirected meanwhile
            subprocess.run(["nft", *flow.split()], check=True)
        network.configure(settings)
        assert network.additions == expected
        sets = blocking.wall.sets
        assert ("redirected4" in sets) is (Addition.REDIRECT in expected)
        assert ("chain ask_output" in listed()) is (Addition.OUTPUT in expected)
        # What is filled in is known, so that nothing is taken for another program's change.
        assert {name: sorted(map(str, sets[name])) for name in ("vpn", "guard_ports")} == {
            name: sorted(element.strip('"') for element in elements)
            for name, elements in (network.filled or {}).items()
            if name in ("vpn", "guard_ports")
        }


def test_a_configuration_whose_files_the_kernel_refuses_leaves_the_old_one(
    blocking: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = contents.fill_exceptions
    monkeypatch.setattr(
        table, "fill_exceptions", lambda given, mask: right(given, mask) + "nonsense\n" * bool(given.allow)
    )
    with pytest.raises(NftError):
        blocking.network.configure(Config(interfaces=("stn1",), allow=(Allow("w", unit="a.service"),)))
    monkeypatch.undo()
    assert blocking.network.additions == {Addition.BOUND_TCP}
    assert "chain ask_output" not in listed()
    with vpn():
        assert blocking.follow().sets["vpn"] == ("stn1",)


def test_that_no_exception_is_in_force_stays_told_until_a_configuration_changes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = contents.fill_exceptions
    monkeypatch.setattr(
        table, "fill_exceptions", lambda given, mask: right(given, mask) + "nonsense\n" * bool(given.allow)
    )
    refused = Config(interfaces=("stn1",), allow=(Allow("a", port=1),))
    for one in running(refused):
        one.network.follow()
        assert one.problems[-1].startswith("no exception is in force")
        for again in (refused, replace(refused, when_vpn_down=WhenVpnDown.ALLOW)):
            with pytest.raises(NftError):
                one.network.configure(again)
            assert one.problems[-1].startswith("no exception is in force")
        one.network.configure(Config(interfaces=("stn1",), when_vpn_down=WhenVpnDown.ALLOW))
        one.network.follow()
        assert one.problems[-1] == ""


def test_a_network_that_cannot_be_read_is_sealed_until_it_can(
    blocking: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vpn():
        assert blocking.follow().sets["vpn"] == ("stn1",)
        monkeypatch.setattr(Rtnetlink, "snapshot", unreadable)
        blocking.network.follow()
        assert blocking.wall.sets["vpn"] == NOTHING
        assert blocking.wall.sets["inside"] == ()
        assert blocking.network.view.vpn == frozenset()
        assert blocking.network.view.inside == frozenset()
        assert blocking.network.failing
        assert blocking.problems[-1] == "it cannot be read. Until that works again all STUN is blocked"
        monkeypatch.undo()
        blocking.network.follow()
        assert blocking.wall.sets["vpn"] == ("stn1",)
        assert not blocking.network.failing
        assert blocking.problems[-1] == ""


def test_while_notifications_are_lost_nothing_is_opened_and_nothing_is_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ip("link", "add", "stn3", "up", "type", "veth", "peer", "name", "stn4")
    try:
        for one in running(Config(interfaces=("stn[12]",), inside=("stn3",))):
            with vpn():
                assert (one.follow().sets["vpn"], one.wall.sets["inside"]) == (("stn1",), ("stn3",))
                locked = one.second_lock.state().interfaces
                with monkeypatch.context() as patch, Tun("stn2"):
                    # As the kernel says it with ENOBUFS; nothing is read again yet.
                    patch.setattr(Rtnetlink, "_read_on", lambda network, end: None)
                    one.network.network._start_anew()
                    assert one.network.due == 0
                    one.network.follow()
                    assert (one.wall.sets["vpn"], one.wall.sets["inside"]) == (("stn1",), ())
                    assert one.network.view.inside == frozenset()
                    assert {*locked, "stn2"} == set(one.second_lock.state().interfaces)
                    patch.undo()
                    one.network.receive()
                    assert one.follow().sets["inside"] == ("stn3",)
                    assert set(one.wall.sets["vpn"]) == {"stn1", "stn2"}
            assert one.follow().sets["vpn"] == NOTHING
    finally:
        ip("link", "delete", "stn3")


def test_a_vpn_that_went_while_notifications_were_lost_is_none_at_once(
    blocking: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = blocking.network.network
    for gone in ("delete", "down"):
        with vpn():
            blocking.follow()
            with monkeypatch.context() as patch:
                patch.setattr(Rtnetlink, "_read_on", lambda network, end: None)
                ip("link", *(("delete", "stn1") if gone == "delete" else ("set", "stn1", "down")))
                while select.select([network], [], [], 0)[0]:
                    network._changes.recv(1 << 16)  # nobody sees it
                network._start_anew()
                blocking.network.follow()
                assert blocking.wall.sets["vpn"] == NOTHING
        blocking.follow()


def test_what_takes_the_vpn_away_acts_at_once_and_other_changes_not_after_one_another(
    blocking: Running,
) -> None:
    def due() -> float | None:
        assert blocking.changed()
        blocking.network.receive()
        return blocking.network.due

    with vpn() as there:
        blocking.follow()
        assert blocking.network.due is None
        for what in ("add", "delete"):
            ip("route", what, "203.0.113.0/24", "dev", "lo")
            assert due() is None  # it does not matter
        there.route("0.0.0.0/1", "128.0.0.0/1")
        assert (due() or 0) > 0
        blocking.follow()
        ip("route", "delete", "128.0.0.0/1", "dev", "stn1")
        assert due() == 0
        blocking.follow()
        there.route("128.0.0.0/1")
        blocking.follow()
        ip("link", "set", "stn1", "down")
        assert due() == 0


def test_the_second_lock_is_on_every_way_out_and_on_no_vpn(blocking: Running) -> None:
    assert "stn0" in blocking.second_lock.state().interfaces
    with vpn():
        blocking.follow()
        assert "stn1" not in blocking.second_lock.state().interfaces
    with Tun("stn2"):
        blocking.follow()
        assert {"stn0", "stn2"} <= set(blocking.second_lock.state().interfaces)
    blocking.follow()
    assert "stn2" not in blocking.second_lock.state().interfaces


# Exceptions by program

USER = 10**9 + int.from_bytes(os.urandom(3))  # nobody's, and of no other run: all share the hierarchy
APP = Allow("w", user=USER, app="an.App")
HIERARCHY = Path("/sys/fs/cgroup")
SLICE = HIERARCHY / "user.slice" / f"user-{USER}.slice"
SCOPE = SLICE / f"user@{USER}.service" / "app.slice" / "app-an.App-1.scope"


@pytest.fixture
def hierarchy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The real hierarchy, where nft looks, with the slice of a user; it is looked at without a pause."""
    subprocess.run(["mount", "-t", "cgroup2", "none", str(HIERARCHY)], check=True)
    monkeypatch.setattr(units, "ROOT", HIERARCHY)
    monkeypatch.setattr(units, "PAUSE", 1e-9)
    SLICE.mkdir(parents=True)
    yield
    for folder, _, _ in os.walk(SLICE, topdown=False):
        Path(folder).rmdir()
    with suppress(OSError):
        SLICE.parent.rmdir()  # another test may be using it
    subprocess.run(["umount", str(HIERARCHY)], check=True)


def follow_programs(running: Running) -> int:
    """Follow the cgroups until nothing is left to be followed; return how many rules there are."""
    while select.select([running.network.programs], [], [], 0.1)[0]:
        running.network.follow_programs()
    return listed().count("socket cgroupv2")


def test_an_application_that_starts_and_ends_is_followed(hierarchy: None, blocking: Running) -> None:
    blocking.network.configure(Config(interfaces=("stn1",), allow=(APP, Allow("x", port=1))))
    assert blocking.network.cgroups == [[], None]
    for _ in range(2):
        replaced = blocking.replaced
        SCOPE.mkdir(parents=True, exist_ok=True)
        assert follow_programs(blocking) == 1
        assert blocking.network.cgroups == [[str(SCOPE.relative_to(HIERARCHY))], None]
        assert blocking.replaced == replaced + 1
        SCOPE.rmdir()
        assert follow_programs(blocking) == 0
        assert blocking.network.cgroups == [[], None]
    assert set(blocking.problems) <= {""}


def test_a_cgroup_that_has_ended_when_its_rule_is_loaded_is_no_error(
    hierarchy: None, blocking: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users can make cgroups come and go so fast that it happens every time."""
    steady = Allow("w", unit=SLICE.name)
    right = units.UnitWatch.find
    gone = {APP: ((str(SCOPE.relative_to(HIERARCHY)), 1),)}
    monkeypatch.setattr(units.UnitWatch, "find", lambda *args, **kw: right(*args, **kw) | gone)
    with vpn():
        blocking.network.configure(Config(interfaces=("stn1",), allow=(APP, steady)))
        assert blocking.follow().sets["vpn"] == ("stn1",)
        assert blocking.network.cgroups == [[], [str(SLICE.relative_to(HIERARCHY))]]
        assert listed().count("socket cgroupv2") == 1
        blocking.network.put_up_wall()
        assert listed().count("socket cgroupv2") == 1
        assert blocking.wall.sets["vpn"] == ("stn1",)
    assert set(blocking.problems) <= {""}


def test_the_cgroups_are_not_read_again_when_the_network_changes(
    blocking: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocking.network.configure(Config(interfaces=("stn1",), allow=(APP,)))
    monkeypatch.setattr(units.UnitWatch, "_look", None)
    with vpn():
        assert blocking.follow().sets["vpn"] == ("stn1",)


def unreadable(rtnetlink: Rtnetlink) -> None:
    raise RtnetlinkError("it cannot be read")


def test_a_network_that_cannot_be_read_leaves_the_second_lock_as_it_is(
    blocking: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vpn():
        blocking.follow()
        before = blocking.second_lock.state()
        monkeypatch.setattr(Rtnetlink, "snapshot", unreadable)
        blocking.network.follow()
        assert blocking.network.failing
        assert blocking.second_lock.state() == before
        monkeypatch.undo()


def test_closing_takes_the_policy_route_away_and_leaves_the_wall() -> None:
    before = routing()
    with vpn():
        one = Running(replace(REDIRECT, interfaces=("stn1",)))
        one.network.put_up_wall()
        assert "lookup 4780" in routing()
        one.network.close()
        assert "4780" not in routing()
        assert one.wall.sets["vpn"] == ("stn1",)
        one.nft.close()
    assert routing() == before


# Whatever Linux allows in a name (net/core/dev.c, dev_valid_name): 15 bytes, and no spaces.
EXPRESSED = (
    "us+ny=",
    "é",
    "a\\b",
    "\\",
    "'x'",
    "}};#$x",
    "&|<>(){}[],;",
    "@vpn",
    "${passed}",
    "-",
    "a*b",
    "1.2.3.4",
    "0x1f",
)
NOT_SHOWN = ("\u202ewg", "\x1b[31m", "a\udcffb", "\u3000", "a\x1cb", "\u2028", "\x7f")
NOT_EXPRESSED = ('"', 'a"};#b', "*", "x*", "x\\*")


def all_rules(one: Running) -> list[Rule]:
    second = second_lock.rules(one.nft)
    assert second is not None
    return [
        replace(rule, packets=None, bytes=None)
        for rule in (*one.wall.rules, *second.rules)
        if not rule.chain.startswith(("egress_", "vpn_"))
    ]


@pytest.mark.parametrize("name", [*EXPRESSED, *NOT_SHOWN, *NOT_EXPRESSED], ids=ascii)
def test_an_interface_is_in_both_locks_or_reported_and_no_name_changes_a_rule(name: str) -> None:
    settings = replace(REDIRECT, interfaces=("stn0",))
    for one in running(settings):
        before = all_rules(one)
        with Tun(name, "10.9.8.7/24", "fd00::7/64"):
            one.follow()
            locked = one.second_lock.state()
            assert (os.fsencode(name).decode(errors="replace") in locked.interfaces) is (
                name not in NOT_EXPRESSED
            )
            assert (repr(name) in locked.why) is (name in NOT_EXPRESSED)
            one.network.configure(replace(settings, interfaces=("*",), allow_lan=True))
            sets = one.follow().sets
            held = (
                name in sets["vpn"],
                f'"{name}" : 10.9.8.7' in listed(),
                f"10.9.8.0/24 . {name}" in sets["lan4"],
            )
            assert held == (name in EXPRESSED,) * 3
            (why,) = (each.why for each in one.network.assessments if each.interface == name)
            assert ("rename it" in why) is (name not in EXPRESSED)
            assert all_rules(one) == before
            assert subprocess.check_output(["nft", "list", "tables"]).split()[1::3] == [b"inet", b"netdev"]
        assert set(one.problems) == {""}


def test_peers_endpoints_are_filled_in_when_they_are_known_and_go_with_the_link(
    blocking: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wireguard, "_FOLDERS", (tmp_path,))
    with Tun("stn1", "10.9.8.7/24"), program(tmp_path, says(ANSWER), "stn1"):
        blocking.follow()
        assert select.select([blocking.network.endpoints], [], [], 10)[0]
        blocking.network.follow_endpoints()
        assert set(blocking.wall.sets["vpn_transport6"]) == {"abcd:23::33 . 51820"}
        assert blocking.replaced == 0
    blocking.follow()
    assert not blocking.wall.sets["vpn_transport6"]

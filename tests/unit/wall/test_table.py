"""table.py: the table is loaded, filled, paused and removed."""

import re
import time
from dataclasses import replace
from ipaddress import ip_network

import pytest

from stunwall import config
from stunwall.config import Allow
from stunwall.wall import queue_rules, ruleset, state, table
from stunwall.wall.contents import TABLE
from stunwall.wall.nft import Nft, NftError
from unit.wall_kernel import (
    EMPTY,
    FULL,
    MASK,
    QUEUE,
    SERVER4,
    SERVER6,
    VERSION_0_1_0,
    Way,
    counted,
    damage,
    listed,
    loaded,
    run_nft,
    until,
)

pytestmark = pytest.mark.usefixtures("clear")


def test_what_is_loaded_is_read_back(nft: Nft) -> None:
    assert state.read(nft) is None
    table.load(nft, FULL, MASK)
    wall = loaded()
    assert damage(FULL) == ()
    assert (wall.queue, wall.paused) == (None, 0)
    assert set(wall.sets["vpn"]) == FULL.vpn
    assert set(wall.sets["guard_ports"]) == FULL.guard_ports
    assert set(wall.sets["redirectable"]) == {"ipv4", "ipv6"}
    assert set(wall.sets["by_program"]) == {"ipv4", "ipv6"}  # there is an exception by unit
    assert set(wall.sets["vpn_transport4"]) == {f"{SERVER4} . 51820"}
    assert set(wall.sets["vpn_transport6"]) == {f"{SERVER6} . 51821"}
    assert set(wall.sets["lan4"]) == {"192.168.1.0/24 . eth0"}
    assert set(wall.sets["lan6"]) == {"fd00:1::/64 . eth0"}
    assert [rule.comment for rule in wall.rules if rule.chain == "allow_rules"] == ["allow 1", "allow 2"]
    assert [rule for rule in wall.rules if rule.chain == "allow_programs"] == []  # its unit does not run
    assert set(wall.counters.values()) == {0}
    assert "10.9.8.7" in listed()


def test_loading_twice_is_loading_once(nft: Nft) -> None:
    table.load(nft, FULL, MASK)
    first, printed = loaded(), listed()
    table.load(nft, FULL, MASK)
    assert (loaded(), listed()) == (first, printed)


def test_the_file_alone_keeps_what_is_in_the_sets_the_counters_and_the_pause(nft: Nft, way: Way) -> None:
    table.load(nft, FULL, MASK)
    assert not way.passes()
    table.pause(nft, 600, int(time.time()))
    before = loaded()
    assert before.counters["unattended"] == 1
    run_nft("-f", str(ruleset.file()))
    after = loaded()
    assert after.counters == before.counters
    # The file's own two ports come on top of the configuration's, until stunwalld fills the set anew.
    assert after.sets == before.sets | {"guard_ports": (443, 3478, 5349)}
    assert after.paused
    assert damage(FULL) == ()
    assert [rule for rule in after.rules if rule.chain in ("allow_rules", "to_stunwalld")] == []


@pytest.mark.parametrize(
    "change",
    [
        "add element inet stunwall classic_lengths { 9 . 9 }",
        "delete element inet stunwall classic_lengths { 28 . 0 }",
        "add element inet stunwall classic_ipv4_lengths { 9 . 9 }",
        "delete element inet stunwall classic_ipv4_lengths { 48 . 0 }",
    ],
)
def test_another_programs_change_of_the_lengths_is_damage_until_the_file_is_loaded_again(
    nft: Nft, change: str
) -> None:
    table.load(nft, FULL, MASK)
    run_nft(change)
    assert damage(FULL)
    table.load(nft, FULL, MASK)
    assert damage(FULL) == ()


def test_the_file_replaces_that_of_version_0_1_0_and_keeps_its_sets_and_counters(way: Way) -> None:
    run_nft("-f", "-", text=VERSION_0_1_0)
    run_nft("add", "element", "inet", "stunwall", "vpn", "{ wg0 }")
    run_nft("add", "rule", "inet", "stunwall", "listener", "counter")
    assert not way.passes()
    before = loaded()
    assert before.counters["unattended"] == 1
    assert damage()
    run_nft("-f", str(ruleset.file()))
    after = loaded()
    # Version 0.1.0 left no checksum of what it had put into the sets.
    # The sets and the counter for redirected flows are in another file now; they go when stunwalld loads the table.
    assert damage() == (
        "counter strayed (added)",
        "set redirectable (added)",
        "map vpn_address4 (added)",
        "map vpn_address6 (added)",
        "the elements of its sets",
    )
    for name in ("refusals", "into_vpn"):  # of rules that are no more
        del before.counters[name]
    new = ("exposed", "over_flow_limit", "over_socket_limit", "over_sender_limit")
    assert after.counters == before.counters | dict.fromkeys(new, 0)
    assert after.sets["vpn"] == ("wg0",)
    assert not way.passes()
    chains = re.findall(r"chain (\w+) \{", listed())
    assert sorted(chains) == sorted(re.findall(r"^    chain (\w+) \{", ruleset.text(), re.M))


def test_loading_replaces_everything_but_the_named_counters(nft: Nft, way: Way) -> None:
    table.load(nft, FULL, MASK)
    assert not way.passes()
    table.pause(nft, 600, int(time.time()))
    run_nft("add", "chain", *TABLE.split(), "other", "{ type filter hook output priority 3; }")
    table.load(nft, EMPTY, MASK)
    wall = loaded()
    assert damage() == ()
    others = {"checksum", "loaded", "classic_lengths", "classic_ipv4_lengths"}
    limited = {name for name, elements in wall.sets.items() if "limit rate" in str(elements)}
    assert limited >= {"unanswered4", "sockets4"}  # what packets have put there
    filled = {name: elements for name, elements in wall.sets.items() if elements}
    assert {name: filled[name] for name in filled.keys() - others - limited} == {"guard_ports": (3478, 5349)}
    assert wall.counters["unattended"] == 1
    assert "10.9.8.7" not in listed()


def test_loading_the_file_again_begins_its_age_anew_and_keeps_that_a_daemon_filled_it(nft: Nft) -> None:
    def found() -> tuple[float, bool]:
        listing = state.read_listing(nft)
        assert listing is not None
        return state.age(listing), state.filled(listing)

    run_nft("-f", str(ruleset.file()))
    old = "1 timeout 3650d expires 3649d23h50m"  # as if ten minutes had passed
    run_nft("-f", "-", text=f"flush set {TABLE} loaded\nadd element {TABLE} loaded {{ {old} }}\n")
    until(lambda: found()[0] > 600)
    assert not found()[1]
    run_nft("-f", str(ruleset.file()))
    until(lambda: 0 < found()[0] < 600)
    table.load(nft, FULL, MASK)
    run_nft("-f", str(ruleset.file()))
    assert found()[1]


def test_removing_leaves_nothing_and_may_be_repeated(nft: Nft) -> None:
    table.remove(nft)
    table.load(nft, FULL, MASK)
    queue_rules.attach(nft, QUEUE)
    table.remove(nft)
    table.remove(nft)
    assert run_nft("list", "ruleset") == ""
    assert state.read(nft) is None


def test_other_tables_are_left_alone(nft: Nft) -> None:
    run_nft("-f", "-", text='table inet other {\nset vpn {\ntype ifname\nelements = { "eth0" }\n}\n}\n')
    before = run_nft("list", "table", "inet", "other")
    table.load(nft, FULL, MASK)
    table.remove(nft)
    assert run_nft("list", "ruleset") == before


def test_a_transaction_that_the_kernel_refuses_changes_nothing(nft: Nft) -> None:
    table.load(nft, FULL, MASK)
    before = listed()
    inside = frozenset({(ip_network("10.0.0.0/8"), "eth0"), (ip_network("10.1.0.0/16"), "eth0")})
    with pytest.raises(NftError):
        table.fill(nft, replace(EMPTY, lan=inside), MASK, None)
    assert listed() == before


def test_without_a_wall_there_is_nothing_to_fill_or_open(nft: Nft) -> None:
    for change in (
        lambda: table.fill(nft, EMPTY, MASK, None),
        lambda: queue_rules.attach(nft, QUEUE),
        lambda: queue_rules.detach(nft),
        lambda: table.pause(nft, 60, int(time.time())),
    ):
        with pytest.raises(NftError):
            change()
    assert run_nft("list", "ruleset") == ""


def test_filling_replaces_everything(nft: Nft) -> None:
    empty = replace(EMPTY, redirect=True, bound_tcp=True)
    table.load(nft, empty, MASK)
    table.fill(nft, FULL, MASK, empty)
    filled = loaded()
    table.fill(nft, empty, MASK, FULL)
    emptied = loaded()
    table.load(nft, FULL, MASK)
    assert filled.sets == loaded().sets
    table.load(nft, empty, MASK)
    assert emptied.sets == loaded().sets


def test_exceptions_that_stay_the_same_keep_their_counters(nft: Nft, way: Way) -> None:
    contents = replace(EMPTY, allow=(Allow("a", port=3478), Allow("b", port=9)))
    table.load(nft, contents, MASK)
    assert way.passes()
    assert way.passes()
    assert (counted("allow 1"), counted("allow 2")) == (2, 0)
    other = replace(contents, vpn=frozenset({"wg0"}), families=frozenset({4}))
    table.fill(nft, other, MASK, contents)
    assert counted("allow 1") == 2
    table.fill(nft, other, MASK, None)  # what the wall holds is not known
    assert counted("allow 1") == 0
    assert way.passes()
    fewer = replace(other, allow=contents.allow[:1])
    table.fill(nft, fewer, MASK, other)
    assert (counted("allow 1"), counted("allow 2")) == (0, None)


def test_a_pause_lets_all_stun_pass_until_it_is_ended(nft: Nft, way: Way) -> None:
    table.load(nft, replace(EMPTY, families=frozenset({4, 6})), MASK)
    queue_rules.attach(nft, QUEUE)
    assert not way.passes()
    table.pause(nft, 600, int(time.time()))
    assert way.passes()
    assert way.passes(SERVER6)
    assert 590 <= loaded().paused <= 600
    assert damage() == ()
    table.pause(nft, 30, int(time.time()))  # instead of the one before
    assert 20 <= loaded().paused <= 30
    table.pause(nft, 0, 0)
    table.pause(nft, 0, 0)
    assert not way.passes()
    assert loaded().paused == 0


def test_a_pause_ends_by_itself(nft: Nft, way: Way) -> None:
    table.load(nft, EMPTY, MASK)
    table.pause(nft, 1, int(time.time()))
    until(lambda: not way.passes())
    until(lambda: loaded().paused == 0)


@pytest.mark.parametrize("day", [-86400, 86400])
def test_a_pause_of_another_day_lets_nothing_pass(nft: Nft, way: Way, day: int) -> None:
    """As if the clock had been set: its time by the clock is over, or yet to come."""
    table.load(nft, EMPTY, MASK)
    table.pause(nft, 600, int(time.time()) + day)
    assert not way.passes()


def test_the_longest_pause_is_one_that_the_kernel_takes(nft: Nft) -> None:
    table.load(nft, EMPTY, MASK)
    table.pause(nft, 86400, int(time.time()))
    assert 86390 <= loaded().paused <= 86400


@pytest.mark.parametrize("mask", [MASK, 0x30000000, 0x60, 0x80000002, 0xC0000000])
def test_the_marks_in_the_kernel_are_those_of_the_configuration(nft: Nft, mask: int) -> None:
    allow = (Allow("w", port=1),)
    table.load(nft, replace(FULL, allow=allow), mask)
    assert damage(replace(FULL, allow=allow), mask) == ()
    redirected, passed = config.mark_bits(mask)
    assert redirected < passed
    assert redirected | passed == mask
    written = {int(value, 16) for value in re.findall(r"mark [^\n]*?(0x[0-9a-f]{8})", listed())}
    ours = {0, mask, mask | 1, redirected, passed, ~mask & 0xFFFFFFFF, ~redirected & 0xFFFFFFFF}
    assert written <= ours
    assert {mask, redirected, passed} <= written

"""repair.py: gaps in a real wall; only what the network would fill in is made up."""

import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from math import inf

import pytest

from stunwall.config import Allow
from stunwall.model import Transport
from stunwall.wall import queue_rules, ruleset, state, table
from stunwall.wall.contents import Addition, Contents, elements
from stunwall.wall.listing import Listing
from stunwall.wall.nft import Nft
from stunwall.wall.reference import Filled
from stunwall.wall.repair import Gap, Repair

MASK = 0x90000000


@pytest.fixture
def gaps() -> list[Gap]:
    """What was told."""
    return []


@pytest.fixture
def problems() -> list[str]:
    """What was complained of."""
    return []


@dataclass
class Made:
    """What the network and the daemon would fill in."""

    contents: Contents
    pause_left: float = 0.0
    second_lock_held: bool = True

    def filled(self) -> Filled:
        return Filled(elements(self.contents), self.pause_left, self.pause_left or -inf)


@pytest.fixture
def made() -> Made:
    allow = (Allow("w", port=1, protocol=Transport.UDP),)
    return Made(Contents(vpn=frozenset({"wg0"}), guard_ports=frozenset({3478}), allow=allow, redirect=True))


@pytest.fixture
def repair(nft: Nft, made: Made, gaps: list[Gap], problems: list[str]) -> Iterator[Repair]:
    def put_up() -> None:
        table.load(nft, made.contents, MASK)
        if made.pause_left:
            table.pause(nft, int(made.pause_left), int(time.time()))
        queue_rules.attach(nft, 4780, made.contents.additions)

    flush()
    repair = Repair(nft, put_up, made.filled, gaps.append, problems.append, lambda: made.second_lock_held)
    repair.start()
    yield repair
    repair.close()
    table.remove(nft)


def flush() -> None:
    other("flush ruleset")


def other(text: str) -> None:
    """Another program does this."""
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def stands(nft: Nft, repair: Repair) -> bool:
    seen = state.read_listing(nft)
    return seen is not None and repair.differences(seen) == [] and state.wall(seen).queue == 4780


def test_what_was_put_up_is_no_gap(repair: Repair, gaps: list[Gap]) -> None:
    repair.inspect()
    assert gaps == []


CHANGES = {
    "table inet stunwall { flags dormant; }": "the table (flags dormant)",
    "add rule inet stunwall allow_rules accept": "chain allow_rules (has: accept)",
    "add rule inet stunwall allow_programs accept": "chain allow_programs (has: accept)",
    "insert rule inet stunwall to_stunwalld accept": "chain to_stunwalld (has: accept)",
    "add rule inet stunwall to_stunwalld accept": "chain to_stunwalld (has: accept)",
    "flush chain inet stunwall hand_over": "chain hand_over (lacks: update @unanswered4",
    "delete chain inet stunwall mark_replies": "chain mark_replies (removed)",
    "delete chain inet stunwall snat_redirected\n"
    "add chain inet stunwall snat_redirected { type nat hook postrouting priority 7; }": "chain snat_redirected (has:",
    "add chain inet stunwall postrouting { policy drop; }": "chain postrouting (has: type",
    "add chain inet stunwall first { type filter hook output priority 1; }": "chain first (added)",
    'add element inet stunwall vpn { "eth0" }': "set vpn (has: eth0)",
    'delete element inet stunwall vpn { "wg0" }': "set vpn (lacks: wg0)",
    "add element inet stunwall vpn_transport4 { 203.0.113.7 . 3478 }": "set vpn_transport4 (has: 203.0.113.7/32",
    'add element inet stunwall lan4 { 203.0.113.0/24 . "eth0" }': "set lan4 (has: 203.0.113.0/24 . eth0)",
    "add element inet stunwall paused { 1-2222222222 }": "set paused",
    "add element inet stunwall paused { 1-2222222222 timeout 1h }": "set paused",
    "delete element inet stunwall guard_ports { 3478 }": "set guard_ports (lacks: 3478)",
    "add element inet stunwall by_program { ipv4 }": "set by_program (has: ipv4)",
    "add element inet stunwall checksum { 1 }": "set checksum (has: 0x00000001)",
    "add element inet stunwall classic_lengths { 9 . 9 }": "set classic_lengths (has: 9 . 9)",
    "delete element inet stunwall classic_lengths { 28 . 0 }": "set classic_lengths (lacks: 28 . 0)",
    "add element inet stunwall classic_ipv4_lengths { 9 . 9 }": "set classic_ipv4_lengths (has: 9 . 9)",
    "delete element inet stunwall classic_ipv4_lengths { 48 . 0 }": "set classic_ipv4_lengths (lacks: 48 . 0)",
    'add element inet stunwall inside { "eth0" }': "set inside (has: eth0)",
    "add set inet stunwall more { type mark; }": "set more (added)",
}


@pytest.mark.parametrize(("change", "what"), CHANGES.items(), ids=CHANGES)
def test_whatever_another_program_changes_is_a_gap_and_put_back(
    repair: Repair, nft: Nft, gaps: list[Gap], change: str, what: str
) -> None:
    other(change)
    assert not stands(nft, repair)
    repair.inspect()
    (gap,) = gaps
    assert gap.who.startswith("nft (pid ")
    assert gap.what[0].startswith(what)
    assert gap.who in gap.sentence
    assert gap.what[0] in gap.sentence
    assert stands(nft, repair)
    repair.inspect()
    assert len(gaps) == 1


BARE = {
    "removed": "delete table inet stunwall",
    "replaced by an empty one": "delete table inet stunwall\nadd table inet stunwall",
    "emptied": "flush table inet stunwall",
}
NOT_BARE = {
    "accepts": "flush table inet stunwall\nadd rule inet stunwall decide accept",
    "replaced by one that marks": "delete table inet stunwall\nadd table inet stunwall\nadd chain inet stunwall c "
    "{ type filter hook postrouting priority 0; }\nadd rule inet stunwall c meta mark set 0x80000000",
    "pauses": "add element inet stunwall paused { 1-2222222222 }",
}


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("change", BARE.values(), ids=BARE)
def test_the_second_lock_held_if_it_was_whole_and_no_rule_was_left(
    repair: Repair, made: Made, gaps: list[Gap], change: str, held: bool
) -> None:
    made.second_lock_held = held
    other(change)
    repair.inspect()
    (gap,) = gaps
    assert gap.second_lock_held is held
    assert gap.sentence.endswith("; the second lock held") is held


@pytest.mark.parametrize("change", NOT_BARE.values(), ids=NOT_BARE)
def test_rules_of_others_may_let_stun_through_the_second_lock(
    repair: Repair, gaps: list[Gap], change: str
) -> None:
    other(change)
    repair.inspect()
    (gap,) = gaps
    assert not gap.second_lock_held


def test_a_stepped_clock_does_not_change_the_length_of_a_gap(
    repair: Repair, gaps: list[Gap], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([5000.0])
    monkeypatch.setattr(time, "time", lambda: next(times, 9.0))
    other("delete table inet stunwall")
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    repair.inspect()
    took = time.clock_gettime(time.CLOCK_BOOTTIME) - before
    (gap,) = gaps
    assert gap.start == 5000.0
    assert 0 < gap.end - gap.start <= took


def test_a_rule_under_the_comment_of_ours_is_a_gap(repair: Repair, nft: Nft, gaps: list[Gap]) -> None:
    other(
        "flush chain inet stunwall pass\n"
        "add rule inet stunwall pass meta mark & 0x90000000 == 0x90000000 "
        'accept comment "output: postrouting asks again"'
    )
    repair.inspect()
    (gap,) = gaps
    assert gap.what == ('chain pass (has: meta mark & 0x90000000 == 0x90000000 accept comment "output:…)',)
    assert stands(nft, repair)


def test_a_queue_rule_in_place_of_ours_is_a_gap(repair: Repair, nft: Nft, gaps: list[Gap]) -> None:
    """It may have `bypass`, which nft does not print of the xtables target."""
    with closing(Nft()) as second:
        queue_rules.attach(second, 4780)
    before = state.read_listing(nft)
    assert before is not None
    native = any("queue" in rule.split("#")[0].split('"')[0] for rule in before.blocks["chain to_stunwalld"])
    repair.inspect()
    assert len(gaps) == (0 if native else 1)
    assert stands(nft, repair)


def test_what_changes_nothing_is_no_gap(repair: Repair, nft: Nft, gaps: list[Gap]) -> None:
    other('add element inet stunwall vpn { "wg0" }\nreset counters table inet stunwall')
    repair.inspect()
    assert gaps == []


def test_the_file_loaded_again_is_no_gap_and_its_queue_rules_and_exceptions_come_back(
    repair: Repair, nft: Nft, gaps: list[Gap]
) -> None:
    other(ruleset.text())
    assert not stands(nft, repair)
    repair.inspect()
    assert gaps == []
    assert stands(nft, repair)


def test_our_own_changes_are_no_gap(
    repair: Repair, nft: Nft, made: Made, gaps: list[Gap], problems: list[str]
) -> None:
    before, made.contents = made.contents, replace(made.contents, vpn=frozenset({"tun0"}))
    table.fill(nft, made.contents, MASK, before)
    repair.inspect()
    assert stands(nft, repair)
    before, made.contents = made.contents, replace(made.contents, allow=(Allow("x", port=7),))
    assert table.fill(nft, made.contents, MASK, before)
    repair.exceptions_changed()
    repair.inspect()
    assert stands(nft, repair)
    made.pause_left = 60
    table.pause(nft, 60, int(time.time()))
    repair.inspect()
    assert stands(nft, repair)
    other("flush set inet stunwall paused")
    assert not stands(nft, repair)
    repair.inspect()
    assert len(gaps) == 1
    assert stands(nft, repair)


def test_a_change_while_our_exceptions_are_replaced_is_not_taken_for_ours(
    repair: Repair, nft: Nft, made: Made, gaps: list[Gap]
) -> None:
    before, made.contents = made.contents, replace(made.contents, allow=(Allow("x", port=7),))
    table.fill(nft, made.contents, MASK, before)
    other("add rule inet stunwall allow_rules accept")
    repair.exceptions_changed()
    (gap,) = gaps
    assert gap.who.startswith("nft (pid ")
    assert stands(nft, repair)


def test_a_flush_is_one_gap_also_where_it_comes_while_another_change_is_looked_at(
    repair: Repair, nft: Nft, gaps: list[Gap], problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = state.read_listing

    def flushed_before(context: Nft) -> Listing | None:
        monkeypatch.setattr(state, "read_listing", read)
        flush()
        return read(context)

    monkeypatch.setattr(state, "read_listing", flushed_before)
    other('delete element inet stunwall vpn { "wg0" }\nadd element inet stunwall vpn { "wg0" }')
    repair.inspect()
    repair.inspect()
    (gap,) = gaps
    assert gap.who.startswith("nft (pid ")
    assert gap.start <= gap.end
    assert stands(nft, repair)
    assert not repair.failing
    assert set(problems) == {""}


def test_a_flush_while_the_wall_is_put_back_belongs_to_the_same_gap(
    repair: Repair, nft: Nft, gaps: list[Gap], monkeypatch: pytest.MonkeyPatch
) -> None:
    repair.inspect()
    attach = queue_rules.attach

    def flushed_after(context: Nft, queue: int, additions: Collection[Addition]) -> None:
        monkeypatch.setattr(queue_rules, "attach", attach)
        attach(context, queue, additions)
        flush()

    monkeypatch.setattr(queue_rules, "attach", flushed_after)
    flush()
    repair.inspect()
    repair.inspect()
    assert len(gaps) == 1
    assert stands(nft, repair)


def test_a_wall_that_is_removed_again_and_again_is_a_problem_until_it_stands(
    repair: Repair, nft: Nft, gaps: list[Gap], problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    attach = queue_rules.attach

    def always_flushed(context: Nft, queue: int, additions: Collection[Addition]) -> None:
        attach(context, queue, additions)
        flush()

    monkeypatch.setattr(queue_rules, "attach", always_flushed)
    flush()
    repair.inspect()
    assert repair.failing
    assert "as fast as they are put back" in problems[-1]
    monkeypatch.setattr(queue_rules, "attach", attach)
    repair.inspect()
    assert not repair.failing
    assert len(gaps) == 1
    assert stands(nft, repair)

"""repair.py: gaps in a real wall; only what the network would fill in is made up."""

import subprocess
from collections.abc import Iterator

import pytest

from stunwall.wall import queue_rules, state, table
from stunwall.wall.contents import Contents
from stunwall.wall.repair import Gap, Repair
from stunwall.wall.state import Wall
from unit.wall_kernel import LENGTH_CHANGES, run_nft

MASK = 0x90000000


@pytest.fixture
def gaps() -> list[Gap]:
    """What was told."""
    return []


@pytest.fixture
def problems() -> list[str]:
    """What was complained of."""
    return []


@pytest.fixture
def repair(lab: None, gaps: list[Gap], problems: list[str]) -> Iterator[Repair]:
    contents = Contents(vpn=frozenset({"wg0"}), guard_ports=frozenset({3478}))

    def put_up() -> None:
        table.load(contents, MASK)
        queue_rules.attach(4780)

    repair = Repair(put_up, lambda: table.fill(contents, MASK, contents), gaps.append, problems.append)
    put_up()
    yield repair
    repair.close()
    table.remove()


def flush() -> None:
    subprocess.run(["nft", "flush", "ruleset"], check=True)


def stands() -> bool:
    wall = state.read()
    return wall is not None and wall.intact and wall.queue == 4780 and wall.sets["vpn"] == ("wg0",)


def test_what_was_put_up_is_no_gap(repair: Repair, gaps: list[Gap]) -> None:
    repair.inspect()
    assert gaps == []


@pytest.mark.parametrize("change", LENGTH_CHANGES)
def test_a_changed_length_of_classic_stun_is_a_gap_and_put_back(
    repair: Repair, gaps: list[Gap], change: str
) -> None:
    repair.inspect()
    run_nft(change)
    assert not stands()
    repair.inspect()
    (gap,) = gaps
    assert gap.who.startswith("nft (pid ")
    assert stands()


def test_a_flush_is_one_gap_also_where_it_comes_while_another_change_is_looked_at(
    repair: Repair, gaps: list[Gap], problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = state.read

    def flushed_before() -> Wall | None:
        monkeypatch.setattr(state, "read", read)
        flush()
        return read()

    monkeypatch.setattr(state, "read", flushed_before)
    repair.inspect()  # of what put_up itself did
    repair.inspect()
    (gap,) = gaps
    assert gap.who.startswith("nft (pid ")
    assert gap.start <= gap.end
    assert stands()
    assert not repair.failing
    assert set(problems) == {""}


def test_a_flush_while_the_wall_is_put_back_belongs_to_the_same_gap(
    repair: Repair, gaps: list[Gap], monkeypatch: pytest.MonkeyPatch
) -> None:
    repair.inspect()
    attach = queue_rules.attach

    def flushed_after(queue: int) -> None:
        monkeypatch.setattr(queue_rules, "attach", attach)
        attach(queue)
        flush()

    monkeypatch.setattr(queue_rules, "attach", flushed_after)
    flush()
    repair.inspect()
    repair.inspect()
    assert len(gaps) == 1
    assert stands()


def test_a_wall_that_is_removed_again_and_again_is_a_problem_until_it_stands(
    repair: Repair, gaps: list[Gap], problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    attach = queue_rules.attach

    def always_flushed(queue: int) -> None:
        attach(queue)
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
    assert stands()

"""sentry.py: gaps in a wall that is real; only the network's part of it is made up."""

import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from stunwall.wall import firewall
from stunwall.wall.firewall import Contents, Wall
from stunwall.wall.repair import Gap, Sentry

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
def sentry(lab: None, gaps: list[Gap], problems: list[str]) -> Iterator[Sentry]:
    contents = Contents(vpn=frozenset({"wg0"}), guard_ports=frozenset({3478}))
    network: Any = SimpleNamespace(
        put_up_the_wall=lambda: firewall.load(contents, MASK),
        refill=lambda: firewall.fill(contents, MASK, contents),
    )
    pause: Any = SimpleNamespace(renew=lambda: None)
    sentry = Sentry(network, pause, lambda: firewall.open_door(4780), gaps.append, problems.append)
    sentry.put_up()
    yield sentry
    sentry.close()
    firewall.remove()


def flush() -> None:
    subprocess.run(["nft", "flush", "ruleset"], check=True)


def stands() -> bool:
    wall = firewall.read()
    return wall is not None and wall.whole and wall.queue == 4780 and wall.sets["vpn"] == ("wg0",)


def test_what_was_put_up_is_no_gap(sentry: Sentry, gaps: list[Gap]) -> None:
    sentry.inspect()
    assert gaps == []


def test_a_flush_is_one_gap_also_where_it_comes_while_another_change_is_looked_at(
    sentry: Sentry, gaps: list[Gap], problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = firewall.read

    def flushed_before() -> Wall | None:
        monkeypatch.setattr(firewall, "read", read)
        flush()
        return read()

    monkeypatch.setattr(firewall, "read", flushed_before)
    sentry.inspect()  # of what put_up itself did
    sentry.inspect()
    (gap,) = gaps
    assert gap.who.startswith("nft (pid ")
    assert gap.start <= gap.end
    assert stands()
    assert not sentry.troubled
    assert set(problems) == {""}


def test_a_flush_while_the_wall_is_put_back_belongs_to_the_same_gap(
    sentry: Sentry, gaps: list[Gap], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentry.inspect()
    open_door = firewall.open_door

    def flushed_after(queue: int) -> None:
        monkeypatch.setattr(firewall, "open_door", open_door)
        open_door(queue)
        flush()

    monkeypatch.setattr(firewall, "open_door", flushed_after)
    flush()
    sentry.inspect()
    sentry.inspect()
    assert len(gaps) == 1
    assert stands()


def test_a_wall_that_is_removed_again_and_again_is_a_problem_until_it_stands(
    sentry: Sentry, gaps: list[Gap], problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_door = firewall.open_door

    def always_flushed(queue: int) -> None:
        open_door(queue)
        flush()

    monkeypatch.setattr(firewall, "open_door", always_flushed)
    flush()
    sentry.inspect()
    assert sentry.troubled
    assert "as fast as they are put back" in problems[-1]
    monkeypatch.setattr(firewall, "open_door", open_door)
    sentry.inspect()
    assert not sentry.troubled
    assert len(gaps) == 1
    assert stands()

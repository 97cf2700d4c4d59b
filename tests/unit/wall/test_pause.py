"""pause.py: when a pause ends, with clocks that the test sets; what the kernel makes of it is for test_table.py."""

import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from stunwall.wall import pause, table
from stunwall.wall.nft import Nft, NftError
from stunwall.wall.pause import LONGEST, Pause, PauseError

NOW = 1_800_000_000.75
NFT = cast(Nft, None)  # nothing is loaded


@dataclass
class Clocks:
    """The time of day, and the seconds since the machine was started."""

    day: float = NOW
    boot: float = 500.0
    awake: float = 400.0
    told: list[tuple[int, int]] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Time goes on while the machine sleeps."""
        self.day += seconds
        self.boot += seconds

    def run(self, seconds: float) -> None:
        """Time goes on while the machine is awake."""
        self.sleep(seconds)
        self.awake += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    fake = SimpleNamespace(
        time=lambda: made.day,
        monotonic=lambda: made.awake,
        clock_gettime=lambda clock: made.boot,
        CLOCK_BOOTTIME=time.CLOCK_BOOTTIME,
    )
    monkeypatch.setattr(pause, "time", fake)
    monkeypatch.setattr(table, "pause", lambda nft, seconds, now: made.told.append((seconds, now)))
    return made


def test_it_lasts_as_long_as_was_asked_for(clocks: Clocks) -> None:
    one = Pause(NFT)
    assert (one.left, one.until) == (0.0, 0.0)
    one.start(60)
    assert clocks.told == [(60, int(NOW))]
    assert one.until == int(NOW) + 60
    assert 59 <= one.left <= 60
    clocks.sleep(59)
    assert 0 < one.left < 1
    clocks.sleep(1)
    assert one.left == 0
    clocks.sleep(10**9)
    assert one.left == 0


def test_the_end_is_never_later_than_in_the_kernel(clocks: Clocks) -> None:
    one = Pause(NFT)
    one.start(60)
    (seconds, now) = clocks.told[0]
    assert one.until <= now + seconds


@pytest.mark.parametrize("seconds", [1, LONGEST])
def test_from_a_second_to_a_day(clocks: Clocks, seconds: int) -> None:
    one = Pause(NFT)
    one.start(seconds)
    assert 0 < one.left <= seconds


@pytest.mark.parametrize("seconds", [0, -1, LONGEST + 1, 10**30])
def test_other_lengths_are_refused_and_a_pause_that_runs_goes_on(clocks: Clocks, seconds: int) -> None:
    one = Pause(NFT)
    with pytest.raises(PauseError, match="from 1 second to 24 hours"):
        one.start(seconds)
    assert (one.left, clocks.told) == (0, [])
    one.start(60)
    until = one.until
    with pytest.raises(PauseError):
        one.start(seconds)
    assert one.until == until


def test_a_clock_that_is_set_back_makes_it_no_longer(clocks: Clocks) -> None:
    one = Pause(NFT)
    one.start(60)
    clocks.day -= 86400
    assert one.left <= 60
    clocks.boot += 60
    assert one.left == 0


def test_a_clock_that_is_set_forward_ends_it(clocks: Clocks) -> None:
    one = Pause(NFT)
    one.start(60)
    clocks.day += 3600
    assert one.left == 0


def test_a_second_pause_replaces_the_first(clocks: Clocks) -> None:
    one = Pause(NFT)
    one.start(3600)
    one.start(60)
    assert one.left <= 60
    one.start(3600)
    assert one.left > 60


def test_the_end_by_hand_tells_the_kernel(clocks: Clocks) -> None:
    one = Pause(NFT)
    one.start(60)
    one.end()
    assert (one.left, one.until) == (0, 0)
    assert clocks.told[-1][0] == 0


def test_a_daemon_that_starts_takes_over_what_is_left(clocks: Clocks) -> None:
    one = Pause(NFT)
    one.take_over(30)
    assert one.left == 30
    assert clocks.told == []  # the kernel knows
    clocks.sleep(30)
    assert one.left == 0


def test_what_the_kernel_refuses_is_no_pause(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(nft: Nft, seconds: int, now: int) -> None:
        raise NftError("no")

    monkeypatch.setattr(table, "pause", refuse)
    one = Pause(NFT)
    with pytest.raises(NftError):
        one.start(60)
    assert one.left == 0


def test_the_kernels_element_times_out_by_the_clock_that_stands_still_in_sleep(clocks: Clocks) -> None:
    one = Pause(NFT)
    assert one.times_out < 0
    one.start(60)
    assert one.times_out == 60
    clocks.run(10)
    assert one.times_out == 50
    clocks.sleep(30)
    assert one.times_out == 50
    one.renew()
    assert one.times_out == int(one.left)
    one.end()
    assert one.times_out < 0

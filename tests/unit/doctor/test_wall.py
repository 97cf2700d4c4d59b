"""doctor/wall.py: whether the wall stands, and who removed rules of it."""

import time
from typing import Any

import pytest

from stunwall.hints import DAMAGED
from stunwall.wall.state import Wall
from unit.fake_machine import OK, PROBLEM, WARNING, FakeMachine, status, wall


@pytest.mark.parametrize(
    ("stands", "daemon", "what"),
    [
        (None, None, "there is none"),
        (wall(whole=False), status(), f"it is damaged: {DAMAGED}"),
        (wall(queue=None), status(), "its door is shut though the daemon runs"),
    ],
    ids=["none", "damaged", "shut"],
)
def test_a_wall_that_does_not_stand_as_it_should_is_a_problem(
    fake: FakeMachine, stands: Wall | None, daemon: Any, what: str
) -> None:
    fake.wall, fake.daemon = stands, daemon
    problem = fake.one("wall", PROBLEM)
    assert problem.what == what
    assert "systemctl restart" in problem.next


def test_a_pause_that_no_daemon_will_end_is_a_problem(fake: FakeMachine) -> None:
    fake.wall, fake.daemon = wall(paused=90), None
    problem = fake.one("wall", PROBLEM)
    assert problem.what == "it is paused for 90 s more, though no daemon runs"
    assert "resume" in problem.next


def test_a_shut_door_is_right_while_no_daemon_runs(fake: FakeMachine) -> None:
    fake.wall, fake.daemon = wall(queue=None), None
    assert fake.one("wall", OK).what == "stands, and is whole"


@pytest.mark.parametrize(("who", "named"), [("nft (pid 7)", "nft (pid 7)"), ("", "an unknown program")])
def test_each_gap_is_a_warning_that_names_who_made_it_and_how_long_it_was(
    fake: FakeMachine, who: str, named: str
) -> None:
    fake.daemon = status(gaps=[{"who": who, "start": 1.8e9, "end": 1.8e9 + 0.03125}])
    (warning,) = fake.find("wall")[WARNING]
    assert warning.what.startswith(named)
    assert warning.what.endswith("for 0.031 s")
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1.8e9)) in warning.what

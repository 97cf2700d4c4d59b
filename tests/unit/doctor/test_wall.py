"""doctor/wall.py: whether the wall is loaded and intact, and who has changed it."""

import time
from typing import Any

import pytest

from stunwall.hints import LESS_COMPARED, changed
from stunwall.wall.state import Wall
from unit.fake_machine import OK, PROBLEM, UNKNOWN, WARNING, FakeMachine, status, wall

CHANGED = ("chain decide (has: accept)", "set vpn (has: eth0)")


@pytest.mark.parametrize(
    ("loaded", "seen", "daemon", "what"),
    [
        (None, (), None, "not loaded"),
        (wall(), CHANGED, None, f"damaged: {changed(CHANGED)}"),
        (wall(), (), status(wall="damaged", differences=CHANGED), f"damaged: {changed(CHANGED)}"),
        (wall(queue=None), (), status(), "no packets are queued, although stunwalld is running"),
    ],
    ids=["none", "damaged", "damaged, says the daemon", "no queue rule"],
)
def test_a_missing_or_damaged_wall_is_a_problem(
    fake: FakeMachine, loaded: Wall | None, seen: tuple[str, ...], daemon: Any, what: str
) -> None:
    fake.wall, fake.differences, fake.daemon = loaded, seen, daemon
    problem = fake.one("wall", PROBLEM)
    assert problem.what == what
    assert "systemctl restart" in problem.next


def test_a_pause_without_a_daemon_is_a_problem(fake: FakeMachine) -> None:
    fake.wall, fake.daemon = wall(paused=90), None
    problem = fake.one("wall", PROBLEM)
    assert problem.what == "paused for another 90 s, although stunwalld is not running"
    assert "resume" in problem.next


def test_a_configuration_that_the_daemon_has_not_read_yet_is_no_damage(fake: FakeMachine) -> None:
    fake.differences = CHANGED
    assert fake.one("wall", OK).what == "loaded and intact"


def test_a_process_that_can_only_compare_comments_says_so(fake: FakeMachine) -> None:
    fake.complete, fake.daemon = False, None
    found = fake.find("wall")
    assert found.keys() == {OK, UNKNOWN}
    assert found[UNKNOWN][0].what == LESS_COMPARED


def test_without_a_daemon_no_queue_rule_is_expected(fake: FakeMachine) -> None:
    fake.wall, fake.daemon = wall(queue=None), None
    assert fake.one("wall", OK).what == "loaded and intact"


@pytest.mark.parametrize(("who", "named"), [("nft (pid 7)", "nft (pid 7)"), ("", "an unknown program")])
def test_each_gap_is_a_warning_that_names_the_program_and_the_duration(
    fake: FakeMachine, who: str, named: str
) -> None:
    gap = {"who": who, "start": 1.8e9, "end": 1.8e9 + 0.03125, "what": CHANGED}
    fake.daemon = status(gaps=[gap, gap | {"second_lock_held": True}])
    warning, held = fake.find("wall")[WARNING]
    assert "if it was up" in warning.why
    assert held.why == "until then, the second lock kept STUN from leaving by any interface"
    assert warning.what.startswith(f"{named} changed it at ")
    assert warning.what.endswith(f"({', '.join(CHANGED)}); it was restored after 0.031 s")
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1.8e9)) in warning.what

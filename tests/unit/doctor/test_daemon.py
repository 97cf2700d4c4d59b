"""doctor/daemon.py: whether the daemon runs, and does what the configuration says."""

from dataclasses import replace
from typing import Any

import pytest

from stunwall import __version__
from stunwall.config import Allow
from stunwall.control.protocol import ControlError, ControlPermissionError
from stunwall.doctor.findings import Result
from stunwall.doctor.machine import Machine
from unit.fake_machine import OK, PROBLEM, UNKNOWN, WARNING, FakeMachine, status


@pytest.mark.parametrize(
    ("said", "result", "what", "cure"),
    [
        (None, PROBLEM, "it does not run", "systemctl start stunwall"),
        (ControlError("stunwalld does not answer"), PROBLEM, "stunwalld does not answer", "restart stunwall"),
        (
            ControlPermissionError("the socket is for root: try with sudo"),
            UNKNOWN,
            "could not be checked: the socket is for root: try with sudo",
            "",
        ),
        ({"error": "status is for root"}, UNKNOWN, "status is for root", ""),
    ],
)
def test_a_daemon_that_says_nothing_is_told_from_one_that_may_not(
    fake: FakeMachine, said: Any, result: Result, what: str, cure: str
) -> None:
    fake.daemon = said
    machine = Machine(fake.machine.file, fake.machine.settings)
    (told_,) = fake.find("daemon", machine)[result]
    assert told_.what == what
    assert cure in told_.next
    assert machine.daemon is None
    assert fake.find("vpn", machine) == {}


@pytest.mark.parametrize("state", ["protected", "sealed"])
def test_a_daemon_that_is_well_is_told_with_its_state(fake: FakeMachine, state: str) -> None:
    fake.daemon = status(state=state, pid=812)
    assert fake.one("daemon", OK).what == f"runs as process 812, {state}"


@pytest.mark.parametrize(
    ("state", "cure"), [("open", 'when_vpn_down = "block"'), ("paused", "stunwall resume")]
)
def test_a_state_in_which_stun_leaves_is_a_problem_with_its_way_out(
    fake: FakeMachine, state: str, cure: str
) -> None:
    fake.daemon = status(state=state)
    (problem,) = fake.find("daemon")[PROBLEM]
    assert problem.what == f"its state is {state}"
    assert cure in problem.next


def test_what_the_daemon_complains_of_are_problems(fake: FakeMachine) -> None:
    fake.daemon = status(state="degraded", problems=["the disk is full", "links cannot be read"])
    found = fake.find("daemon")
    assert [each.what for each in found[PROBLEM]] == ["the disk is full", "links cannot be read"]
    assert OK not in found


def test_a_daemon_of_another_version_is_a_warning(fake: FakeMachine) -> None:
    fake.daemon = status(version="0.0.1")
    (warning,) = fake.find("daemon")[WARNING]
    assert warning.what == f"version 0.0.1 runs, {__version__} is installed"
    assert "restart" in warning.next


def test_of_a_daemon_that_says_less_than_this_one_the_version_is_told_all_the_same(fake: FakeMachine) -> None:
    fake.daemon = {"version": "0.0.1", "pid": 1, "problems": []}
    found = fake.find("daemon")
    assert "0.0.1 runs" in found[WARNING][0].what
    assert "an answer was not understood (KeyError('state'))" in found[UNKNOWN][0].what


def test_where_the_configuration_is_wrong_a_daemon_that_is_not_found_may_be_elsewhere(
    fake: FakeMachine,
) -> None:
    fake.daemon = None
    machine = Machine(fake.machine.file, fake.machine.settings, readable=False)
    (unknown,) = fake.find("daemon", machine)[UNKNOWN]
    assert "may name another folder" in unknown.what


@pytest.mark.parametrize(
    ("changed", "what", "cure"),
    [
        ({"mode": "redirect"}, "mode", "sudo stunwall reload"),
        ({"when_vpn_down": "allow", "on_block": "drop"}, "on_block, when_vpn_down", "sudo stunwall reload"),
        ({"queue": 4781}, "queue", "restart stunwall"),
        ({"mark_mask": 3, "mode": "redirect"}, "mode, mark_mask", "restart stunwall"),
        ({"allow": [{"port": 3478, "why": "a test"}]}, "allow", "sudo stunwall reload"),
    ],
)
def test_what_the_daemon_does_otherwise_than_the_configuration_says_is_a_warning(
    fake: FakeMachine, changed: dict[str, Any], what: str, cure: str
) -> None:
    fake.daemon = status(**changed)
    (warning,) = fake.find("daemon")[WARNING]
    assert warning.what == f"not in force yet: {what} as the configuration has it"
    assert cure in warning.next


def test_an_exception_in_force_is_the_one_of_the_configuration(fake: FakeMachine) -> None:
    fake.daemon = status(allow=[{"port": 3478, "why": "a test"}])
    machine = fake.machine
    machine.settings = replace(machine.settings, allow=(Allow("a test", port=3478),))
    assert fake.find("daemon", machine).keys() == {OK}


def test_packets_that_were_too_many_are_a_warning(fake: FakeMachine) -> None:
    fake.daemon = status(queue_overruns=7)
    assert fake.find("daemon")[WARNING][0].what.startswith("7 packets were more than it could take")


def test_where_systemd_does_not_run_the_advice_is_to_start_it_by_hand(fake: FakeMachine) -> None:
    fake.systemd.rmdir()
    fake.daemon = None
    assert fake.one("daemon", PROBLEM).next == "sudo stunwalld"

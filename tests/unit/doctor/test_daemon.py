"""doctor/daemon.py: whether the daemon is running, and what it reports."""

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
    ("reply", "result", "what", "next_"),
    [
        (None, PROBLEM, "not running", "systemctl start stunwall"),
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
def test_a_daemon_that_does_not_answer_is_distinguished_from_one_that_cannot_be_asked(
    fake: FakeMachine, reply: Any, result: Result, what: str, next_: str
) -> None:
    fake.daemon = reply
    machine = Machine(fake.machine.file, fake.machine.settings)
    (found,) = fake.find("daemon", machine)[result]
    assert found.what == what
    assert next_ in found.next
    assert machine.daemon is None
    assert fake.find("vpn", machine) == {}


@pytest.mark.parametrize("state", ["protected", "sealed"])
def test_a_healthy_daemon_is_shown_with_its_pid_and_state(fake: FakeMachine, state: str) -> None:
    fake.daemon = status(state=state, pid=812)
    assert fake.one("daemon", OK).what == f"running (pid 812, {state})"


@pytest.mark.parametrize(
    ("state", "next_"), [("open", 'when_vpn_down = "block"'), ("paused", "stunwall resume")]
)
def test_a_state_in_which_stun_can_leave_is_a_problem_and_names_the_way_out(
    fake: FakeMachine, state: str, next_: str
) -> None:
    fake.daemon = status(state=state)
    (problem,) = fake.find("daemon")[PROBLEM]
    assert problem.what == f"its state is {state}"
    assert next_ in problem.next


def test_problems_that_the_daemon_reports_are_problems(fake: FakeMachine) -> None:
    fake.daemon = status(state="degraded", problems=["the disk is full", "links cannot be read"])
    found = fake.find("daemon")
    assert [each.what for each in found[PROBLEM]] == ["the disk is full", "links cannot be read"]
    assert OK not in found


def test_a_daemon_of_another_version_is_a_warning(fake: FakeMachine) -> None:
    fake.daemon = status(version="0.0.1")
    (warning,) = fake.find("daemon")[WARNING]
    assert warning.what == f"version 0.0.1 is running, but {__version__} is installed"
    assert "restart" in warning.next


def test_the_version_is_compared_even_if_an_old_daemon_answers_with_fewer_fields(fake: FakeMachine) -> None:
    fake.daemon = {"version": "0.0.1", "pid": 1, "problems": []}
    found = fake.find("daemon")
    assert "0.0.1 is running" in found[WARNING][0].what
    assert "unexpected answer (KeyError('state'))" in found[UNKNOWN][0].what


def test_with_an_invalid_configuration_the_daemon_may_have_another_folder(
    fake: FakeMachine,
) -> None:
    fake.daemon = None
    machine = Machine(fake.machine.file, fake.machine.settings, readable=False)
    (unknown,) = fake.find("daemon", machine)[UNKNOWN]
    assert "may set another run_dir" in unknown.what


@pytest.mark.parametrize(
    ("changed", "keys", "next_"),
    [
        ({"mode": "redirect"}, "mode", "sudo stunwall reload"),
        ({"when_vpn_down": "allow", "on_block": "drop"}, "on_block, when_vpn_down", "sudo stunwall reload"),
        ({"queue": 4781}, "queue", "restart stunwall"),
        ({"mark_mask": 3, "mode": "redirect"}, "mode, mark_mask", "restart stunwall"),
        ({"allow": [{"port": 3478, "why": "a test"}]}, "allow", "sudo stunwall reload"),
    ],
)
def test_changes_of_the_configuration_that_are_not_in_effect_are_a_warning(
    fake: FakeMachine, changed: dict[str, Any], keys: str, next_: str
) -> None:
    fake.daemon = status(**changed)
    (warning,) = fake.find("daemon")[WARNING]
    assert warning.what == f"changes of the configuration are not in effect yet: {keys}"
    assert next_ in warning.next


def test_an_exception_that_is_in_effect_is_not_reported_as_a_change(fake: FakeMachine) -> None:
    fake.daemon = status(allow=[{"port": 3478, "why": "a test"}])
    machine = fake.machine
    machine.settings = replace(machine.settings, allow=(Allow("a test", port=3478),))
    assert fake.find("daemon", machine).keys() == {OK}


def test_packets_that_the_daemon_could_not_keep_up_with_are_a_warning(fake: FakeMachine) -> None:
    fake.daemon = status(queue_overruns=7)
    assert fake.find("daemon")[WARNING][0].what == "unable to keep up with 7 packets"


def test_without_systemd_the_advice_is_to_start_the_daemon_by_hand(fake: FakeMachine) -> None:
    fake.systemd.rmdir()
    fake.daemon = None
    assert fake.one("daemon", PROBLEM).next == "sudo stunwalld"

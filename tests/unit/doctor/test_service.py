"""doctor/service.py: whether the systemd units are installed, enabled and active."""

import pytest

from stunwall.doctor import service
from stunwall.doctor.findings import Result
from unit.fake_machine import NOTE, OK, PROBLEM, UNKNOWN, WARNING, FakeMachine, unit


def test_without_systemd_a_note_says_that_nothing_starts_stunwall_at_boot(fake: FakeMachine) -> None:
    fake.systemd.rmdir()
    fake.printed.clear()  # nobody asks systemctl
    assert "nothing starts stunwall at boot" in fake.one("service", NOTE).what


@pytest.mark.parametrize("name", service.UNITS)
@pytest.mark.parametrize(
    ("shown", "result", "what", "next_"),
    [
        ({"LoadState": "not-found"}, PROBLEM, "{} is not installed", "install stunwall"),
        ({"UnitFileState": "disabled"}, PROBLEM, "{} is disabled", "sudo systemctl enable {}"),
        ({"UnitFileState": "enabled-runtime"}, PROBLEM, "{} is enabled-runtime", "sudo systemctl enable {}"),
        (
            {"LoadState": "masked", "UnitFileState": "masked"},
            PROBLEM,
            "{} is masked",
            "sudo systemctl unmask {}; sudo systemctl enable {}",
        ),
        (
            {"ActiveState": "failed", "Result": "watchdog"},
            PROBLEM,
            "{} is failed (watchdog)",
            "journalctl -u {}",
        ),
        (
            {"ActiveState": "activating", "Result": "exit-code", "ExecMainStatus": "226"},
            PROBLEM,
            "{} cannot start: systemd could not give it a mount namespace",
            "allow nesting for the container",
        ),
        ({"ActiveState": "inactive"}, PROBLEM, "{} is inactive (success)", "sudo systemctl restart {}"),
        (
            {"ActiveState": "inactive", "InactiveExitTimestampMonotonic": "0"},
            PROBLEM,
            "{} is enabled, but has not been started since boot",
            "sudo systemctl start {}; journalctl -b -g 'ordering cycle'",
        ),
        (
            {"ActiveState": "inactive", "InactiveExitTimestampMonotonic": "5123456"},
            PROBLEM,
            "{} is inactive (success)",
            "sudo systemctl restart {}",
        ),
        ({"NeedDaemonReload": "yes"}, WARNING, "{} has changed on disk", "sudo systemctl daemon-reload"),
        (
            {"NRestarts": "3"},
            WARNING,
            "{} was restarted automatically 3 times",
            "journalctl -u {} -p warning",
        ),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_a_fault_of_a_unit_is_reported_with_the_command_that_fixes_it(
    fake: FakeMachine, name: str, shown: dict[str, str], result: Result, what: str, next_: str
) -> None:
    fake.printed[f"systemctl show {name}"] = unit(**shown)
    (found,) = fake.find("service")[result]
    assert found.what.startswith(what.format(name))
    assert next_.format(name, name) in found.next


def test_all_faults_of_a_unit_are_reported(fake: FakeMachine) -> None:
    name, other = service.UNITS
    fake.printed[f"systemctl show {name}"] = unit(
        UnitFileState="disabled", ActiveState="failed", NRestarts="2"
    )
    found = fake.find("service")
    assert len(found[PROBLEM]) == 2
    assert len(found[WARNING]) == 1
    assert [each.what for each in found[OK]] == [f"{other} is active"]


def test_if_systemctl_says_nothing_the_units_are_unknown(fake: FakeMachine) -> None:
    fake.printed |= {f"systemctl show {name}": "" for name in service.UNITS}
    assert fake.find("service").keys() == {UNKNOWN}

"""doctor/service.py: whether the units are there, enabled and active."""

import pytest

from stunwall.doctor import service
from stunwall.doctor.findings import Result
from unit.fake_machine import NOTE, OK, PROBLEM, UNKNOWN, WARNING, FakeMachine, unit


def test_where_systemd_does_not_run_a_note_says_that_nothing_starts_it(fake: FakeMachine) -> None:
    fake.systemd.rmdir()
    fake.printed.clear()  # nobody asks systemctl
    assert "nothing starts stunwall at boot" in fake.one("service", NOTE).what


@pytest.mark.parametrize("name", service.UNITS)
@pytest.mark.parametrize(
    ("shown", "result", "what", "cure"),
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
        ({"ActiveState": "inactive"}, PROBLEM, "{} is inactive (success)", "sudo systemctl restart {}"),
        ({"NeedDaemonReload": "yes"}, WARNING, "{} has changed on disk", "sudo systemctl daemon-reload"),
        ({"NRestarts": "3"}, WARNING, "{} was restarted 3 times", "journalctl -u {} -p warning"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_a_unit_that_is_not_well_is_told_with_the_way_to_mend_it(
    fake: FakeMachine, name: str, shown: dict[str, str], result: Result, what: str, cure: str
) -> None:
    fake.printed[f"systemctl show {name}"] = unit(**shown)
    (told_,) = fake.find("service")[result]
    assert told_.what.startswith(what.format(name))
    assert cure.format(name, name) in told_.next


def test_a_unit_may_have_several_faults(fake: FakeMachine) -> None:
    name = service.UNITS[0]
    fake.printed[f"systemctl show {name}"] = unit(
        UnitFileState="disabled", ActiveState="failed", NRestarts="2"
    )
    found = fake.find("service")
    assert len(found[PROBLEM]) == 2
    assert len(found[WARNING]) == 1
    assert [each.what for each in found[OK]] == [f"{service.UNITS[1]} is active"]


def test_a_systemd_that_does_not_answer_is_no_judgement_on_the_units(fake: FakeMachine) -> None:
    fake.printed |= {f"systemctl show {name}": "" for name in service.UNITS}
    assert fake.find("service").keys() == {UNKNOWN}

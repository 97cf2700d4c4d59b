"""doctor/exceptions.py: what exceptions by program apply to."""

from pathlib import Path
from typing import Any

import pytest

from stunwall.wall import units
from unit.fake_machine import NOTE, OK, WARNING, FakeMachine, status

UNIT = {"unit": "syncthing.service", "why": "a 'test'"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(units, "ROOT", tmp_path / "cgroup")
    return tmp_path / "cgroup"


def excepting(fake: FakeMachine, rule: dict[str, Any], cgroups: list[str] | None) -> None:
    fake.daemon = status(allow=[{"port": 1, "why": "w"}, rule], cgroups=[None, cgroups])


def test_without_a_daemon_or_with_an_older_one_nothing_is_said(fake: FakeMachine) -> None:
    excepting(fake, UNIT, [])
    del fake.daemon["cgroups"]
    assert fake.find("exceptions") == {}
    fake.daemon = None
    assert fake.find("exceptions") == {}


def test_what_an_exception_applies_to_is_said(fake: FakeMachine, root: Path) -> None:
    excepting(fake, UNIT, [f"{n}.service" for n in range(5)])
    said = "exception 2 (a 'test') applies to 0.service, 1.service, 2.service and 2 more"
    assert fake.one("exceptions", OK).what == said


def test_a_unit_that_systemd_does_not_know_is_a_warning_and_one_that_does_not_run_is_not(
    fake: FakeMachine, root: Path
) -> None:
    excepting(fake, UNIT, [])
    fake.printed["systemctl show --property=LoadState syncthing.service"] = "LoadState=not-found\n"
    found = fake.one("exceptions", WARNING)
    assert found.what.startswith(
        "exception 2 (a 'test') applies to nothing now: not found: the system runs no such"
    )
    assert found.why == "systemd knows no unit of this name"
    fake.printed["systemctl show --property=LoadState syncthing.service"] = "LoadState=loaded\n"
    assert fake.one("exceptions", NOTE).next == "nothing, if it is not running"


@pytest.mark.parametrize(
    "rule",
    [
        {"user": 1000, "app": "an.App"},
        {"user": 1000, "unit": "app-*.scope"},
        {"unit": "app-*.scope"},
        {"unit": "user.slice/a.service"},
    ],
)
def test_what_systemd_cannot_be_asked_about_is_a_note(
    fake: FakeMachine, root: Path, rule: dict[str, Any]
) -> None:
    excepting(fake, rule | {"why": "w"}, [])
    assert "applies to nothing now: not found: " in fake.one("exceptions", NOTE).what


def test_a_unit_that_runs_for_a_user_is_a_warning_with_the_command_that_means_it(
    fake: FakeMachine, root: Path
) -> None:
    name = UNIT["unit"]
    (root / f"user.slice/user-0.slice/user@0.service/app.slice/{name}").mkdir(parents=True)
    excepting(fake, UNIT, [])
    found = fake.one("exceptions", WARNING)
    assert found.why == "a unit of this name runs for root, and any user can start one"
    quoted = "'a '\"'\"'test'\"'\"''"
    assert found.next == f"sudo stunwall allow add --user root --unit {name} --why {quoted}"

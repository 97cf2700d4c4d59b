"""doctor/exceptions.py: what exceptions by program apply to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stunwall.config import Allow
from stunwall.wall import units
from unit.fake_machine import NOTE, OK, WARNING, FakeMachine, status

UNIT = {"unit": "syncthing.service", "why": "a 'test'"}
ASKED = "systemctl show --property=Id,LoadState -- syncthing.service"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cgroup"
    root.mkdir()
    (root / "cgroup.controllers").touch()
    monkeypatch.setattr(units, "ROOT", root)
    return root


def excepting(fake: FakeMachine, rule: dict[str, Any], cgroups: list[str] | None) -> None:
    fake.daemon = status(allow=[{"port": 1, "why": "w"}, rule], cgroups=[None, cgroups])


def test_of_an_older_daemon_nothing_is_said(fake: FakeMachine) -> None:
    excepting(fake, UNIT, [])
    del fake.daemon["cgroups"]
    assert fake.find("exceptions") == {}


def test_without_a_daemon_it_looks_itself(fake: FakeMachine, root: Path) -> None:
    fake.daemon = None
    assert fake.find("exceptions") == {}
    machine = fake.machine
    allow = Allow("w", port=1), Allow("w", unit="a.service"), Allow("w", unit="app-*.scope")
    machine.settings = replace(machine.settings, allow=allow)
    (root / "own.slice" / "a.service").mkdir(parents=True)
    found = fake.find("exceptions", machine)
    assert [each.what for each in found[OK]] == ["exception 2 (w) applies to own.slice/a.service"]
    assert found[NOTE][0].what.startswith("exception 3 (w) applies to nothing now: not found: ")


def test_what_an_exception_applies_to_is_said(fake: FakeMachine, root: Path) -> None:
    excepting(fake, UNIT, [f"{n}.service" for n in range(5)])
    said = "exception 2 (a 'test') applies to 0.service, 1.service, 2.service and 2 more"
    assert fake.one("exceptions", OK).what == said


def test_a_unit_that_systemd_does_not_know_is_a_warning_and_one_that_does_not_run_is_not(
    fake: FakeMachine, root: Path
) -> None:
    excepting(fake, UNIT, [])
    fake.printed[ASKED] = "Id=syncthing.service\nLoadState=not-found\n"
    found = fake.one("exceptions", WARNING)
    assert found.what.startswith(
        "exception 2 (a 'test') applies to nothing now: not found: the system runs no such"
    )
    assert found.why == "systemd knows no unit of this name"
    fake.printed[ASKED] = "Id=syncthing.service\nLoadState=loaded\n"
    assert fake.one("exceptions", NOTE).next == "nothing, if it is not running"


@pytest.mark.parametrize("rule", [UNIT, {"user": 1000, "app": "an.App", "why": "w"}])
def test_without_cgroup_v2_where_nft_looks_it_is_a_warning(
    fake: FakeMachine, root: Path, rule: dict[str, Any]
) -> None:
    (root / "cgroup.controllers").unlink()
    (root / "unified").mkdir()  # where the hybrid layout has it
    excepting(fake, rule, [])
    assert (
        fake.one("exceptions", WARNING).why == f"cgroup v2 is not mounted on {root}, where nft looks for it"
    )


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("sshd.service", "ssh.service"),  # an alias, on Debian
        ("tailscaled", "tailscaled.service"),  # as systemctl takes it
    ],
)
def test_another_name_of_a_unit_is_a_warning_with_the_name_of_its_cgroup(
    fake: FakeMachine, root: Path, unit: str, name: str
) -> None:
    excepting(fake, {"unit": unit, "why": "w"}, [])
    fake.printed[f"systemctl show --property=Id,LoadState -- {unit}"] = f"Id={name}\nLoadState=loaded\n"
    found = fake.one("exceptions", WARNING)
    assert (found.why, found.next) == (f"systemd runs it as {name}", f"write {name} instead")


def test_a_template_is_a_warning_with_the_glob_for_its_instances(fake: FakeMachine, root: Path) -> None:
    excepting(fake, {"unit": "syncthing@.service", "why": "w"}, [])
    assert fake.one("exceptions", WARNING).next.endswith(" all of them: 'syncthing@*.service'")


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

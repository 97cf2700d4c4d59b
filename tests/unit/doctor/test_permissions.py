"""doctor/permissions.py: who may change configuration and record, on a machine that is made up."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from stunwall.configfile import reader
from stunwall.doctor import permissions
from stunwall.record.schema import FILE
from unit.fake_machine import OK, PROBLEM, UNKNOWN, WARNING, FakeMachine

OTHERS, DAEMON = 12345, 4780  # numbers that no user or group of the tests has

pytestmark = pytest.mark.usefixtures("lab", "daemon")


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's user, with a number that nothing else has."""
    monkeypatch.setattr(
        permissions, "pwd", SimpleNamespace(getpwnam=lambda name: SimpleNamespace(pw_uid=DAEMON))
    )


@pytest.mark.parametrize(
    ("mode", "user", "group", "well"),
    [
        (0o644, 0, 0, True),
        (0o600, DAEMON, DAEMON, True),
        (0o640, DAEMON, OTHERS, True),
        (0o664, 0, 0, True),
        (0o646, 0, 0, False),
        (0o664, 0, OTHERS, False),
        (0o664, 0, DAEMON, False),  # its group is everybody's who may read
        (0o600, OTHERS, 0, False),
    ],
)
@pytest.mark.parametrize("name", ["stunwall.toml", "conf.d/1.toml", "conf.d", "", "state", f"state/{FILE}"])
def test_whoever_but_root_and_the_daemon_may_change_something_is_a_problem(
    fake: FakeMachine, name: str, mode: int, user: int, group: int, well: bool
) -> None:
    (fake.folder / "conf.d").mkdir(0o755)
    path = fake.folder / name
    if not path.exists():
        path.touch()
    path.chmod(mode | 0o111 if path.is_dir() else mode)
    os.chown(path, user, group)
    if well:
        assert "root and stunwalld alone" in fake.one("rights", OK).what
    else:
        problem = fake.one("rights", PROBLEM)
        assert problem.what == f"{path} can be changed by others than root and stunwalld"
        assert f" {path}" in problem.next


def test_of_the_systems_own_configuration_a_caller_is_no_owner(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: OTHERS)
    os.chown(fake.machine.file, OTHERS, 0)
    fake.one("rights", OK)
    monkeypatch.setattr(reader, "DEFAULT_FILE", fake.machine.file)
    assert str(fake.machine.file) in fake.one("rights", PROBLEM).what


def test_nobody_is_told_to_close_a_folder_that_is_everybodys(fake: FakeMachine) -> None:
    fake.folder.chmod(0o1777)
    assert "move the configuration" in fake.one("rights", PROBLEM).next


def test_a_missing_folder_of_the_record_is_a_warning_and_no_matter_for_disk_and_record(
    fake: FakeMachine,
) -> None:
    (fake.folder / "state").rmdir()
    assert fake.one("rights", WARNING).what == f"{fake.folder}/state is missing"
    assert fake.find("disk") == fake.find("record") == {}


def test_a_folder_that_may_not_be_looked_at_is_not_a_missing_one(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(path: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", stat)
    assert "Permission denied" in fake.one("rights", UNKNOWN).what

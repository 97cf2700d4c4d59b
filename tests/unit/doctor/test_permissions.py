"""doctor/permissions.py: who can change the configuration and the record."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from stunwall.configfile import reader
from stunwall.doctor import permissions
from stunwall.record.schema import FILE
from unit.fake_machine import OK, PROBLEM, UNKNOWN, WARNING, FakeMachine

OTHERS, DAEMON = 12345, 4780  # IDs that no user or group of the tests has

pytestmark = pytest.mark.usefixtures("lab", "daemon")


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's user, with an ID of its own."""
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
        (0o664, 0, DAEMON, False),  # everybody who can read the record is in this group
        (0o600, OTHERS, 0, False),
    ],
)
@pytest.mark.parametrize("name", ["stunwall.toml", "conf.d/1.toml", "conf.d", "", "state", f"state/{FILE}"])
def test_files_that_others_than_root_and_stunwalld_can_change_are_a_problem(
    fake: FakeMachine, name: str, mode: int, user: int, group: int, well: bool
) -> None:
    (fake.folder / "conf.d").mkdir(0o755)
    path = fake.folder / name
    if not path.exists():
        path.touch()
    path.chmod(mode | 0o111 if path.is_dir() else mode)
    os.chown(path, user, group)
    if well:
        assert "only root and stunwalld" in fake.one("rights", OK).what
    else:
        problem = fake.one("rights", PROBLEM)
        assert problem.what == f"{path} can be changed by users other than root and stunwalld"
        assert f" {path}" in problem.next


def test_only_a_private_configuration_may_belong_to_its_user(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: OTHERS)
    os.chown(fake.machine.file, OTHERS, 0)
    fake.one("rights", OK)
    monkeypatch.setattr(reader, "DEFAULT_FILE", fake.machine.file)
    assert str(fake.machine.file) in fake.one("rights", PROBLEM).what


def test_nobody_is_told_to_change_the_permissions_of_a_shared_folder(fake: FakeMachine) -> None:
    fake.folder.chmod(0o1777)
    assert "move the configuration" in fake.one("rights", PROBLEM).next


def test_a_missing_folder_for_the_record_is_reported_once(
    fake: FakeMachine,
) -> None:
    (fake.folder / "state").rmdir()
    assert fake.one("rights", WARNING).what == f"{fake.folder}/state does not exist"
    assert fake.find("disk") == fake.find("record") == {}


def test_a_folder_that_cannot_be_read_is_not_called_missing(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(path: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", stat)
    assert "Permission denied" in fake.one("rights", UNKNOWN).what

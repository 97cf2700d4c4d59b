"""doctor/configuration.py: errors in the configuration, and values that let STUN out."""

from pathlib import Path

import pytest

from stunwall.config import Config
from stunwall.configfile import reader
from stunwall.configfile.errors import ConfigPermissionError
from stunwall.doctor.machine import Machine
from unit.fake_machine import OK, PROBLEM, UNKNOWN, WARNING, FakeMachine

MANAGER = "user.slice/user-1000.slice/user@1000.service"


def test_a_missing_file_given_by_name_is_a_problem_and_the_other_checks_use_the_defaults(
    fake: FakeMachine,
) -> None:
    machine = Machine(fake.folder / "other.toml")
    (problem,) = fake.find("configuration", machine)[PROBLEM]
    assert f"{fake.folder}/other.toml: cannot be read: No such file" in problem.what
    assert "stunwall config check" in problem.next
    assert machine.settings == Config()


def test_a_file_that_the_user_cannot_read_is_not_called_invalid(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(file: Path) -> Config:
        raise ConfigPermissionError("cannot be read: Permission denied. Try with sudo", file)

    monkeypatch.setattr(reader, "load", load)
    machine = fake.machine
    (unknown,) = fake.find("configuration", machine)[UNKNOWN]
    assert "Permission denied. Try with sudo" in unknown.what
    assert not machine.readable


def test_the_default_configuration_may_be_missing(fake: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.machine.file.unlink()
    monkeypatch.setattr(reader, "DEFAULT_FILE", fake.machine.file)
    assert fake.one("configuration", OK).what.endswith("does not exist, so the defaults apply")


@pytest.mark.parametrize(
    ("rule", "whose"),
    [
        ("port = 3478", "every destination"),
        ('interface = "eth0"', "every destination"),
        ('to = "0.0.0.0/0"', "every destination"),
        ('to = "::/0"\nport = 3478', "every destination"),
        ('to = "0.0.0.0/1"', "every destination"),
        ('to = "192.0.2.0/24"', ""),
        ("user = 1000", "every program of a user, browsers included"),
        ('to = "0.0.0.0/0"\nuser = 1000', "every program of a user, browsers included"),
        ('to = "192.0.2.0/24"\nuser = 1000', ""),
        ("user = 999", ""),
        ('unit = "tailscaled.service"', ""),
        ('unit = "user.slice"', "every program in a login session"),
        ('unit = "user.slice/user-1000.slice"', "every program in a login session"),
        ('unit = "user-1000.slice"', "every program in a login session"),
        ('unit = "user@1000.service"', "every program in a login session"),
        ('unit = "session-*.scope"', "every program in a login session"),
        ('unit = "app.slice"\nuser = 1000', "every program in a login session"),
        (f'unit = "{MANAGER}/app.slice"', "every program in a login session"),
        ('unit = "machine.slice"', ""),
        ('unit = "syncthing.service"\nuser = 1000', ""),
        ('app = "com.discordapp.Discord"\nuser = 1000', ""),
        (f'unit = "{MANAGER}/app.slice/call.service"', ""),
    ],
)
def test_an_exception_that_a_web_page_could_exploit_is_a_warning(
    fake: FakeMachine, rule: str, whose: str
) -> None:
    fake.machine.file.write_text(f'[[allow]]\nwhy = "a test"\n{rule}\n')
    warnings = [each.what for each in fake.find("configuration").get(WARNING, [])]
    assert warnings == ([f"exception 1 (a test) applies to {whose}"] if whose else [])

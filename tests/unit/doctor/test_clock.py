"""doctor/clock.py: whether the time is plausible."""

import time
from types import SimpleNamespace

import pytest

from stunwall.doctor import clock
from stunwall.doctor.findings import Result
from unit.fake_machine import NOTE, OK, PROBLEM, FakeMachine


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    stopped = SimpleNamespace(
        time=lambda: seconds, strftime=lambda form: time.strftime(form, (2000,) + (1,) * 8)
    )
    monkeypatch.setattr(clock, "time", stopped)


def test_a_clock_before_this_release_is_a_problem(fake: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, clock._RELEASED - 1)
    assert fake.one("clock", PROBLEM).what == "it shows 2000-01-01, which is before this version was released"


@pytest.mark.parametrize(
    ("synchronized", "systemd", "result"),
    [("yes", True, OK), ("no", True, NOTE), ("", True, OK), ("no", False, OK)],
)
def test_a_clock_that_is_not_synchronised_is_a_note(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch, synchronized: str, systemd: bool, result: Result
) -> None:
    set_clock(monkeypatch, clock._RELEASED)
    fake.printed["timedatectl show -P NTPSynchronized"] = f"{synchronized}\n"
    if not systemd:
        fake.systemd.rmdir()
    fake.one("clock", result)

"""doctor/record.py: room for the record, and whether it is readable and complete."""

import os
from types import SimpleNamespace

import pytest

from stunwall.doctor.findings import Result
from stunwall.record.schema import FILE
from unit.fake_machine import OK, PROBLEM, WARNING, FakeMachine
from unit.recorded import event, record, sql


@pytest.mark.parametrize(
    ("free", "flags", "result", "what"),
    [
        (100 << 20, 0, OK, "100 MiB are free for the record"),
        ((100 << 20) - 4096, 0, WARNING, "only 99 MiB are free for "),
        (4 << 20, 0, WARNING, "only 4 MiB are free for "),
        ((4 << 20) - 4096, 0, PROBLEM, "only 3 MiB are free for "),
        (100 << 20, os.ST_RDONLY, PROBLEM, "on a read-only file system"),
    ],
)
def test_little_free_space_is_a_warning_and_almost_none_is_a_problem(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch, free: int, flags: int, result: Result, what: str
) -> None:
    answer = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_flag=flags)
    monkeypatch.setattr(os, "statvfs", lambda folder: answer)
    assert what in fake.one("disk", result).what


def test_a_readable_record_is_shown_with_its_size(fake: FakeMachine) -> None:
    record(fake.folder / "state", event())
    assert fake.one("record", OK).what.startswith("readable: 1 entry so far, ")


def test_packets_that_could_not_be_recorded_are_a_warning(fake: FakeMachine) -> None:
    record(fake.folder / "state", event())
    sql(fake.folder / "state", "INSERT INTO lost (time, count) VALUES (1, 5)")
    found = fake.find("record")
    assert found.keys() == {WARNING, OK}
    assert found[WARNING][0].what == "blocked but not recorded: 5 packets"


@pytest.mark.parametrize("content", [None, b"garbage" * 999, b""])
def test_a_missing_or_damaged_record_is_a_warning(fake: FakeMachine, content: bytes | None) -> None:
    if content is not None:
        (fake.folder / "state" / FILE).write_bytes(content)
    assert str(fake.folder / "state" / FILE) in fake.one("record", WARNING).what


def test_a_record_that_was_moved_aside_is_a_warning_even_if_there_is_no_new_one(fake: FakeMachine) -> None:
    broken = fake.folder / "state" / f"{FILE}.20270101.broken"
    broken.touch()
    assert f"moved aside to {broken}" in fake.find("record")[WARNING][1].what

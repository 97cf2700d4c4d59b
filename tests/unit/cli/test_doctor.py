"""cli/doctor.py: how findings are printed, and the exit code."""

import json
import os
import pty
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields

import pytest

from stunwall.control.protocol import ControlPermissionError
from stunwall.doctor import checks, findings
from stunwall.doctor.findings import Finding
from stunwall.wall.nft import NftPermissionError
from unit.cli.command import Result, Stunwall
from unit.fake_machine import NOTE, OK, PROBLEM, UNKNOWN, WARNING, FakeMachine

Doctor = Callable[..., Result]


@pytest.fixture
def doctor(fake: FakeMachine, stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs the command on the fake machine, or with the given findings."""

    def run(*options: str, found: list[Finding] | None = None) -> Result:
        if found is not None:
            monkeypatch.setattr(checks, "examine", lambda file: found)
        return stunwall("doctor", *options, config=fake.machine.file)

    return run


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([], 0),
        ([OK, NOTE, WARNING], 0),
        ([OK, UNKNOWN], 4),
        ([WARNING, UNKNOWN, PROBLEM], 1),
        ([PROBLEM], 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_most_serious_finding_sets_the_exit_code(
    doctor: Doctor, results: list[findings.Result], code: int, options: tuple[str, ...]
) -> None:
    assert doctor(*options, found=[Finding("disk", result, "found") for result in results]).code == code


def test_the_json_lists_all_findings_with_all_fields(doctor: Doctor) -> None:
    found = [Finding("wall", OK, "intact"), Finding("vpn", WARNING, "what\x1b[31m", "why", "next")]
    ended = doctor("--json", found=found)
    assert (ended.err, ended.out.count("\n")) == ("", 1)
    assert json.loads(ended.out) == [
        {"check": "wall", "result": "ok", "what": "intact", "why": "", "next": ""},
        {"check": "vpn", "result": "warning", "what": "what\x1b[31m", "why": "why", "next": "next"},
    ]
    assert [list(each) for each in json.loads(ended.out)] == [[key.name for key in fields(Finding)]] * 2
    assert "\x1b" not in ended.out


@pytest.mark.parametrize(("user", "advice"), [(0, ""), (1000, " (try sudo)")])
def test_serious_findings_come_first_and_the_last_line_counts_them(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, user: int, advice: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    order = [OK, NOTE, PROBLEM, UNKNOWN, WARNING, OK]
    ended = doctor(found=[Finding("disk", result, "found", "it matters", "do this") for result in order])
    heads = [line.split()[0] for line in ended.out.splitlines() if " disk: found" in line]
    assert heads == ["PROBLEM", "WARNING", "UNKNOWN", "NOTE", "OK", "OK"]
    assert ended.out.startswith("PROBLEM  disk: found\n         why   it matters\n         next  do this\n")
    assert ended.out.endswith(f"\n1 problem and 1 warning; 2 checks passed, 1 could not be done{advice}.\n")


def test_only_the_count_follows_a_blank_line(doctor: Doctor) -> None:
    out = doctor(found=[Finding("wall", OK, "intact"), Finding("vpn", OK, "known")]).out
    assert out.splitlines().count("") == 1


def test_no_line_is_wider_than_the_terminal(doctor: Doctor) -> None:
    long = "a long sentence about something that was found, " * 4
    ended = doctor(found=[Finding("disk", PROBLEM, long, long, long)])
    assert max(len(line) for line in ended.out.splitlines()) <= 80
    assert " ".join(ended.out.split()).count(long.strip()) == 3


def test_no_name_on_the_machine_can_control_the_terminal(doctor: Doctor) -> None:
    hostile = "\x1b[31mred\r\n\u202eforged"
    ended = doctor(found=[Finding("queue", PROBLEM, hostile, hostile, hostile)])
    assert ended.out.count("red") == 3
    assert all(line.isprintable() for line in ended.out.split("\n"))


def on_a_terminal(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command prints on a terminal."""
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)  # restored before capfd removes its own
        doctor()
        terminal.flush()
        text = os.read(reader, 1 << 16)
    with suppress(OSError):  # EIO: the other end is closed
        while more := os.read(reader, 1 << 16):
            text += more
    os.close(reader)
    return text.decode()


def test_only_terminals_get_colours(
    fake: FakeMachine, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.wall = None
    ended = doctor()
    assert ended.out.startswith("PROBLEM  wall: not loaded\n")
    assert "\x1b" not in ended.out + ended.err
    assert "\x1b[31m" in on_a_terminal(doctor, monkeypatch)


def test_if_nothing_may_be_read_every_check_still_reports(
    fake: FakeMachine, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = NftPermissionError("the rules are for root")
    fake.wall = fake.ruleset = broken
    fake.daemon = ControlPermissionError("the socket is for root")
    fake.listeners.clear()  # which only root can read
    fake.printed.clear()
    ended = doctor("--json")
    assert (ended.code, ended.err) == (4, "")
    results = {each["check"]: each["result"] for each in json.loads(ended.out)}
    unknown = {check for check, result in results.items() if result == "unknown"}
    assert unknown == {"kernel", "daemon", "wall", "queue", "marks", "neighbours", "service", "clock"}
    assert results.keys() == checks.CHECKS.keys() - {"vpn", "gateway", "exceptions", "presets"}

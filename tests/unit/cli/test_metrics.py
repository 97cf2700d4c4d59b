"""cli/metrics.py and figures.py: what `stunwall metrics` says with a daemon and without, and how it writes a file."""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stunwall.cli import figures, report
from stunwall.cli.report import Report
from stunwall.model import Reason
from stunwall.queue import proc
from stunwall.queue.proc import Row
from stunwall.record.ledger import Kind, Moment, Store
from stunwall.record.schema import FILE, open_for_writing
from unit.cli.command import HOSTILE, Stunwall
from unit.status import STATUS

ADDRESS = "203.0.113.77"


def values(text: str) -> dict[str, float]:
    """The samples of a text, with their labels."""
    return {
        sample: float(value)
        for sample, _, value in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
    }


def printed(stunwall: Stunwall) -> dict[str, float]:
    result = stunwall("metrics")
    assert (result.code, result.err) == (0, "")
    return values(result.out)


def states(found: dict[str, float]) -> list[str]:
    """Those that are 1."""
    return [
        re.sub(r'stunwall_state{state="(.*)"}', r"\1", sample)
        for sample, value in found.items()
        if sample.startswith("stunwall_state") and value
    ]


@pytest.fixture
def ledger(folder: Path) -> None:
    with closing(open_for_writing(folder / FILE)) as connection, connection:
        Store(connection).advance(Moment(1000, 100, "one"), Kind.PAUSED, f"by alice, {ADDRESS}")
        Store(connection).advance(Moment(1060, 160, "one"), Kind.SEALED, "")


def test_a_running_daemon_is_told_with_its_counts(
    stunwall: Stunwall, daemon: dict[str, Any], ledger: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proc, "rows", lambda: [Row(1, 1, 1, 1, 1), Row(4780, 7, 5, 6, 8)])
    found = printed(stunwall)
    assert states(found) == ["protected"]
    assert found['stunwall_info{version="1",mode="block",when_vpn_down="block"}'] == 1
    expected = {
        "up": 1,
        "leak_possible": 0,
        "start_time_seconds": 1,
        "problems": 0,
        "vpn_interfaces": 1,
        "proof_timestamp_seconds": 1,
        "proof_sealed": 1,
        "proof_outdated": 0,
        'packets_total{verdict="blocked",reason="outside-vpn"}': 7,
        'packets_total{verdict="redirected",reason="redirected"}': 0,
        'packets_total{verdict="accepted",reason="vpn-down-allowed"}': 0,
        'packets_total{verdict="exposed",reason="exposed"}': 0,
        'events_total{event="gap"}': 2,
        'events_total{event="paused"}': 0,
        'unrecorded_packets_total{cause="disk"}': 0,
        'unrecorded_packets_total{cause="limit"}': 0,
        "unanswered_packets_total": 0,
        "unreadable_packets_total": 0,
        "faulty_packets_total": 0,
        'wall_packets_total{counter="into_ipsec"}': 3,
        "second_lock_up": 1,
        "second_lock_dropped_packets_total": 0,
        "queue_waiting_packets": 5,
        'queue_dropped_packets_total{cause="full"}': 6,
        'queue_dropped_packets_total{cause="unsent"}': 8,
        "ledger_readable": 1,
        'exposure_seconds_total{kind="paused"}': 60,
        'exposure_seconds_total{kind="leak"}': 0,
    }
    assert {name: found[f"stunwall_{name}"] for name in expected} == expected


def test_every_cause_reason_and_kind_has_its_own_series(
    stunwall: Stunwall, daemon: dict[str, Any], ledger: None
) -> None:
    daemon["counters"] = dict.fromkeys(report.UNRECORDED, 1)
    found = printed(stunwall)
    for name, labels in (
        ("stunwall_unrecorded_packets_total", figures.CAUSES),
        ("stunwall_packets_total", figures.VERDICTS),
        ("stunwall_exposure_seconds_total", Kind),
    ):
        assert sum(sample.startswith(name + "{") for sample in found) == len(labels)
    assert figures.CAUSES.keys() == report.UNRECORDED.keys()
    assert {reason for _, reason in figures.VERDICTS} < set(Reason)


def test_without_a_daemon_it_says_what_the_kernel_says(
    folder: Path, stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    for made, wanted in (
        (Report("wall-only", "", leak=False, counters={"unattended": 4, "exposed": 1}), "wall-only"),
        (Report("down", "", leak=True), "down"),
        (Report("of a newer daemon", "", leak=None), "unknown"),
    ):
        monkeypatch.setattr(report, "current", lambda config, made=made: made)
        found = printed(stunwall)
        assert states(found) == [wanted]
        assert found["stunwall_up"] == 0
        assert found.get("stunwall_leak_possible") == made.leak
        assert not [name for name in found if re.match("stunwall_(packets|events|proof|queue)", name)]
        assert found["stunwall_ledger_readable"] == 0
        if made.counters:
            assert found['stunwall_unrecorded_packets_total{cause="not-ready"}'] == 4
            assert found['stunwall_wall_packets_total{counter="exposed"}'] == 1


def test_a_daemon_that_does_not_answer_is_a_finding_not_a_failure(
    stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    daemon.clear()
    daemon["error"] = "something"
    found = printed(stunwall)
    assert (states(found), found["stunwall_up"]) == (["unknown"], 0)


def test_a_daemon_that_hangs_up_is_one_as_well(folder: Path, stunwall: Stunwall) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(folder / "control.sock"))
        listening.listen()
        accepting = threading.Thread(target=lambda: listening.accept()[0].close())
        accepting.start()
        found = printed(stunwall)
        accepting.join()
    assert (states(found), found["stunwall_up"]) == (["unknown"], 0)


def test_without_a_proof_there_is_no_time_of_one(stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    daemon["proof"] = STATUS["proof"] | {"verdict": "", "time": None}
    assert not [name for name in printed(stunwall) if "proof" in name]
    daemon["proof"] = STATUS["proof"] | {"verdict": "leak", "time": 5.0, "changed": True}
    found = printed(stunwall)
    assert (found["stunwall_proof_sealed"], found["stunwall_proof_outdated"]) == (0, 1)


def test_a_daemon_of_an_older_version_has_fewer_figures(stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    for key in ("judged", "proof", "second_lock", "counters", "unreadable"):
        del daemon[key]
    found = printed(stunwall)
    assert found["stunwall_up"] == 1
    assert not [name for name in found if "proof" in name or "second_lock" in name]


def test_it_tells_nobody_who_or_where_the_user_is(
    stunwall: Stunwall, daemon: dict[str, Any], ledger: None
) -> None:
    daemon |= {
        "config": "/home/alice/c.toml",
        "problems": [f"alice at {ADDRESS}"],
        "allow": [{"why": "alice", "to": ADDRESS}],
        "local_endpoints": [f"{ADDRESS}:1"],
        "exposures": [{"time": 1, "address": ADDRESS, "server": ADDRESS}],
        "gaps": [{"start": 1, "end": 2, "who": "alice", "what": []}],
    }
    daemon["proof"] = STATUS["proof"] | {"interfaces": ["wg-alice"]}
    daemon["interfaces"] = [
        each | {"interface": f"alice-{each['interface']}"} for each in STATUS["interfaces"]
    ]
    result = stunwall("metrics")
    assert "alice" not in result.out
    assert ADDRESS not in result.out
    assert not re.search("wg0|eth0|veth", result.out)


def test_no_value_can_forge_a_sample(stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    daemon["version"] = f'{HOSTILE}"}} 1\nstunwall_up 0'
    lines = stunwall("metrics").out.splitlines()
    assert "stunwall_up 1" in lines
    assert "stunwall_up 0" not in lines


def test_promtool_finds_nothing_wrong(
    stunwall: Stunwall, daemon: dict[str, Any], ledger: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("promtool") is None:
        pytest.fail("this test needs promtool: run it by tests/run.sh unit", pytrace=False)
    monkeypatch.setattr(proc, "rows", lambda: [Row(4780, 7, 5, 6, 8)])
    said = stunwall("metrics").out
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=said, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_file_is_replaced_at_once_and_readable_by_everyone(
    folder: Path, stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    file, outside = folder / "out" / "stunwall.prom", folder / "outside"
    file.parent.mkdir()
    outside.write_text("mine")
    outside.chmod(0o600)
    file.symlink_to(outside)
    (file.parent / ".stunwall.prom.new").symlink_to(outside)
    before = os.umask(0o077)
    try:
        result = stunwall("metrics", "--write", str(file))
    finally:
        os.umask(before)
    assert (result.code, result.out, result.err) == (0, "", "")
    assert values(file.read_text())["stunwall_up"] == 1
    assert (file.is_symlink(), file.stat().st_mode & 0o777) == (False, 0o644)
    assert outside.read_text() == "mine"
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_told_and_left_as_it_is(
    folder: Path, stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    missing = folder / "missing" / "stunwall.prom"
    result = stunwall("metrics", "--write", str(missing))
    assert (result.code, result.out) == (1, "")
    assert result.err == f"stunwall: cannot write {missing}: No such file or directory\n"
    read_only = Path("/proc/stunwall.prom")
    assert stunwall("metrics", "--write", str(read_only)).code == 1


def test_a_record_that_is_no_database_leaves_the_exposure_out(
    folder: Path, stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    (folder / FILE).write_bytes(b"garbage" * 999)
    found = printed(stunwall)
    assert found["stunwall_ledger_readable"] == 0
    assert not [name for name in found if "exposure" in name]


def test_the_ledgers_kinds_are_those_of_the_file(folder: Path, ledger: None) -> None:
    with closing(sqlite3.connect(folder / FILE)) as connection:
        kinds = {kind for (kind,) in connection.execute("SELECT kind FROM ledger")}
    assert kinds <= set(Kind)

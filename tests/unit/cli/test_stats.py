"""cli/stats.py: the record summed up."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from unit.cli.command import HOSTILE, Stunwall
from unit.recorded import event, record


def test_the_most_frequent_come_first_with_bars(folder: Path, stunwall: Stunwall) -> None:
    firefox = [replace(event(port), app="firefox") for port in range(1, 5)]
    record(folder, *firefox, replace(event(5), unit="coturn.service"), event(6))
    result = stunwall("stats")
    assert (result.code, result.err) == (0, "")
    head, *rows = result.out.splitlines()
    assert head.split() == ["APP", "FLOWS"]
    assert [re.sub("█+", "█", row).split() for row in rows] == [
        ["firefox", "4", "█"],
        ["coturn.service", "1", "█"],
        ["unknown", "1", "█"],
    ]
    assert abs(rows[0].count("█") - 4 * rows[1].count("█")) <= 4
    assert max(map(len, rows)) <= 80


def test_known_services_are_named(folder: Path, stunwall: Stunwall) -> None:
    record(folder, replace(event(1), destination="74.125.250.129"), event(2))
    assert "74.125.250.129 (Google)" in stunwall("stats", "--by", "destination").out
    (google, other) = json.loads(stunwall("stats", "--by", "destination", "--json").out)
    other, google = sorted((google, other), key=lambda row: str(row["service"]))
    assert google == {"value": "74.125.250.129", "service": "Google", "flows": 1, "packets": 1, "client": ""}
    assert other["service"] == ""


def test_days_come_in_order(folder: Path, stunwall: Stunwall) -> None:
    day = 86400
    record(folder, event(1, 1e9), event(2, 1e9 + day), event(3, 1e9 + day), event(4, 1e9 + 2 * day))
    days = [line.split()[0] for line in stunwall("stats", "--by", "day").out.splitlines()[1:]]
    assert len(days) == 3
    assert days == sorted(days)


def test_what_is_left_out_is_said(folder: Path, stunwall: Stunwall) -> None:
    record(folder, *(replace(event(port), app=f"app{port}") for port in range(1, 6)))
    assert stunwall("stats", "-n", "2").out.splitlines()[-1] == "and 3 more with 3 flows (--limit)"


def test_the_filters_are_those_of_the_log(folder: Path, stunwall: Stunwall) -> None:
    record(folder, replace(event(1), app="firefox"), event(2))
    assert [row["value"] for row in json.loads(stunwall("stats", "--json", "--app", "fire*").out)] == [
        "firefox"
    ]
    assert stunwall("stats", "--app", "none").out.startswith("There are no such entries.")


@pytest.mark.parametrize("by", ["app", "destination", "day", "reason", "verdict"])
def test_an_empty_record_is_said(folder: Path, stunwall: Stunwall, by: str) -> None:
    record(folder)
    assert stunwall("stats", "--by", by).out.startswith("There are no such entries.")


def test_nothing_from_the_record_reaches_the_terminal_raw(folder: Path, stunwall: Stunwall) -> None:
    record(folder, replace(event(1), app=HOSTILE.replace("\0", "")))
    assert "\x1b" not in stunwall("stats").out


def test_clients_are_those_behind_this_machine_with_their_names(folder: Path, stunwall: Stunwall) -> None:
    laptop = replace(event(1), source="10.77.0.11", incoming="lan0", client="laptop", mac="52:54:00:77:00:01")
    stranger = replace(event(3), source="198.51.100.3", incoming="wlan0", verdict="exposed")
    several = replace(event(5), source="", incoming="lan0", flows=7)
    record(
        folder,
        laptop,
        replace(laptop, source_port=2),
        replace(laptop, source_port=7, client=""),
        stranger,
        several,
        event(6),
    )
    result = stunwall("stats", "--by", "client", "--json")
    assert [(row["value"], row["client"], row["flows"]) for row in json.loads(result.out)] == [
        ("", "", 7),
        ("10.77.0.11", "laptop", 2),
        ("10.77.0.11", "", 1),
    ]
    shown = stunwall("stats", "--by", "client").out
    assert "10.77.0.11 (laptop) " in shown
    assert "several " in shown
    hidden = stunwall("stats", "--by", "client", "--redact").out
    assert "laptop" not in hidden
    assert "10.77.0.11" not in hidden
    assert "(client-" in hidden

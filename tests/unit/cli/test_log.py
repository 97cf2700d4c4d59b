"""cli/log.py: what `stunwall log` prints from a real record."""

import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stunwall.model import Event
from stunwall.record.schema import FILE
from unit.cli.command import ENVIRONMENT, Stunwall, command, on_a_terminal
from unit.recorded import event, record, sql

LONG = replace(
    event(2),
    destination="2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    family=6,
    interface="enp0s31f6",
    protocol="classic-stun",
    method="SharedSecret",
    verdict="accepted",
    reason="allowed",
)


def test_the_log_is_a_table_with_the_newest_last(folder: Path, stunwall: Stunwall) -> None:
    record(folder, event(1), replace(event(2), protocol="turn", method="Allocate", destination_port=19302))
    result = stunwall("log")
    assert (result.code, result.err) == (0, "")
    head, first, second = result.out.splitlines()
    assert head.split() == ["ID", "TIME", "VERDICT", "N", "APP", "WHAT", "TO", "INTERFACE"]
    clock = r"\d\d[:-]\d\d[:-]\d\d"
    assert re.fullmatch(rf"    1 {clock} blocked +1 +stun Binding +203\.0\.113\.7:3478 +eth0", first)
    assert re.fullmatch(rf"    2 {clock} blocked +1 +turn Allocate +203\.0\.113\.7:19302 +eth0", second)


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        (
            {"app": "org.mozilla.firefox", "unit": "app-x.scope", "executable": "/usr/bin/x"},
            "org.mozilla.firefox",
        ),
        ({"container": "0123456789ab", "unit": "docker-0.scope"}, "0123456789ab"),
        ({"unit": "coturn.service", "executable": "/usr/bin/turnserver"}, "coturn.service"),
        ({"unit": "session-2.scope", "executable": "/usr/bin/stun"}, "stun"),
        ({"unit": "session-2.scope"}, "session-2.scope"),
        ({"incoming": "docker0"}, "192.0.2.17"),
        ({"app": "\x1b[2J"}, "?[2J"),
    ],
)
def test_the_column_app_says_whose_it_is(
    folder: Path, stunwall: Stunwall, sender: dict[str, Any], shown: str
) -> None:
    record(folder, replace(event(1), **sender))
    _, line = stunwall("log").out.splitlines()
    assert re.search(rf" 1 {re.escape(shown)} +stun Binding ", line)


def test_an_entry_for_many_flows_says_how_many(folder: Path, stunwall: Stunwall) -> None:
    many = replace(
        event(1), flows=412, count=900, source="", source_port=0, destination="", destination_port=0
    )
    record(folder, many)
    _, line = stunwall("log").out.splitlines()
    assert re.search(r" 900 +stun Binding +412 flows +eth0", line)
    shown = stunwall("show", "1").out
    for text in ("this machine", "several destinations", "412 of this sender"):
        assert text in shown


@pytest.mark.parametrize(
    "interface",
    [
        "enp0s31f6",
        "enxa0cec8123456",
    ],
)
def test_on_a_terminal_no_line_is_wider_than_80_columns(folder: Path, interface: str) -> None:
    record(folder, event(1), replace(LONG, interface=interface))
    lines = on_a_terminal(command(folder, "log"), 80)
    assert len(lines) == 3
    assert [line for line in lines if len(line) > 80] == []
    assert "…" in lines[2]


def test_on_a_wide_terminal_and_in_a_pipe_addresses_are_not_cut(folder: Path, stunwall: Stunwall) -> None:
    record(folder, LONG)
    endpoint = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:3478"
    assert endpoint in stunwall("log").out
    assert any(endpoint in line for line in on_a_terminal(command(folder, "log"), 120))


def test_the_fields_of_the_json_are_those_of_an_event(folder: Path, stunwall: Stunwall) -> None:
    record(folder, event(1), LONG)
    lines = [json.loads(line) for line in stunwall("log", "--json").out.splitlines()]
    names = ["id", *(field.name for field in fields(Event) if field.name != "packet"), "address"]
    assert [list(line) for line in lines] == [names, names]
    known = {name: getattr(LONG, name) for name in names[1:-1]}
    assert lines[1] == {"id": 2} | known | {"address": ""}


def _since(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize(
    ("since", "seen"),
    [
        ("30s", [3]),
        ("30m", [3]),
        ("2h", [2, 3]),
        ("1d", [2, 3]),
        ("1w", [1, 2, 3]),
        ("999999999w", [1, 2, 3]),
        ("0s", []),
        (_since(datetime.now() - timedelta(hours=3)), [2, 3]),
        ((datetime.now() - timedelta(days=6)).strftime("%Y-%m-%d"), [1, 2, 3]),
        ("2000-01-01", [1, 2, 3]),
        ("2000-01-01T12:30Z", [1, 2, 3]),
        ("9998-12-31", []),
    ],
)
def test_since_accepts_durations_dates_and_times(
    folder: Path, stunwall: Stunwall, since: str, seen: list[int]
) -> None:
    record(
        folder, *(event(port, seen=time.time() - age) for port, age in ((1, 5 * 86400), (2, 3600), (3, 1)))
    )
    result = stunwall("log", "--json", "--since", since)
    assert (result.code, result.err) == (0, "")
    assert [json.loads(line)["source_port"] for line in result.out.splitlines()] == seen


@pytest.mark.parametrize(
    "since",
    ["x", "5", "5y", "-5m", "5 m", "2026-13-01", "yesterday", "1e3s", "10000-01-01", f"{10**30}s"],
)
def test_an_invalid_since_is_a_usage_error_that_shows_valid_forms(
    folder: Path, stunwall: Stunwall, since: str
) -> None:
    record(folder, event())
    result = stunwall("log", f"--since={since}")
    assert (result.code, result.out) == (2, "")
    assert "expected a time such as 30m, 2h, 7d, 2026-01-01 or 2026-01-01T12:30" in " ".join(
        result.err.split()
    )


def test_limit_keeps_the_newest_entries_50_by_default(folder: Path, stunwall: Stunwall) -> None:
    record(folder, *(event(port) for port in range(1, 61)))

    def ids(*arguments: str) -> list[int]:
        return [json.loads(line)["id"] for line in stunwall("log", "--json", *arguments).out.splitlines()]

    assert ids() == list(range(11, 61))
    assert ids("--limit", "2") == [59, 60]
    assert ids("-n", "1000") == list(range(1, 61))
    assert ids("-n", "9" * 30) == list(range(1, 61))


def test_an_empty_log_says_how_to_see_stunwall_at_work(folder: Path, stunwall: Stunwall) -> None:
    record(folder)
    assert stunwall("log").out.startswith("Nothing was blocked. To see stunwall at work, open a page")
    assert stunwall("log", "--since", "2h").out.startswith("Nothing was blocked in the last 2h. ")
    since = stunwall("log", "--since", "2026-01-01")
    assert since.out.startswith("Nothing was blocked since 2026-01-01. ")
    assert stunwall("log", "--json").out == ""


def test_the_log_shows_events_without_a_packet(folder: Path, stunwall: Stunwall) -> None:
    record(
        folder,
        Event.note(time.time(), "paused", "for 60 s, by user 0"),
        Event.note(time.time(), "resumed", "its time is over"),
    )
    first, second = stunwall("log").out.splitlines()[1:]
    assert re.fullmatch(r" +1 \S+ paused +1 +for 60 s, by user 0", first)
    assert re.fullmatch(r" +2 \S+ resumed +1 +its time is over", second)
    assert "60 s" in json.loads(stunwall("log", "--json", "-n", "2").out.splitlines()[0])["reason"]


@contextmanager
def _following(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command(folder, "log", "--follow", "--json", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a background job
    ) as run:
        try:
            yield run
        finally:
            run.kill()


def _next_port(run: subprocess.Popen[str]) -> object:
    assert run.stdout is not None
    return json.loads(run.stdout.readline())["source_port"]


def test_follow_prints_new_entries_until_ctrl_c(folder: Path) -> None:
    record(folder, event(1))
    with _following(folder) as run:
        assert _next_port(run) == 1
        record(folder, event(2))
        assert _next_port(run) == 2
        run.send_signal(signal.SIGINT)
        _, err = run.communicate()
    assert (run.returncode, err) == (0, "")


def test_follow_waits_for_a_record_and_goes_on_with_a_new_one(folder: Path) -> None:
    with _following(folder) as run:
        assert run.stderr is not None
        assert "waiting: there is no record yet" in run.stderr.readline()
        record(folder, event(1))
        assert _next_port(run) == 1
        (folder / FILE).rename(folder / "aside")  # as the daemon does with a damaged one
        assert "waiting: there is no record yet" in run.stderr.readline()
        record(folder, event(2))
        assert _next_port(run) == 2
        run.send_signal(signal.SIGINT)
        run.communicate()
    assert run.returncode == 0


def test_follow_prints_only_what_fits(folder: Path) -> None:
    record(folder, event(1), replace(event(2), app="firefox"))
    with _following(folder, "--app", "fire*") as run:
        assert _next_port(run) == 2
        record(folder, event(3), replace(event(4), app="firefox"))
        assert _next_port(run) == 4
        run.send_signal(signal.SIGINT)
        run.communicate()
    assert run.returncode == 0


def test_filters_compose(folder: Path, stunwall: Stunwall) -> None:
    mine = replace(event(1), app="firefox", uid=1000, user="alice", destination="74.125.250.129")
    record(folder, mine, replace(mine, source_port=2, uid=1001, user="bob"), event(3))

    def ports(*options: str) -> list[int]:
        return [
            json.loads(line)["source_port"] for line in stunwall("log", "--json", *options).out.splitlines()
        ]

    assert ports("--app", "firefox", "--user", "alice") == [1]
    assert ports("--to", "google") == [1, 2]
    assert ports("--to", "google", "--user", "1001") == [2]
    assert ports("--to", "203.0.113.0/24") == ports("--to", "203.0.113.7:3478") == [3]
    assert ports("--to", "203.0.113.7:1") == ports("--verdict", "redirected") == []
    assert ports("--until", "1h") == []
    assert stunwall("log", "--user", "carol").out.startswith("There is no such entry.")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--verdict=lost", "expected one of: accepted, allowed, blocked, exposed"),
        ("--reason=lost", "expected one of: bound, device-bound"),
        ("--to=example.org", "expected an address, a network or HOST:PORT"),
        ("--to=203.0.113.7:99999", "expected an address, a network or HOST:PORT"),
        ("--user=99999999999", "expected the name or number of a user"),
        ("--until=soon", "expected a time such as 30m"),
    ],
)
def test_a_wrong_filter_is_a_usage_error_that_shows_valid_forms(
    folder: Path, stunwall: Stunwall, option: str, said: str
) -> None:
    record(folder, event())
    result = stunwall("log", option)
    assert (result.code, result.out) == (2, "")
    assert said in " ".join(re.sub("[│╭╮╰╯─]", " ", result.err).split())


@pytest.mark.parametrize("options", ["", "--json"])
def test_a_pipe_that_is_closed_early_is_no_error(folder: Path, options: str) -> None:
    record(folder, event())
    columns = ", ".join(field.name for field in fields(Event))
    for _ in range(12):
        sql(folder, f"INSERT INTO events ({columns}) SELECT {columns} FROM events")
    piped = f"{shlex.join(command(folder, 'log', '-n', '5000'))} {options} | head -1"
    done = subprocess.run(["sh", "-c", piped], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1

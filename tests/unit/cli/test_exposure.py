"""cli/exposure.py: the sentence, the table, the JSON and the exit code; and the line in `stunwall status`."""

import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stunwall.record.ledger import Kind, Store, now
from stunwall.record.schema import FILE, open_for_writing
from unit.cli.command import HOSTILE, Stunwall
from unit.recorded import event, record, sql


def ledger(folder: Path, *rows: tuple[Kind, str, float]) -> None:
    """Write what was so for so many seconds each, oldest first, up to now."""
    end = now()
    ago = sum(seconds for _, _, seconds in rows)
    with closing(open_for_writing(folder / FILE)) as connection, connection:
        store = Store(connection)
        for kind, why, seconds in rows:
            store.advance(replace(end, wall=end.wall - ago, awake=end.awake - ago), kind, why)
            ago -= seconds
        store.advance(end, *rows[-1][:2])
        # A machine that has just booted: no time before that is in a real ledger.
        connection.execute("UPDATE ledger SET awake = max(0, awake)")


def test_always_sealed_is_exit_code_0(folder: Path, stunwall: Stunwall) -> None:
    ledger(folder, (Kind.SEALED, "", 3600))
    result = stunwall("exposure")
    assert (result.code, result.out, result.err) == (
        0,
        "Sealed for 100 % of 1 h 0 min; nothing proven.\n",
        "",
    )


def test_what_was_not_sealed_is_a_row_each(folder: Path, stunwall: Stunwall) -> None:
    ledger(folder, (Kind.SEALED, "", 300), (Kind.PAUSED, HOSTILE, 60), (Kind.SEALED, "", 240))
    result = stunwall("exposure")
    assert result.code == 1
    sentence, row = result.out.splitlines()
    assert sentence == "Sealed for 90 % of 10 min 0 s; paused 1 time, 1 min 0 s; nothing proven."
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+  1 min 0 s  paused     .*forged.*", row)
    assert row.isprintable()
    values = json.loads(stunwall("exposure", "--json").out)
    assert values["seconds"]["paused"] == pytest.approx(60, abs=0.01)
    assert [span["kind"] for span in values["spans"]] == ["paused"]


def test_the_columns_are_aligned(folder: Path, stunwall: Stunwall) -> None:
    long, middle, short = (Kind.STOPPED, "-", 183_600), (Kind.EXPOSED, "-", 750), (Kind.UNKNOWN, "-", 4.5)
    ledger(folder, long, middle, short)
    rows = stunwall("exposure").out.splitlines()[1:]
    found = [re.fullmatch(r"(\S+ \S+ \S+) +(.*?)  (\S+ +)-", row) for row in rows]
    assert [match and match[2] for match in found] == ["2 d 3 h", "12 min 30 s", "4 s"]
    for group in (2, 3):
        assert len({match.end(group) for match in found if match}) == 1


def test_only_the_time_asked_for_counts(folder: Path, stunwall: Stunwall) -> None:
    ledger(folder, (Kind.PAUSED, "by root", 60), (Kind.SEALED, "", 3600))
    assert stunwall("exposure").code == 1
    result = stunwall("exposure", "--since", "30m")
    assert (result.code, result.out) == (0, "Sealed for 100 % of 30 min 0 s; nothing proven.\n")


def test_a_proven_exposure_is_exit_code_1(folder: Path, stunwall: Stunwall) -> None:
    ledger(folder, (Kind.SEALED, "", 60))
    record(folder, replace(event(), verdict="exposed"))
    result = stunwall("exposure")
    assert (result.code, result.out) == (1, "Sealed for 100 % of 1 min 0 s; 1 proven exposure.\n")


def test_a_record_without_a_ledger_says_that_nothing_is_known(folder: Path, stunwall: Stunwall) -> None:
    record(folder, event())
    sql(folder, "DROP TABLE ledger")
    assert (stunwall("exposure").code, stunwall("exposure").out) == (1, "Nothing is known of this time.\n")


def test_status_sums_it_up(folder: Path, stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    ledger(folder, (Kind.SEALED, "", 540), (Kind.STOPPED, "why", 60))
    said = re.sub(r"\s+", " ", stunwall("status").out)
    assert re.search(
        r"Exposure Sealed for \S+ % of 10 min \d+ s; stopped 1 time, 1 min \d+ s; nothing proven\.", said
    )
    values = json.loads(stunwall("status", "--json").out)["exposure"]
    assert values["exposed"] == 0
    assert values["seconds"]["sealed"] == pytest.approx(540, abs=0.01)


def test_without_a_record_status_says_nothing_of_it(stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    assert "Exposure" not in stunwall("status").out
    assert json.loads(stunwall("status", "--json").out)["exposure"] is None


def test_proven_exposures_are_found_by_an_index(folder: Path) -> None:
    with closing(open_for_writing(folder / FILE)) as connection:
        query = "SELECT count(*) FROM events WHERE last_time >= ? AND verdict = 'exposed'"
        (plan,) = connection.execute(f"EXPLAIN QUERY PLAN {query}", (0.0,)).fetchall()
    assert "INDEX events_exposed" in plan[3]

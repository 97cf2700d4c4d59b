"""summary.py: what is kept beside the entries agrees with them, and is what a question is answered from."""

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from stunwall.model import Event
from stunwall.record.filter import Filter
from stunwall.record.reader import GROUPS, RecordReader
from stunwall.record.schema import FILE, UPDATE, open_for_writing
from unit.record.writing import NOW, event, stored
from unit.recorded import record, sql, without_summary

QUARTER = NOW // 900 * 900
MIDNIGHT = (NOW // 86400 + 2) * 86400
FILTERS = (
    Filter(),
    Filter(app="fire*"),
    Filter(app="none"),
    Filter(verdict="redirected", interface="wlan0"),
    Filter(user="alice"),
    Filter(user="1000"),
    Filter(to=(ip_network("203.0.113.0/25"),)),
    Filter(to=(ip_network("203.0.113.0/25"),), port=3479, app="firefox"),
    Filter(since=NOW + 40, until=NOW + 5000),
    Filter(since=NOW + 90_000),
    Filter(until=NOW + 90_000),
    Filter(since=NOW + 3000, until=NOW + 250_000),
    Filter(since=NOW + 3000, until=NOW + 250_000, app="fire*", verdict="blocked"),
    Filter(since=MIDNIGHT - 9000, until=MIDNIGHT + 9000),
    Filter(since=MIDNIGHT - 90_000, until=MIDNIGHT + 90_000),
    Filter(since=MIDNIGHT, until=MIDNIGHT + 86400),
    Filter(user="1000", verdict="blocked", until=MIDNIGHT),
    Filter(since=NOW + 3000, to=(ip_network("203.0.113.0/25"),)),
)


def some_events() -> list[Event]:
    dice = random.Random(1)
    return [
        replace(
            event(port, dice.randrange(400_000)),
            app=dice.choice(("firefox", "zoom", "")),
            unit=dice.choice(("coturn.service", "")),
            verdict=dice.choice(("blocked", "redirected")),
            interface=dice.choice(("eth0", "wlan0")),
            destination=f"203.0.113.{dice.randrange(1, 250)}",
            destination_port=dice.choice((3478, 3479)),
            uid=1000,
            user="alice",
            flows=dice.randrange(1, 5),
        )
        for port in range(1, 80)
    ] + [Event.note(NOW, "paused", "for a while")]


def change(folder: Path) -> None:
    """Let entries grow as the writer does it, one of them into another quarter of an hour, and delete some."""
    with closing(open_for_writing(folder / FILE)) as connection, connection:
        connection.executemany(UPDATE, [(NOW + 200_000, 3, 2, 5), (NOW, 1, 0, 6)])
        connection.execute("DELETE FROM events WHERE id % 7 = 0")


def answers(folder: Path) -> list[object]:
    with closing(RecordReader(folder)) as reader:
        return [list(reader.bars(QUARTER + 9000, QUARTER, 3600))] + [
            (
                [
                    list(reader.events(wanted, after=after, limit=limit))
                    for after in (0, 40)
                    for limit in (3, 99)
                ],
                [list(reader.totals(wanted, by)) for by in GROUPS],
            )
            for wanted in FILTERS
        ]


def test_the_answers_are_those_of_the_entries_themselves(tmp_path: Path) -> None:
    record(tmp_path, *some_events())
    change(tmp_path)
    with_summary = answers(tmp_path)
    without_summary(tmp_path)
    assert with_summary == answers(tmp_path)


def test_a_file_of_version_2_gets_the_summary_that_it_would_have_had(tmp_path: Path) -> None:
    record(tmp_path, *some_events())
    change(tmp_path)
    events, before = stored(tmp_path), tables(tmp_path)
    without_summary(tmp_path)
    open_for_writing(tmp_path / FILE).close()
    assert (stored(tmp_path), tables(tmp_path)) == (events, before)
    change(tmp_path)  # the triggers are there, too
    assert tables(tmp_path) != before


def test_a_removed_trigger_is_repaired_at_the_next_start(tmp_path: Path) -> None:
    record(tmp_path, event(1))
    sql(tmp_path, "DROP TRIGGER events_updated; DELETE FROM kinds")
    record(tmp_path, event(2))
    with closing(RecordReader(tmp_path)) as reader:
        assert list(reader.totals(Filter(), "verdict")) == [("blocked", 2, 2)]


def test_a_trigger_finds_the_row_of_an_entry_without_a_search(tmp_path: Path) -> None:
    record(tmp_path, event(1))
    query = "DELETE FROM entries WHERE kind = (SELECT id FROM kinds) AND id = (SELECT id FROM events)"
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    # Without INTEGER in the table, SQLite compares by another affinity than the index has (datatype3.html §4.2).
    assert "SEARCH entries USING PRIMARY KEY (kind=? AND id=?)" in plan


def test_nothing_is_left_of_entries_that_were_deleted(tmp_path: Path) -> None:
    record(tmp_path, *some_events())
    sql(tmp_path, "DELETE FROM events")
    assert not any(tables(tmp_path))


def tables(folder: Path) -> list[list[tuple[object, ...]]]:
    """What is in the summary, without the numbers that kinds happen to have, and when the earliest of a sum began."""
    with closing(sqlite3.connect(folder / FILE)) as connection:
        kinds = {row[0]: row[1:-1] for row in connection.execute("SELECT * FROM kinds")}
        entries = [(kinds[row[0]], *row[1:]) for row in connection.execute("SELECT * FROM entries")]
        by_kind = [
            [(row[0], kinds[row[1]], *row[2:-1]) for row in connection.execute(f"SELECT * FROM {name}")]
            for name in ("destinations", "days")
        ]
        others = [
            [row[:-1] for row in connection.execute(f"SELECT * FROM {name}")]
            for name in ("quarters", "day_destinations")
        ]
    return [sorted(rows) for rows in (list(kinds.values()), entries, *by_kind, *others)]


def plan(folder: Path, monkeypatch: pytest.MonkeyPatch, wanted: Filter, by: str = "") -> list[str]:
    """How SQLite answers a question of the reader: the plans of its queries."""
    plans: list[str] = []
    with closing(RecordReader(folder)) as reader:
        ask = reader._connection.execute
        rows = reader._rows

        def explained(query: str, values: tuple[object, ...]) -> object:
            plans.extend(row[3] for row in ask(f"EXPLAIN QUERY PLAN {query}", values))
            return rows(query, values)

        monkeypatch.setattr(reader, "_rows", explained)
        list(reader.totals(wanted, by) if by else reader.events(wanted, limit=50))
    return plans


@pytest.mark.parametrize("wanted", FILTERS[1:])
def test_a_filter_reads_no_entry_that_it_does_not_want(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Filter
) -> None:
    record(tmp_path, event(1))
    with_summary = plan(tmp_path, monkeypatch, wanted)
    assert any("kinds" in step for step in with_summary)
    every = [step for step in with_summary if "events" in step or "entries" in step]
    assert set(every) <= {
        "SEARCH entries USING PRIMARY KEY (kind=? AND id>?)",
        "SEARCH entries USING COVERING INDEX entries_time (last_time>?)",
        "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)",
    }
    without_summary(tmp_path)
    assert any("events" in step and "=?" not in step for step in plan(tmp_path, monkeypatch, wanted))


@pytest.mark.parametrize("by", GROUPS.keys() - {"client"})
def test_statistics_of_all_entries_are_summed_up_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    record(tmp_path, event(1))
    assert "events" not in "".join(plan(tmp_path, monkeypatch, Filter(), by))


def test_clients_are_summed_up_from_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path, event(1))
    assert (
        plan(tmp_path, monkeypatch, Filter(), "client")[0] == "SCAN events USING COVERING INDEX events_client"
    )

"""reader.py: what the command sees of a record that is written, broken or tampered with."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stunwall.config import Retention
from stunwall.model import Event
from stunwall.record import schema
from stunwall.record.filter import Filter
from stunwall.record.reader import RecordReader
from stunwall.record.schema import RecordError, RecordPermissionError
from unit.record import writing
from unit.record.writing import event, running
from unit.recorded import record as record_
from unit.recorded import sql, version_1

AGENT = Path(__file__).resolve().parents[3] / "agent"


def test_a_reader_sees_what_a_living_writer_has_written_and_what_an_ended_one_has(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(event(1))
        with closing(RecordReader(tmp_path)) as record:
            run.write(event(2))
            assert [each.source_port for _, each in record.events()] == [1, 2]
    assert [file.name for file in tmp_path.iterdir()] == [schema.FILE]
    with closing(RecordReader(tmp_path)) as record:
        assert record.last_id() == 2


def test_a_reader_without_the_right_to_write_reads_a_record_whose_writer_has_ended(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(event())
    os.chmod(tmp_path, 0o555)  # noqa: PTH101
    for folder in tmp_path.parents[:2]:
        if os.geteuid() == 0:
            folder.chmod(folder.stat().st_mode | 0o755)
    (tmp_path / schema.FILE).chmod(0o444)
    script = (
        "import os, pathlib\nfrom stunwall.record.reader import RecordReader\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        f"print(RecordReader(pathlib.Path({str(tmp_path)!r})).last_id())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(AGENT)},
    )
    os.chmod(tmp_path, 0o755)  # noqa: PTH101
    assert done.stdout == "1\n", done.stderr


def test_events_are_filtered_by_time_id_and_number_and_come_oldest_first(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        for port in range(1, 6):
            run.write(event(port, after=port))
    with closing(RecordReader(tmp_path)) as record:

        def ports(**given: float) -> list[int]:
            wanted = Filter(since=given.pop("since", 0.0))
            return [each.source_port for _, each in record.events(wanted, **given)]  # type: ignore[arg-type]

        assert ports() == [1, 2, 3, 4, 5]
        assert ports(since=writing.NOW + 3) == [3, 4, 5]
        assert ports(after=3) == [4, 5]
        assert ports(limit=2) == [4, 5]
        assert ports(limit=2, since=writing.NOW + 5) == [5]
        assert ports(limit=10**30) == [1, 2, 3, 4, 5]
        assert ports(since=writing.NOW + 6) == []
        assert record.blocked(writing.NOW + 4) == (2, 2)
        assert record.blocked(0) == (5, 5)
        assert record.redirected(0) == (0, 0)


def test_an_event_is_found_by_its_id_and_no_number_is_too_strange_to_ask_for(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(event())
    with closing(RecordReader(tmp_path)) as record:
        assert record.event(1) == event()
        for number in (0, -1, 2, 2**63 - 1, 2**63, 10**40, -(10**40)):
            assert record.event(number) is None


def test_a_file_of_version_1_is_read_before_the_daemon_has_changed_it(tmp_path: Path) -> None:
    version_1(tmp_path, event(1))
    with closing(RecordReader(tmp_path)) as record:
        assert [each for _, each in record.events()] == [event(1)]
        assert record.event(1) == event(1)


def test_an_empty_record_has_no_events(tmp_path: Path) -> None:
    with running(tmp_path):
        pass
    with closing(RecordReader(tmp_path)) as record:
        assert (list(record.events()), record.last_id(), record.blocked(0), record.lost()) == (
            [],
            0,
            (0, 0),
            0,
        )


def test_a_record_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="there is no record yet"):
        RecordReader(tmp_path)
    with pytest.raises(RecordError, match="there is no record yet"):
        RecordReader(tmp_path / "missing")
    with pytest.raises(RecordError, match="cannot read"):
        RecordReader(tmp_path / ("x" * 300))


@pytest.mark.parametrize("content", [b"", b"garbage" * 999, None])
def test_a_reader_of_a_broken_file_gets_one_error(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        (tmp_path / schema.FILE).mkdir()
    else:
        (tmp_path / schema.FILE).write_bytes(content)
    with pytest.raises(RecordError, match="cannot read") as caught:
        RecordReader(tmp_path)
    assert not isinstance(caught.value, RecordPermissionError)


HOSTILE = [
    "'text'",
    "x'00ff'",
    "-1",
    "1e999",
    "-1e999",
    "9223372036854775807",
    "1e18",
    "CAST(x'ff' AS TEXT)",
    "CAST(x'1b5b' AS TEXT)",
    "0.5",
    "''",
    "zeroblob(1000000)",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_row_that_was_tampered_with_gives_an_event_of_the_right_types_or_events_error(
    tmp_path: Path, value: str
) -> None:
    with running(tmp_path) as run:
        run.write(event())
    whole = (tmp_path / schema.FILE).read_bytes()
    for column, kind in Event.__annotations__.items():
        (tmp_path / schema.FILE).write_bytes(whole)
        sql(tmp_path, f"UPDATE events SET {column} = {value}")
        with closing(RecordReader(tmp_path)) as record:
            found = [_read(record.event, 1), *(_read(lambda: list(record.events())) or [])]
            for each in found:
                value_read = getattr(each[1] if isinstance(each, tuple) else each, column, None)
                assert value_read is None or isinstance(value_read, (int, float) if kind is float else kind)
            for ask in (record.lost, record.last_id, lambda: record.blocked(0)):
                _read(ask)


def _read(ask: Callable[..., object], *values: object) -> Any:
    """What is answered, None if the answer is RecordError: nothing else may be raised."""
    try:
        return ask(*values)
    except RecordError:
        return None


_OTHER = "DROP TABLE events; CREATE TABLE events (id, count, last_time, verdict);"


@pytest.mark.parametrize(
    ("script", "ask", "answer"),
    [
        ("INSERT INTO lost VALUES (1, 1e999)", "lost", None),
        ("INSERT INTO lost VALUES ('x', 'y')", "lost", 0),
        ("DROP TABLE lost", "lost", None),
        ("DROP TABLE lost", "last_id", 1),
        (f"{_OTHER} INSERT INTO events VALUES ('x', 1, 1, 'blocked')", "last_id", None),
        (f"{_OTHER} INSERT INTO events VALUES (1, 1e999, 1, 'blocked')", "blocked", None),
        (f"{_OTHER} INSERT INTO events VALUES (1, 'many', 1, 'blocked')", "blocked", (1, 0)),
        (f"{_OTHER} INSERT INTO events VALUES (1, 1, 1, 'blocked')", "events", None),
        (f"{_OTHER} INSERT INTO events VALUES (1, 1, 1, 'blocked')", "event", None),
    ],
)
def test_tables_that_were_tampered_with_give_numbers_or_events_error(
    tmp_path: Path, script: str, ask: str, answer: object
) -> None:
    with running(tmp_path) as run:
        run.write(event())
    sql(tmp_path, script)
    with closing(RecordReader(tmp_path)) as record:
        asked: dict[str, Callable[[], object]] = {
            "lost": record.lost,
            "last_id": record.last_id,
            "blocked": lambda: record.blocked(0),
            "events": lambda: list(record.events()),
            "event": lambda: record.event(1),
        }
        assert _read(asked[ask]) == answer


def test_a_page_has_the_events_of_a_user_or_of_all_in_either_direction(tmp_path: Path) -> None:
    record_(tmp_path, *(replace(event(port), uid=uid) for port, uid in enumerate((7, 8, 7, -1, 7), 1)))
    with closing(RecordReader(tmp_path)) as record:

        def ids(uid: int | None, limit: int = 9, **given: int) -> list[int]:
            return [number for number, _ in record.page(uid, limit=limit, **given)]

        assert ids(None) == [1, 2, 3, 4, 5]
        assert ids(7) == [1, 3, 5]
        assert ids(7, after=1) == [3, 5]
        assert ids(7, after=1, limit=1) == [3]
        assert ids(7, before=5) == [3, 1]
        assert ids(7, before=10**30, limit=2) == [5, 3]
        assert ids(None, before=3) == [2, 1]
        assert ids(9) == []


@pytest.mark.parametrize("which", ["id > 1 ORDER BY id ASC", "id < 9 ORDER BY id DESC"])
def test_a_page_is_found_by_an_index_and_nothing_is_sorted(tmp_path: Path, which: str) -> None:
    record_(tmp_path, event())
    with closing(sqlite3.connect(tmp_path / schema.FILE)) as connection:
        query = f"EXPLAIN QUERY PLAN SELECT * FROM events WHERE uid = 1 AND {which} LIMIT 1"
        plan = [step[3] for step in connection.execute(query)]
    assert plan == [f"SEARCH events USING INDEX events_uid (uid=? AND rowid{which[3]}?)"]


@pytest.mark.parametrize("own_only", [False, True])
def test_with_own_only_nobody_else_can_read_the_file(tmp_path: Path, own_only: bool) -> None:
    with running(tmp_path, Retention(own_only=not own_only)) as run:
        run.write(event(1))
        run.recorder.keep = Retention(own_only=own_only)
        run.write(event(2))
        modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob(f"{schema.FILE}*")}
        assert modes == {0o600 if own_only else 0o640}
        with closing(RecordReader(tmp_path)) as record:
            assert record.last_id() == 2

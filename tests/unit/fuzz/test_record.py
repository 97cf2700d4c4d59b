"""A record that somebody has tampered with: any value in any column, and damage to the file itself."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stunwall.record.reader import RecordReader
from stunwall.record.schema import COLUMNS, FILE, RecordError
from unit.cli.command import HOSTILE, Result, Stunwall
from unit.damage import damaged
from unit.fuzz.test_packets import PACKETS
from unit.recorded import event, record
from vectors import rfc5769

_TEXTS = st.one_of(
    st.text(max_size=30), st.sampled_from([HOSTILE, "blocked", "exposed", "gap", "outside-vpn", "wall"])
)
# What fits a column, by its type.
_FITTING: dict[type, st.SearchStrategy[object]] = {
    float: st.floats(0, 4e9),
    int: st.one_of(st.integers(0, 70000), st.integers(-(2**63), 2**63 - 1)),
    str: _TEXTS,
    bytes: damaged([*PACKETS, *rfc5769.ALL.values()]),
}
_ANY = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), _TEXTS, st.binary(max_size=30))
FITTING = st.tuples(*(_FITTING[type(value)] for value in astuple(event())))
ROWS = st.tuples(
    *(st.one_of(_FITTING[type(value)], _FITTING[type(value)], _ANY) for value in astuple(event()))
)


@pytest.fixture
def tampered(folder: Path) -> Path:
    """The folder of a record without events."""
    record(folder)
    return folder


def insert(folder: Path, row: tuple[object, ...], as_text: str = "") -> None:
    """Make a row the only event; the column `as_text` becomes text, whatever its bytes are."""
    places = ", ".join("CAST(? AS TEXT)" if name == as_text else "?" for name in COLUMNS)
    with closing(sqlite3.connect(folder / FILE)) as connection, connection:
        connection.execute("DELETE FROM events")
        connection.execute(f"INSERT INTO events (id, {', '.join(COLUMNS)}) VALUES (1, {places})", row)


def read_all(folder: Path) -> None:
    """Everything that the command reads; only a RecordError is in order."""
    questions: tuple[Callable[[RecordReader], object], ...] = (
        lambda record: list(record.events()),
        lambda record: record.event(1),
        RecordReader.last_id,
        RecordReader.lost,
        lambda record: record.blocked(0.0),
        lambda record: record.redirected(0.0),
    )
    with suppress(RecordError), closing(RecordReader(folder)) as reader:
        for ask in questions:
            with suppress(RecordError):
                ask(reader)


def assert_plain(done: Result) -> None:
    assert (done.out + done.err).replace("\n", "").isprintable(), done


@given(ROWS, st.sampled_from(["", *COLUMNS]))
# The error about it named the text, as it is.
@example((*astuple(event())[:4], b"\x1b]0;owned\x80", *astuple(event())[5:]), "reason")
def test_any_row_is_an_event_or_a_clear_error(
    tampered: Path, stunwall: Stunwall, row: tuple[object, ...], as_text: str
) -> None:
    insert(tampered, row, as_text)
    read_all(tampered)
    for command in (("log",), ("show", "1")):
        done = stunwall(*command)
        assert_plain(done)
        assert done.code == bool(done.err)


@given(FITTING)
def test_any_event_prints_as_plain_text(tampered: Path, stunwall: Stunwall, row: tuple[object, ...]) -> None:
    insert(tampered, row)
    for command in (("log",), ("show", "1")):
        done = stunwall(*command)
        assert (done.code, done.err) == (0, "")
        assert_plain(done)
        shown = json.loads(stunwall(*command, "--json").out)
        assert shown["interface"] == row[COLUMNS.index("interface")]


@given(st.data())
def test_a_damaged_file_is_read_or_a_clear_error(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / FILE
    if not (kept := tmp_path / "whole").exists():
        record(tmp_path, *map(event, range(1, 30)))
        kept.write_bytes(file.read_bytes())
    file.write_bytes(data.draw(damaged([kept.read_bytes()])))
    read_all(tmp_path)

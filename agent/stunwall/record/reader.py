"""Reads the record, while the daemon writes it or when no daemon runs."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from heapq import nlargest
from math import inf
from pathlib import Path
from typing import Any

from stunwall import hints
from stunwall.model import EXPOSED, Event
from stunwall.record import summary
from stunwall.record.filter import CHOOSE_DESTINATIONS, CHOSEN, Condition, Filter
from stunwall.record.ledger import Kind, Span
from stunwall.record.schema import (
    COLUMNS,
    DEFAULTS,
    FILE,
    FITS,
    SQLITE_ERRORS,
    RecordError,
    RecordPermissionError,
    columns,
    is_full,
)

_ID_MAX = 2**63 - 1  # SQLite's integers have 64 bits
_ALL = Filter()
_KINDS = frozenset(Kind)
LABELLED = "labelled app"
"""As `app`, but the names of containers are preceded by summary.CONTAINER."""
# What entries can be summed up by, in SQL.
GROUPS = {
    "app": summary.PROGRAM,
    LABELLED: summary.LABELLED_PROGRAM,
    "destination": "destination",
    "day": "date(last_time, 'unixepoch', 'localtime')",
    "reason": "reason",
    "verdict": "verdict",
    "client": "source || ' ' || client",
}
_FEW = 10_000  # entries that are rather read one by one


class RecordReader:
    """The record as a reader sees it; the daemon may be writing at the same time, or not run.

    `patience`: seconds for which it may be locked.
    """

    def __init__(self, folder: Path, patience: float = 5.0) -> None:
        self._file = folder / FILE
        self._patience = patience
        try:
            self.inode = self._file.stat().st_ino  # exists() hides what is wrong (Python 3.14)
        except FileNotFoundError as error:
            raise RecordError(
                f"there is no record yet ({self._file} is missing). Has stunwalld run?"
            ) from error
        except PermissionError as error:
            raise _no_rights(self._file) from error
        except OSError as error:
            raise RecordError(f"cannot read {self._file}: {error.strerror}") from error
        self._connection = self._connect()
        self._present = self._known()
        self._summed = self._has_summary()
        self._columns = ", ".join(map(self._column, COLUMNS))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def events(
        self, wanted: Filter = _ALL, after: int = 0, limit: int | None = None
    ) -> Iterator[tuple[int, Event]]:
        """Yield (id, event), oldest first: those with an id above `after` that fit the filter.

        With `limit` only the newest so many. Raises RecordError.
        """
        if wanted.since and self._summed:
            after = max(after, self._before(wanted.since))
        if limit is not None and limit <= _FEW and self._summed and wanted != _ALL:
            for number in self._newest(wanted, after, limit):
                if (event := self.event(number)) is not None:  # else deleted meanwhile
                    yield number, event
            return
        condition, values = self._condition(wanted)
        query = f"SELECT id, {self._columns} FROM events WHERE id > ? AND {condition}"  # noqa: S608
        if limit is not None:
            query = f"SELECT * FROM ({query} ORDER BY id DESC LIMIT ?) ORDER BY id"  # noqa: S608
            rows = self._rows(query, (after, *values, min(limit, _ID_MAX)))
        else:
            rows = self._rows(f"{query} ORDER BY id", (after, *values))
        for row in rows:
            yield row[0], self._event(row)

    def _before(self, since: float) -> int:
        """Return an id below those of all entries that were seen since then."""
        first = f"SELECT coalesce(min(id), {_ID_MAX}) FROM entries WHERE last_time >= ?"  # noqa: S608
        return self._numbers(first, (since,))[0] - 1

    def _newest(self, wanted: Filter, after: int, limit: int) -> list[int]:
        """Return the ids of the newest entries that fit, oldest first: of each kind the newest, then of those."""
        of_kind, values = wanted.kind()
        beyond, others = self._beyond(wanted)
        query = f"SELECT id FROM entries WHERE kind = ? AND id > ? AND {beyond} ORDER BY id DESC LIMIT ?"  # noqa: S608
        if wanted.to:
            of_kind += f" AND id IN (SELECT kind FROM destinations WHERE {CHOSEN})"  # noqa: S608
        kinds = list(self._rows(f"SELECT id FROM kinds WHERE {of_kind}", tuple(values)))  # noqa: S608
        found = (row[0] for (kind,) in kinds for row in self._rows(query, (kind, after, *others, limit)))
        return nlargest(limit, found)[::-1]

    def page(
        self, uid: int | None, *, after: int = 0, before: int | None = None, limit: int
    ) -> list[tuple[int, Event]]:
        """Return up to `limit` entries of a user, with None of all users: quickly, however many there are.

        With `before` the newest with a smaller id, newest first; else the oldest with an id above `after`, oldest
        first. Raises RecordError.
        """
        whose, values = ("", ()) if uid is None else ("uid = ? AND", (uid,))
        which, order = ("id > ?", "ASC") if before is None else ("id < ?", "DESC")
        query = f"SELECT id, {self._columns} FROM events WHERE {whose} {which} ORDER BY id {order} LIMIT ?"  # noqa: S608
        end = after if before is None else min(before, _ID_MAX)
        return [(row[0], self._event(row)) for row in self._rows(query, (*values, end, limit))]

    def totals(self, wanted: Filter, by: str) -> Iterator[tuple[str, int, int]]:
        """Yield (value, flows, packets) for each value of GROUPS[by], most flows first. Raises RecordError."""
        source, values = self._sums(wanted, by)
        value = GROUPS[by].replace("client", self._column("client"))
        query = (
            f"SELECT {value} AS value, total({self._column('flows')}), total(count) "  # noqa: S608
            f"FROM {source} GROUP BY value ORDER BY 2 DESC, value"
        )
        for value, flows, packets in self._rows(query, tuple(values)):
            yield str(value), int(flows), int(packets)

    def bars(self, since: float, start: float, width: float) -> Iterator[tuple[int, str, int, int]]:
        """Yield (bar, value, flows, packets) for each value of GROUPS[LABELLED] in each bar of `width` seconds.

        Bar 0 begins at `start`; of entries that were seen at or after `since`. Both are Unix seconds, and begin a
        quarter of an hour. Raises RecordError.
        """
        program, source = summary.LABELLED_PROGRAM, "events WHERE protocol != '' AND last_time >= ?"
        if self._summed:
            program, source = "program", "quarters WHERE last_time >= ?"
        query = (
            f"SELECT cast((last_time - ?) / ? AS INTEGER) AS bar, {program} AS value, "  # noqa: S608
            f"total({self._column('flows')}), total(count) FROM {source} GROUP BY bar, value"
        )
        for at, value, flows, packets in self._rows(query, (start, width, since)):
            yield at, str(value), int(flows), int(packets)

    def _sums(self, wanted: Filter, by: str) -> Condition:
        """Return the smallest table that can be summed up so, with what has to hold of its rows."""
        condition, values = self._condition(wanted)
        if by == "client":
            return (
                f"events WHERE {self._column('incoming')} != '' AND verdict != '{EXPOSED}' AND {condition}",
                values,
            )
        if not self._summed:
            return f"events WHERE protocol != '' AND {condition}", values
        if by == "destination":
            found = self._destinations(wanted)
        elif by == "day":
            found = self._days(wanted)
        else:
            found = self._kinds(wanted)
        return found or (f"{summary.ROWS} WHERE protocol != '' AND {condition}", values)

    def _destinations(self, wanted: Filter) -> Condition | None:
        if wanted == _ALL:
            return "destinations", []
        if wanted == Filter(since=wanted.since, until=wanted.until):
            return summary.of_time("day_destinations", "destination", wanted)
        if wanted.since or wanted.until or wanted.port:
            return None
        condition, values = wanted.where()
        return f"{summary.TO} WHERE {condition}", values

    def _days(self, wanted: Filter) -> Condition | None:
        of_kind, values = wanted.kind()
        # Quarters tell programs apart, but no kinds: does the filter want all or nothing of each program?
        programs = f"SELECT program FROM kinds WHERE {of_kind}"  # noqa: S608
        others = f"SELECT count(*) FROM kinds WHERE program IN ({programs}) AND NOT ({of_kind})"  # noqa: S608
        if wanted.to or wanted.port or self._numbers(others, (*values, *values))[0]:
            return None
        return summary.of_time("quarters", "last_time", wanted)

    def _kinds(self, wanted: Filter) -> Condition:
        of_kind, values = wanted.kind()
        beyond, others = self._beyond(wanted)
        if beyond == "1":
            return f"kinds WHERE protocol != '' AND {of_kind}", values
        if wanted == replace(wanted, to=(), port=0):
            return summary.by_kind(summary.of_time("days", "kind", wanted))
        table = "entries" if wanted.since or wanted.until or wanted.port else "destinations"
        rows = f"(SELECT kind, flows, count FROM {table} WHERE {beyond})"  # noqa: S608
        source, found = summary.by_kind((rows, others))
        return f"{source} WHERE protocol != '' AND {of_kind}", [*found, *values]

    def _beyond(self, wanted: Filter) -> Condition:
        """Return the condition for `entries`, once what it needs is there."""
        self._condition(wanted)
        for statement in CHOOSE_DESTINATIONS if wanted.to else ():
            list(self._rows(statement, ()))
        return wanted.beyond_kind()

    def _condition(self, wanted: Filter) -> tuple[str, list[object]]:
        for name, function in wanted.functions().items():
            self._connection.create_function(name, 1, function, deterministic=True)
        return wanted.where()

    def event(self, number: int) -> Event | None:
        """Return the event with this id, None if there is none."""
        if not 0 < number <= _ID_MAX:
            return None
        rows = self._rows(f"SELECT id, {self._columns} FROM events WHERE id = ?", (number,))  # noqa: S608
        return next((self._event(row) for row in rows), None)

    def last_id(self) -> int:
        """Return the id of the newest event, 0 if there is none."""
        return self._numbers("SELECT coalesce(max(id), 0) FROM events", ())[0]

    def blocked(self, since: float) -> tuple[int, int]:
        """Return how many flows and packets of them were blocked, of flows seen at or after `since`."""
        return self._judged("blocked", since)

    def redirected(self, since: float) -> tuple[int, int]:
        """As `blocked`, of the flows that were moved into the VPN; of those only STUN is counted."""
        return self._judged("redirected", since)

    def _judged(self, verdict: str, since: float) -> tuple[int, int]:
        flows = self._column("flows")
        query = f"SELECT total({flows}), total(count) FROM events WHERE last_time >= ? AND verdict = ?"  # noqa: S608
        counted, packets = self._numbers(query, (since, verdict))
        return counted, packets

    def spans(self, seconds: float = inf) -> list[Span]:
        """Return the ledger's rows, oldest first: the newest that together last so long, none in an older file.

        Raises RecordError.
        """
        if not self._numbers("SELECT count(*) FROM sqlite_master WHERE name = 'ledger'", ())[0]:
            return []
        query = "SELECT kind, why, boot, start, seconds, awake FROM ledger ORDER BY id DESC"
        found = []
        for row in self._rows(query, ()):
            found.append(self._span(row))
            seconds -= found[-1].seconds
            if seconds < 0:
                break
        return found[::-1]

    def _span(self, row: tuple[Any, ...]) -> Span:
        texts, numbers = row[:3], row[3:]
        is_number = FITS["time"]
        if row[0] not in _KINDS or not all(isinstance(text, str) for text in texts):
            raise RecordError(f"{self._file}: the exposure ledger is damaged (kind)")
        if not all(is_number(number) for number in numbers):
            raise RecordError(f"{self._file}: the exposure ledger is damaged (times)")
        return Span(Kind(row[0]), *row[1:])

    def lengths(self) -> dict[Kind, float]:
        """Return the seconds of each kind that the ledger has ever had: they only grow. Raises RecordError."""
        found = dict.fromkeys(Kind, 0.0)
        for span in self.spans():
            found[span.kind] += span.seconds
        if self._numbers("SELECT count(*) FROM sqlite_master WHERE name = 'ledger_sums'", ())[0]:
            for kind, seconds in self._rows("SELECT kind, seconds FROM ledger_sums", ()):
                if kind not in _KINDS or not FITS["time"](seconds):
                    raise RecordError(f"{self._file}: the exposure ledger is damaged (sums)")
                found[Kind(kind)] += seconds
        return found

    def exposed(self, since: float) -> int:
        """Return how many exposures were proven at or after `since`."""
        # The verdict is in the text: for a parameter, SQLite does not use the partial index.
        query = f"SELECT count(*) FROM events WHERE last_time >= ? AND verdict = '{EXPOSED}'"  # noqa: S608
        return self._numbers(query, (since,))[0]

    def lost(self) -> int:
        """Return how many blocked packets could not be recorded, in the time that events are kept."""
        return self._numbers("SELECT total(count) FROM lost", ())[0]

    def _connect(self) -> sqlite3.Connection:
        # A reader without write access can open a WAL database only while the daemon has it open; after a
        # clean end there is no log beside the file, and it can be read as it is (sqlite.org/wal.html).
        wal = self._file.with_name(FILE + "-wal")
        options = ("mode=ro",) if wal.exists() else ("mode=ro", "immutable=1")
        error: Exception | None = None
        for option in options:
            try:
                connection = sqlite3.connect(
                    f"{self._file.absolute().as_uri()}?{option}", uri=True, timeout=self._patience
                )
                with closing(connection.execute("SELECT 1 FROM events LIMIT 1")):
                    return connection
            except SQLITE_ERRORS as failed:
                error = failed
        raise self._error(error) from error

    def _known(self) -> frozenset[str]:
        try:
            return columns(self._connection)
        except SQLITE_ERRORS as error:
            raise self._error(error) from error

    def _has_summary(self) -> bool:
        try:
            return summary.exists(self._connection)
        except SQLITE_ERRORS as error:
            raise self._error(error) from error

    def _column(self, name: str) -> str:
        """Return what is selected for a column: a file of an older version may lack it."""
        return name if name in self._present else DEFAULTS.get(name, name)

    def _rows(self, query: str, values: tuple[object, ...]) -> Iterator[tuple[Any, ...]]:
        try:
            # Not `yield from`: that closes the cursor, which fails if the connection was closed before.
            for row in self._connection.execute(query, values):  # noqa: UP028
                yield row
        except SQLITE_ERRORS as error:
            raise self._error(error) from error

    def _numbers(self, query: str, values: tuple[object, ...]) -> tuple[int, ...]:
        try:
            return tuple(int(value) for value in next(self._rows(query, values)))
        except (ValueError, OverflowError) as error:
            raise RecordError(f"{self._file} is damaged: {error}") from error

    def _event(self, row: tuple[Any, ...]) -> Event:
        # SQLite stores any type in any column: a file that was tampered with must not surprise a printer.
        for (name, fits), value in zip(FITS.items(), row[1:], strict=True):
            if not fits(value):
                raise RecordError(f"{self._file}: event {row[0]} is damaged ({name})")
        return Event(*row[1:])

    def _error(self, error: Exception | None) -> RecordError:
        if isinstance(error, sqlite3.OperationalError) and not _readable(self._file):
            return _no_rights(self._file)
        cure = "If it is damaged, stunwalld moves it aside at its next write"
        if is_full(self._file.parent):
            cure = "The disk is full: make room on it"
        return RecordError(f"cannot read {self._file}: {error}. {cure}")


def _readable(file: Path) -> bool:
    return os.access(file, os.R_OK)


def _no_rights(file: Path) -> RecordPermissionError:
    return RecordPermissionError(hints.members_only(f"read {file}"))

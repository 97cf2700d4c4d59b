"""Reads the record, while the daemon writes it or when no daemon runs."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from stunwall import hints
from stunwall.model import Event
from stunwall.record.schema import (
    COLUMNS,
    FILE,
    FITS,
    SQLITE_ERRORS,
    RecordError,
    RecordPermissionError,
    is_full,
)

_ID_MAX = 2**63 - 1  # SQLite's integers have 64 bits


class RecordReader:
    """The record as a reader sees it; the daemon may be writing at the same time, or not run."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        try:
            self._file.stat()  # exists() hides what is wrong (Python 3.14)
        except FileNotFoundError as error:
            raise RecordError(
                f"there is no record yet ({self._file} is missing). Has stunwalld run?"
            ) from error
        except PermissionError as error:
            raise _no_rights(self._file) from error
        except OSError as error:
            raise RecordError(f"cannot read {self._file}: {error.strerror}") from error
        self._connection = self._connect()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def events(
        self, since: float = 0.0, after: int = 0, limit: int | None = None
    ) -> Iterator[tuple[int, Event]]:
        """Yield (id, event), oldest first: those with an id above `after` that were seen at or after `since`.

        With `limit` only the newest so many. Raises RecordError.
        """
        query = f"SELECT id, {', '.join(COLUMNS)} FROM events WHERE id > ? AND last_time >= ?"  # noqa: S608
        if limit is not None:
            query = f"SELECT * FROM ({query} ORDER BY id DESC LIMIT ?) ORDER BY id"  # noqa: S608
            rows = self._rows(query, (after, since, min(limit, _ID_MAX)))
        else:
            rows = self._rows(f"{query} ORDER BY id", (after, since))
        for row in rows:
            yield row[0], self._event(row)

    def event(self, number: int) -> Event | None:
        """Return the event with this id, None if there is none."""
        if not 0 < number <= _ID_MAX:
            return None
        rows = self._rows(f"SELECT id, {', '.join(COLUMNS)} FROM events WHERE id = ?", (number,))  # noqa: S608
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
        query = "SELECT count(*), total(count) FROM events WHERE last_time >= ? AND verdict = ?"
        flows, packets = self._numbers(query, (since, verdict))
        return flows, packets

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
                    f"{self._file.absolute().as_uri()}?{option}", uri=True, timeout=5
                )
                with closing(connection.execute("SELECT 1 FROM events LIMIT 1")):
                    return connection
            except SQLITE_ERRORS as failed:
                error = failed
        raise self._error(error) from error

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

"""The record's file: its tables, what may be in a column, and how the writer opens it (SQLite)."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, fields
from pathlib import Path

from stunwall.model import EXPOSED, Event, StunwallError
from stunwall.record import summary

FILE = "events.db"
# PRAGMA user_version. Version 1 lacked the columns that have a default, version 2 the summary. `mac` and `client` are
# newer than version 3, which reads and writes a file with them all the same.
VERSION = 3
COLUMNS = tuple(field.name for field in fields(Event))
# Seconds that the writer waits for somebody else's lock.
_BUSY = 0.5
# Bytes: SQLite's shared index (-shm) grows by 32 KiB, https://www.sqlite.org/walformat.html §2.
_NEEDED = 64 << 10
# Unix seconds: the end of the last year that a calendar of four digits knows.
_LATEST = 253402300799
_CHECKS: dict[object, Callable[[object], bool]] = {
    float: lambda value: isinstance(value, int | float) and 0 <= value <= _LATEST,
    int: lambda value: isinstance(value, int),
    str: lambda value: isinstance(value, str),
    bytes: lambda value: isinstance(value, bytes),
}
FITS = {field.name: _CHECKS[field.type] for field in fields(Event)}
"""Whether a value may be in a column. SQLite stores any type in any column, so a reader has to check."""
DEFAULTS = {
    field.name: "''" if field.default == "" else str(field.default)
    for field in fields(Event)
    if field.default is not MISSING
}
"""The SQL literals of what a file of version 1 does not say."""


def _declared(column: str) -> str:
    return f"{column} NOT NULL DEFAULT {DEFAULTS[column]}" if column in DEFAULTS else f"{column} NOT NULL"


_CREATE = f"""
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    {", ".join(map(_declared, COLUMNS))}
);
CREATE INDEX IF NOT EXISTS events_time ON events (last_time);
CREATE INDEX IF NOT EXISTS events_exposed ON events (last_time) WHERE verdict = '{EXPOSED}';
CREATE TABLE IF NOT EXISTS lost (time NOT NULL, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind NOT NULL, why NOT NULL, boot NOT NULL, start NOT NULL, seconds NOT NULL, awake NOT NULL
);
CREATE TABLE IF NOT EXISTS ledger_sums (kind PRIMARY KEY, seconds NOT NULL) WITHOUT ROWID;
"""
# All that is summed up by client, so that no row with its packet is read for it.
_INDEX_OF_CLIENTS = (
    "CREATE INDEX IF NOT EXISTS events_client ON events (source, client, flows, count, incoming, verdict) "
    f"WHERE incoming != '' AND verdict != '{EXPOSED}'"
)
INSERT = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
UPDATE = "UPDATE events SET last_time = max(last_time, ?), count = count + ?, flows = flows + ? WHERE id = ?"


SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises: UnicodeDecodeError where SQLite's message quotes a damaged file that is not UTF-8."""


class RecordError(StunwallError):
    """The record could not be read."""


class RecordPermissionError(RecordError):
    """The reader may not read the record."""

    exit_code = 4


def columns(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the names of the events' columns in the file. Raises SQLITE_ERRORS."""
    return frozenset(row[1] for row in connection.execute("PRAGMA table_info(events)"))


def open_for_writing(file: Path, own_only: bool = False) -> sqlite3.Connection:
    """Open the file, create what is missing in it, and return the connection.

    `own_only`: nobody but the daemon's user may read the file, else its group may, too. Raises OSError, and
    SQLITE_ERRORS if the file is damaged or of another version.
    """
    mode = 0o600 if own_only else 0o640
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, mode)
    os.fchmod(descriptor, mode)  # before SQLite makes the log beside it, which gets the same
    os.close(descriptor)
    for suffix in ("-wal", "-shm"):  # left by a daemon that was killed
        with suppress(FileNotFoundError):
            file.with_name(file.name + suffix).chmod(mode)
    connection = sqlite3.connect(file, timeout=_BUSY, check_same_thread=False)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in range(VERSION + 1):
            raise sqlite3.DatabaseError(f"its schema has version {version}, this stunwall knows {VERSION}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_CREATE)
        _upgrade(connection)
        # A user's own entries, by id: an index ends with the row's id (sqlite.org/fileformat2.html §2.5).
        connection.execute("CREATE INDEX IF NOT EXISTS events_uid ON events (uid)")
        connection.execute(_INDEX_OF_CLIENTS)
        connection.execute(f"SELECT {', '.join(COLUMNS)} FROM events LIMIT 1").fetchone()  # noqa: S608
    except BaseException:
        connection.close()
        raise
    return connection


def _upgrade(connection: sqlite3.Connection) -> None:
    """Add to a file of an older version what it lacks: its entries stay."""
    if columns(connection) >= set(COLUMNS) and summary.exists(connection):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # another thread may do the same
        for name in DEFAULTS.keys() - columns(connection):
            connection.execute(f"ALTER TABLE events ADD COLUMN {_declared(name)}")
        if not summary.exists(connection):
            summary.create(connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def is_full(folder: Path) -> bool:
    """Return whether the disk is too full to write the record.

    SQLite's error does not always say so: where its shared index cannot grow it is "disk I/O error".
    """
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _NEEDED

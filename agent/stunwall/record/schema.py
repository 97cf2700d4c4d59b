"""The record's file: its tables, what may be in a column, and how the writer opens it (SQLite)."""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from stunwall.model import Event, StunwallError

FILE = "events.db"
VERSION = 1  # PRAGMA user_version
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
_CREATE = f"""
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    {", ".join(f"{name} NOT NULL" for name in COLUMNS)}
);
CREATE INDEX IF NOT EXISTS events_time ON events (last_time);
CREATE TABLE IF NOT EXISTS lost (time NOT NULL, count INTEGER NOT NULL);
PRAGMA user_version = {VERSION};
"""
INSERT = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
UPDATE = "UPDATE events SET last_time = max(last_time, ?), count = count + ? WHERE id = ?"


SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises: UnicodeDecodeError where SQLite's message quotes a damaged file that is not UTF-8."""


class RecordError(StunwallError):
    """The record could not be read."""


class RecordPermissionError(RecordError):
    """The reader may not read the record."""

    exit_code = 4


def open_for_writing(file: Path) -> sqlite3.Connection:
    """Open the file, create what is missing in it, and return the connection.

    Raises OSError, and SQLITE_ERRORS if the file is damaged or of another version.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o640)
    os.fchmod(descriptor, 0o640)  # before SQLite makes the log beside it, which gets the same
    os.close(descriptor)
    connection = sqlite3.connect(file, timeout=_BUSY, check_same_thread=False)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"its schema has version {version}, this stunwall knows {VERSION}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_CREATE)
        connection.execute(f"SELECT {', '.join(COLUMNS)} FROM events LIMIT 1").fetchone()  # noqa: S608
    except BaseException:
        connection.close()
        raise
    return connection


def is_full(folder: Path) -> bool:
    """Return whether the disk is too full to write the record.

    SQLite's error does not always say so: where its shared index cannot grow it is "disk I/O error".
    """
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _NEEDED

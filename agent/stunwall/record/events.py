"""The record of every blocked flow: SQLite, written by a thread of its own, never in a verdict's way."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

from stunwall.config import Log
from stunwall.model import Event, StunwallError

FILE = "events.db"
SCHEMA = 1  # PRAGMA user_version
WINDOW = 60.0  # seconds: packets of a flow within it are one event
BATCH = 1.0  # seconds between writes at the most: what a crash can lose
PENDING_MAX = 20_000  # flows waiting for the disk, about 10 MiB; what comes on top is counted as lost
_RECENT_MAX = 50_000  # flows whose event may still grow
_BUSY = 0.5  # seconds to wait for somebody else's lock
_PACKET_MAX = 2048  # bytes kept of a flow's first packet: more than an Ethernet frame
_ID_MAX = 2**63 - 1  # SQLite's integers have 64 bits

_COLUMNS = tuple(field.name for field in fields(Event))
_LATEST = 253402300799  # seconds: the last that a calendar of four-digit years knows
_CHECKS: dict[object, Callable[[object], bool]] = {
    float: lambda value: isinstance(value, int | float) and 0 <= value <= _LATEST,
    int: lambda value: isinstance(value, int),
    str: lambda value: isinstance(value, str),
    bytes: lambda value: isinstance(value, bytes),
}
_FITS = {field.name: _CHECKS[field.type] for field in fields(Event)}
_CREATE = f"""
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    {", ".join(f"{name} NOT NULL" for name in _COLUMNS)}
);
CREATE INDEX IF NOT EXISTS events_time ON events (last_time);
CREATE TABLE IF NOT EXISTS lost (time NOT NULL, count INTEGER NOT NULL);
PRAGMA user_version = {SCHEMA};
"""
_INSERT = f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608

_UPDATE = "UPDATE events SET last_time = max(last_time, ?), count = count + ? WHERE id = ?"

# A flow: the 5-tuple, verdict and reason.
_Key = tuple[str, str, int, str, int, str, str]


class EventsError(StunwallError):
    """The record could not be read."""


class EventsRightsError(EventsError):
    """The reader may not read the record."""

    exit_code = 4


class Recorder:
    """Takes events from the verdict path at once, and writes them in batches of at most a second.

    `announce(event)` is called in the writing thread for each new event; `complain(text)` when the record
    gets in trouble, and with "" when it is well again. Nothing here raises into the caller's face.
    """

    def __init__(
        self, folder: Path, keep: Log, announce: Callable[[Event], None], complain: Callable[[str], None]
    ) -> None:
        self.lost = 0
        self._file = folder / FILE
        self.keep = keep  # may be replaced
        self._announce = announce
        self._complain = complain
        self._pending: dict[_Key, Event] = {}
        self._recent: dict[_Key, tuple[int, float]] = {}  # event's id and first time
        self._announced: set[_Key] = set()  # announced, but not written yet
        self._connection: sqlite3.Connection | None = None
        self._inode = 0  # of the file that is open
        self._lost_unwritten = 0
        self._moved = ""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def record(self, event: Event) -> None:
        """Take one packet's event (count 1). Never blocks on the disk."""
        with self._lock:
            self._take(_key(event), event)
        self._wake.set()

    def retract(self, event: Event) -> None:
        """Take back one packet's event that turned out otherwise, if it is not written yet."""
        key = _key(event)
        with self._lock:
            known = self._pending.pop(key, None)
            if known is not None and known.count > event.count:
                self._pending[key] = replace(known, count=known.count - event.count)

    def _take(self, key: _Key, event: Event) -> None:
        known = self._pending.get(key)
        if known is not None:
            self._pending[key] = replace(known, last_time=event.last_time, count=known.count + event.count)
        elif len(self._pending) >= PENDING_MAX:
            self.lost += event.count
            self._lost_unwritten += event.count
        else:
            # A name that is not UTF-8 could not be stored, and would take its whole batch with it.
            interface = event.interface.encode(errors="backslashreplace").decode()
            self._pending[key] = replace(event, interface=interface, packet=event.packet[:_PACKET_MAX])

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        self._write()  # opens the file, so that trouble shows at the start
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            if not self._stop.wait(BATCH) and not self._write():
                self._wake.set()  # try again in a second
        # The second try: the first may have moved a damaged file out of the way.
        if not self._write() and not self._write():
            self._complain(f"{len(self._pending)} flows are lost: they could not be written before the end")
        if self._connection is not None:
            self._connection.close()

    def _write(self) -> bool:
        with self._lock:
            batch, self._pending = self._pending, {}
            lost, self._lost_unwritten = self._lost_unwritten, 0
        now = time.time()
        self._recent = {key: seen for key, seen in self._recent.items() if now - seen[1] < WINDOW}
        for key, event in batch.items():
            if not self._continues(key, event) and key not in self._announced:
                self._announce(event)
        try:
            self._store(batch, lost, now)
        except (sqlite3.Error, OSError) as error:
            self._take_back(batch, lost)
            self._trouble(error)
            return False
        self._announced.clear()
        self._complain(self._moved)
        return True

    def _continues(self, key: _Key, event: Event) -> bool:
        return key in self._recent and event.time - self._recent[key][1] < WINDOW

    def _store(self, batch: dict[_Key, Event], lost: int, now: float) -> None:
        """Write the batch in one transaction."""
        connection = self._opened()
        new: dict[_Key, tuple[int, float]] = {}
        with connection:
            for key, event in batch.items():
                if self._continues(key, event):
                    values = (event.last_time, event.count, self._recent[key][0])
                    if connection.execute(_UPDATE, values).rowcount:  # else somebody deleted it
                        continue
                cursor = connection.execute(_INSERT, astuple(event))
                new[key] = (int(cursor.lastrowid or 0), event.time)
            if lost:
                connection.execute("INSERT INTO lost VALUES (?, ?)", (now, lost))
            if new:
                self._retain(connection, now)
        if len(self._recent) + len(new) <= _RECENT_MAX:
            self._recent |= new

    def _opened(self) -> sqlite3.Connection:
        """Return the connection, a new one if the file was removed or replaced under the old."""
        if self._connection is not None and _inode(self._file) != self._inode:
            self._connection.close()
            self._connection = None
            self._inode = 0  # the new file may get the old one's number
        if self._connection is None:
            self._connection = _open(self._file)
            before, self._inode = self._inode, _inode(self._file)
            if before != self._inode:
                self._recent = {}  # those are ids of another file
        return self._connection

    def _retain(self, connection: sqlite3.Connection, now: float) -> None:
        newest = connection.execute("SELECT max(id) FROM events").fetchone()[0]
        connection.execute("DELETE FROM events WHERE id <= ?", (newest - self.keep.keep_rows,))
        connection.execute("DELETE FROM events WHERE last_time < ?", (now - self.keep.keep_days * 86400,))

    def _take_back(self, batch: dict[_Key, Event], lost: int) -> None:
        with self._lock:
            self._lost_unwritten += lost
            self._announced |= batch.keys()
            later, self._pending = self._pending, batch
            for key, event in later.items():
                self._take(key, event)

    def _trouble(self, error: sqlite3.Error | OSError) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if _is_corrupt(error):
            self._moved = self._move_aside(error)
            self._complain(self._moved)
        else:
            self._complain(
                f"events cannot be written to {self._file} ({error}); they wait in memory. {_cure(error)}"
            )

    def _move_aside(self, error: sqlite3.Error | OSError) -> str:
        aside = self._file.with_name(f"{FILE}.{time.strftime('%Y%m%dT%H%M%S')}.broken")
        try:
            for suffix in ("-wal", "-shm", ""):
                part = self._file.with_name(self._file.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
        except OSError as failed:
            return f"{self._file} is damaged ({error}) and cannot be moved aside: {failed.strerror}"
        self._recent = {}
        return f"{self._file} was damaged ({error}): moved aside to {aside}, a new one is in its place"


def _key(event: Event) -> _Key:
    return (
        event.transport,
        event.source,
        event.source_port,
        event.destination,
        event.destination_port,
        event.verdict,
        event.reason,
    )


def _inode(file: Path) -> int:
    """Return the file's number in its file system, 0 if there is none."""
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return 0


def _open(file: Path) -> sqlite3.Connection:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o640)
    os.fchmod(descriptor, 0o640)  # before SQLite makes the log beside it, which gets the same
    os.close(descriptor)
    connection = sqlite3.connect(file, timeout=_BUSY, check_same_thread=False)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise sqlite3.DatabaseError(f"its schema has version {version}, this stunwall knows {SCHEMA}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_CREATE)
        connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM events LIMIT 1").fetchone()  # noqa: S608
    except BaseException:
        connection.close()
        raise
    return connection


def _is_corrupt(error: Exception) -> bool:
    # The subclass OperationalError (locked, full, read-only) passes by itself; a missing column does not.
    if isinstance(error, sqlite3.OperationalError):
        return "no such column" in str(error) or "no column named" in str(error)
    return type(error) in (sqlite3.DatabaseError, sqlite3.IntegrityError)


def _cure(error: Exception) -> str:
    if "full" in str(error) or "space" in str(error):
        return "Make room on the disk"
    if "locked" in str(error):
        return "Another program holds the database: end it"
    return "Check that the folder exists and belongs to the daemon's user"


class Record:
    """The record as a reader sees it; the daemon may be writing at the same time, or not run."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        try:
            self._file.stat()  # exists() hides what is wrong (Python 3.14)
        except FileNotFoundError as error:
            raise EventsError(
                f"there is no record yet ({self._file} is missing): has stunwalld run?"
            ) from error
        except PermissionError as error:
            raise _no_rights(self._file) from error
        except OSError as error:
            raise EventsError(f"cannot read {self._file}: {error.strerror}") from error
        self._connection = self._connect()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def events(
        self, since: float = 0.0, after: int = 0, limit: int | None = None
    ) -> Iterator[tuple[int, Event]]:
        """Yield (id, event), oldest first: those with an id above `after` that were seen at or after `since`.

        With `limit` only the newest so many. Raises EventsError.
        """
        query = f"SELECT id, {', '.join(_COLUMNS)} FROM events WHERE id > ? AND last_time >= ?"  # noqa: S608
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
        rows = self._rows(f"SELECT id, {', '.join(_COLUMNS)} FROM events WHERE id = ?", (number,))  # noqa: S608
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
        """Return how many blocked packets could not be recorded, of all time."""
        return self._numbers("SELECT total(count) FROM lost", ())[0]

    def _connect(self) -> sqlite3.Connection:
        # A reader without write access can open a WAL database only while the daemon has it open; after a
        # clean end there is no log beside the file, and it can be read as it is (sqlite.org/wal.html).
        wal = self._file.with_name(FILE + "-wal")
        options = ("mode=ro",) if wal.exists() else ("mode=ro", "immutable=1")
        error: sqlite3.Error | None = None
        for option in options:
            try:
                connection = sqlite3.connect(
                    f"{self._file.absolute().as_uri()}?{option}", uri=True, timeout=5
                )
                with closing(connection.execute("SELECT 1 FROM events LIMIT 1")):
                    return connection
            except sqlite3.Error as failed:
                error = failed
        raise self._error(error) from error

    def _rows(self, query: str, values: tuple[object, ...]) -> Iterator[tuple[Any, ...]]:
        try:
            # Not `yield from`: that closes the cursor, which fails if the connection was closed before.
            for row in self._connection.execute(query, values):  # noqa: UP028
                yield row
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _numbers(self, query: str, values: tuple[object, ...]) -> tuple[int, ...]:
        try:
            return tuple(int(value) for value in next(self._rows(query, values)))
        except (ValueError, OverflowError) as error:
            raise EventsError(f"{self._file} is damaged: {error}") from error

    def _event(self, row: tuple[Any, ...]) -> Event:
        # SQLite stores any type in any column: a file that was tampered with must not surprise a printer.
        for (name, fits), value in zip(_FITS.items(), row[1:], strict=True):
            if not fits(value):
                raise EventsError(f"{self._file}: event {row[0]} is damaged ({name})")
        return Event(*row[1:])

    def _error(self, error: sqlite3.Error | None) -> EventsError:
        if isinstance(error, sqlite3.OperationalError) and not _readable(self._file):
            return _no_rights(self._file)
        return EventsError(
            f"cannot read {self._file}: {error}. If it is damaged, stunwalld moves it aside at its next write"
        )


def _readable(file: Path) -> bool:
    return os.access(file, os.R_OK)


def _no_rights(file: Path) -> EventsRightsError:
    return EventsRightsError(
        f"{file} may be read by root and the group stunwall: try with sudo, or join the group for good with "
        "`sudo usermod -aG stunwall $USER` and log in again"
    )

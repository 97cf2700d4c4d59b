"""Writes the record in a thread of its own, so that the disk never delays a verdict."""

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

from stunwall.config import Retention
from stunwall.model import Event
from stunwall.record.schema import FILE, INSERT, SQLITE_ERRORS, UPDATE, is_full, open_for_writing

WINDOW = 60.0  # seconds: packets of a flow within it are one event
BATCH = 1.0  # seconds between writes at the most: what a crash can lose
PENDING_MAX = 20_000  # flows that wait for the disk, about 10 MiB; the rest is counted as lost
_RECENT_MAX = 50_000  # flows whose event may still grow
_PACKET_MAX = 2048  # bytes kept of a flow's first packet: more than an Ethernet frame

# The disk, the file or the machine is to blame: the events wait in memory.
_TROUBLE = (*SQLITE_ERRORS, OSError, MemoryError)

# A flow: the 5-tuple, verdict and reason.
_Key = tuple[str, str, int, str, int, str, str]


class RecordWriter:
    """Takes events from the verdict path at once, and writes them in batches of at most a second.

    Nothing here raises into the verdict path, and nothing ends the writing thread but `close`.

    Args:
        folder: where the file is.
        keep: how long events are kept; may be replaced.
        announce: is called for each new event, in the writing thread.
        complain: is called when the record cannot be written, and with "" once it can, in the writing thread.
    """

    def __init__(
        self,
        folder: Path,
        keep: Retention,
        announce: Callable[[Event], None],
        complain: Callable[[str], None],
    ) -> None:
        self.lost = 0
        self.keep = keep
        self._file = folder / FILE
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
        """Take back one packet's event that turned out to be wrong, if it is not written yet."""
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
            # An interface name that is not UTF-8 could not be stored.
            interface = event.interface.encode(errors="backslashreplace").decode()
            self._pending[key] = replace(event, interface=interface, packet=event.packet[:_PACKET_MAX])

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        self._write()  # opens the file, so that a problem with it is reported at the start
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            if not self._stop.wait(BATCH) and not self._write():
                self._wake.set()  # try again in a second
        # The second try: the first may have moved a damaged file out of the way.
        if not self._write() and not self._write():
            self._complain(
                f"{len(self._pending)} flows are lost: they could not be written before stunwalld stopped"
            )
        if self._connection is not None:
            self._connection.close()

    def _write(self) -> bool:
        with self._lock:
            batch, self._pending = self._pending, {}
            lost, self._lost_unwritten = self._lost_unwritten, 0
        now = time.time()
        self._recent = {key: seen for key, seen in self._recent.items() if now - seen[1] < WINDOW}
        try:
            for key, event in batch.items():
                if not self._continues(key, event) and key not in self._announced:
                    self._announce(event)
            self._store(batch, lost, now)
        except _TROUBLE as error:
            self._take_back(batch, lost)
            self._trouble(error)
            return False
        except Exception as error:  # noqa: BLE001 - whatever it was, the thread has to go on
            return self._write_singly(batch, lost, error)
        self._announced.clear()
        self._complain(self._moved)
        return True

    def _write_singly(self, batch: dict[_Key, Event], lost: int, cause: Exception) -> bool:
        """Write each event by itself, as one of them raised `cause`: that one is lost, and no other."""
        now, rest, unwritable = time.time(), dict(batch), 0
        for key, event in batch.items():
            try:
                self._store({key: event}, 0, now)
            except _TROUBLE as error:
                self._take_back(rest, lost + unwritable)
                self._trouble(error)
                return False
            except Exception:  # noqa: BLE001 - as above
                unwritable += event.count
                self.lost += event.count
            del rest[key]
        with self._lock:
            self._lost_unwritten += lost + unwritable
        self._announced.clear()
        self._complain(f"{unwritable} packets could not be recorded ({type(cause).__name__}: {cause})")
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
                    if connection.execute(UPDATE, values).rowcount:  # else somebody deleted it
                        continue
                cursor = connection.execute(INSERT, astuple(event))
                new[key] = (int(cursor.lastrowid or 0), event.time)
            if lost:
                connection.execute("INSERT INTO lost VALUES (?, ?)", (now, lost))
            if new or lost:
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
            self._connection = open_for_writing(self._file)
            before, self._inode = self._inode, _inode(self._file)
            if before != self._inode:
                self._recent = {}  # those are ids of another file
        return self._connection

    def _retain(self, connection: sqlite3.Connection, now: float) -> None:
        newest = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
        connection.execute("DELETE FROM events WHERE id <= ?", (newest - self.keep.keep_rows,))
        oldest = now - self.keep.keep_days * 86400
        connection.execute("DELETE FROM events WHERE last_time < ?", (oldest,))
        connection.execute("DELETE FROM lost WHERE time < ?", (oldest,))

    def _take_back(self, batch: dict[_Key, Event], lost: int) -> None:
        with self._lock:
            self._lost_unwritten += lost
            self._announced |= batch.keys()
            later, self._pending = self._pending, batch
            for key, event in later.items():
                self._take(key, event)

    def _trouble(self, error: Exception) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if _is_corrupt(error):
            self._moved = self._move_aside(error)
            self._complain(self._moved)
        else:
            self._complain(
                f"cannot write events to {self._file} ({error}); they are kept in memory. "
                f"{_cure(error, self._file.parent)}"
            )

    def _move_aside(self, error: Exception) -> str:
        aside = self._file.with_name(f"{FILE}.{time.strftime('%Y%m%dT%H%M%S')}.broken")
        try:
            for suffix in ("-wal", "-shm", ""):
                part = self._file.with_name(self._file.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
        except OSError as failed:
            return f"{self._file} is damaged ({error}) and cannot be moved aside: {failed.strerror}"
        self._recent = {}
        return f"{self._file} was damaged ({error}): it was moved to {aside}, and a new one was started"


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


def _is_corrupt(error: Exception) -> bool:
    # The subclass OperationalError (locked, full, read-only) passes by itself; a missing column does not.
    if isinstance(error, sqlite3.OperationalError):
        return "no such column" in str(error) or "no column named" in str(error)
    return type(error) in (sqlite3.DatabaseError, sqlite3.IntegrityError, UnicodeDecodeError)


def _cure(error: Exception, folder: Path) -> str:
    if "full" in str(error) or "space" in str(error) or is_full(folder):
        return "Make room on the disk"
    if "locked" in str(error):
        return "Another program has locked the database: stop it"
    return "Check that the folder exists and belongs to the daemon's user"

"""Writes the record in a thread of its own, so that the disk never delays a verdict."""

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from stunwall.config import Retention
from stunwall.model import Event, Sender
from stunwall.record.schema import COLUMNS, FILE, INSERT, SQLITE_ERRORS, UPDATE, is_full, open_for_writing
from stunwall.record.shares import WINDOW, Key, Shares

BATCH = 1.0  # seconds between writes at the most: what a crash can lose
_PAUSE = (
    0.05  # seconds between looks at who sent what is new: soon, as a process may end, and not for each packet
)
# Flows that wait for the disk, about 10 MiB. More of them are part of their sender's aggregate.
_PATIENCE = 0.3  # seconds for finding out who sent what is new: a page may open hundreds of flows at once
_TOO_MANY = "it sent too many packets at once to find out which program it is"
PENDING_MAX = 20_000
_AGGREGATES_MAX = 5_000  # as well; what is left then is counted as lost
_RECENT_MAX = 50_000  # flows whose event may still grow
_PACKET_MAX = 2048  # bytes kept of a flow's first packet: more than an Ethernet frame

# The disk, the file or the machine is to blame: the events wait in memory.
_TROUBLE = (*SQLITE_ERRORS, OSError, MemoryError)

_VALUES = attrgetter(*COLUMNS)  # astuple() would copy each of them

Identify = Callable[[Event, Sender | None], Event]
Explain = Callable[[list[tuple[Event, Sender | None, int]]], list[Event]]


def _unexplained(sent: list[tuple[Event, Sender | None, int]]) -> list[Event]:
    return [event for event, *_ in sent]


@dataclass(slots=True)
class _Waiting:
    """An entry that waits for the disk: its first packet's event, and what has been added to it since."""

    event: Event
    last_time: float
    count: int
    flows: int

    @property
    def whole(self) -> Event:
        return replace(self.event, last_time=self.last_time, count=self.count, flows=self.flows)


def _waiting(event: Event) -> _Waiting:
    return _Waiting(event, event.last_time, event.count, event.flows)


class RecordWriter:
    """Takes events from the verdict path at once, and writes them in batches of at most a second.

    Nothing here raises into the verdict path, and nothing ends the writing thread but `close`.

    Args:
        folder: where the file is.
        keep: how long events are kept; may be replaced.
        announce: is called for each new event, in the writing thread.
        complain: is called when the record cannot be written, and with "" once it can, in the writing thread.
        identify: returns an event of this machine with who sent it; in the writing thread, so it may wait.
        explain: returns new events with why the packets would have bypassed the VPN; in the writing thread, too.
    """

    def __init__(
        self,
        folder: Path,
        keep: Retention,
        announce: Callable[[Event], None],
        complain: Callable[[str], None],
        identify: Identify = lambda event, sender: event,
        explain: Explain = _unexplained,
    ) -> None:
        self.lost = 0
        self.counts = Counter[tuple[str, str]]()
        """What was taken since the start, in packets, by verdict and reason; the reason is "" if it is no packet."""
        self.keep = keep
        self.stored: Callable[[list[tuple[int, Event]]], None] = lambda entries: None
        """Is called with the ids and events of new entries, in the writing thread; may be replaced."""
        self._file = folder / FILE
        self._announce = announce
        self._complain = complain
        self._identify = identify
        self._explain = explain
        self._shares = Shares()
        self._pending: dict[Key, _Waiting] = {}
        # Of pending events, until they are identified, with the marks of their packets.
        self._senders: dict[Key, tuple[Sender | None, int]] = {}
        self._recent: dict[Key, tuple[int, float]] = {}  # event's id and first time
        self._announced: set[Key] = set()  # announced, but not written yet
        self._connection: sqlite3.Connection | None = None
        self._inode = 0  # of the file that is open
        self._own_only = keep.own_only  # as the file was opened
        self._lost_unwritten = 0
        self._moved = ""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def record(self, event: Event, sender: Sender | None = None, mark: int = 0) -> None:
        """Take one packet's event (count 1). Never blocks on the disk.

        Args:
            event: what happened.
            sender: whose packet it is; None where that is not known.
            mark: the packet's, without stunwall's bits.
        """
        self.counts[event.verdict, event.reason if event.protocol else ""] += event.count
        key, flows = _key(event), 0
        with self._lock:
            if event.protocol and not (key in self._pending or self._continues(key, event)):
                full = len(self._pending) >= PENDING_MAX
                row = self._shares.row(key, event, sender, full=full)
                key, flows = row.key, row.flows
                if key not in self._pending:
                    event = row.of(event)
                    if event.transport:
                        self._senders[key] = sender, mark
            self._take(key, event, flows)
        if not self._wake.is_set():
            self._wake.set()

    def retract(self, event: Event) -> None:
        """Take back one packet's event that turned out to be wrong, if it is not written yet."""
        key = _key(event)
        with self._lock:
            known = self._pending.get(key)
            if known is not None:
                known.count -= event.count
                if known.count <= 0:
                    del self._pending[key]

    def _take(self, key: Key, event: Event, flows: int) -> None:
        """Take an event; `flows`: how many more flows it brings to an aggregate that waits."""
        known = self._pending.get(key)
        if known is not None:
            # In a flood each packet comes here, so that no event is made anew.
            known.last_time = event.last_time
            known.count += event.count
            known.flows += flows
        elif len(self._pending) >= PENDING_MAX + (_AGGREGATES_MAX if _aggregates(key) else 0):
            self.lost += event.count
            self._lost_unwritten += event.count
        else:
            # An interface name that is not UTF-8 could not be stored.
            interface = event.interface.encode(errors="backslashreplace").decode()
            self._pending[key] = _waiting(
                replace(event, interface=interface, packet=event.packet[:_PACKET_MAX])
            )

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        self._write()  # opens the file, so that a problem with it is reported at the start
        while not self._stop.is_set():
            self._wake.wait()
            end = time.monotonic() + BATCH
            while (left := end - time.monotonic()) > 0 and not self._stop.is_set():
                self._wake.clear()
                self._identify_new()
                if not self._stop.wait(min(left, _PAUSE)):
                    self._wake.wait(max(0.0, end - time.monotonic()))
            if not self._stop.is_set() and (not self._write() or self._pending):
                self._wake.set()  # try again, or go on, in a second
        # The second try: the first may have moved a damaged file out of the way.
        if not self._write() and not self._write():
            self._complain(
                f"{len(self._pending)} flows are lost: they could not be written before stunwalld stopped"
            )
        if self._connection is not None:
            self._connection.close()

    def _identify_new(self) -> None:
        """Find out who sent the events that are new, and why the packets would have bypassed the VPN."""
        with self._lock:
            new = [
                (key, self._pending[key].event, *sent)
                for key, sent in self._senders.items()
                if key in self._pending
            ]
            self._senders.clear()
        if not new:
            return
        end = time.monotonic() + _PATIENCE
        try:
            sent = [(self._identified(event, who, end), who, mark) for _, event, who, mark in new]
        except Exception as error:  # noqa: BLE001 - whatever it was, the events have to be written
            self._complain(f"it was not found out who sent some packets ({type(error).__name__}: {error})")
            sent = [(event, who, mark) for _, event, who, mark in new]
        try:
            explained = self._explain(sent)
        except Exception as error:  # noqa: BLE001 - as above
            self._complain(
                f"it was not found out why some packets bypass the VPN ({type(error).__name__}: {error})"
            )
            explained = [event for event, *_ in sent]
        for (key, *_), found in zip(new, explained, strict=True):
            with self._lock:
                if (known := self._pending.get(key)) is not None:  # else retracted
                    known.event = found

    def _identified(self, event: Event, sender: Sender | None, end: float) -> Event:
        """Return an event with who sent it, if that can be found out before `end` of the monotonic clock."""
        if event.incoming:
            return event
        if sender is not None and time.monotonic() > end:
            return replace(event, uid=sender.uid, who=_TOO_MANY)
        return self._identify(event, sender)

    def _write(self) -> bool:
        self._identify_new()
        with self._lock:
            # What came meanwhile is written in the next round.
            rest = {key: self._pending[key] for key in self._senders if key in self._pending}
            batch = {key: known.whole for key, known in self._pending.items() if key not in rest}
            self._pending = rest
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

    def _write_singly(self, batch: dict[Key, Event], lost: int, cause: Exception) -> bool:
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

    def _continues(self, key: Key, event: Event) -> bool:
        return key in self._recent and event.time - self._recent[key][1] < WINDOW

    def _store(self, batch: dict[Key, Event], lost: int, now: float) -> None:
        """Write the batch in one transaction."""
        connection = self._opened()
        new: dict[Key, tuple[int, float]] = {}
        with connection:
            for key, event in batch.items():
                if self._continues(key, event):
                    flows = event.flows if _aggregates(key) else 0
                    values = (event.last_time, event.count, flows, self._recent[key][0])
                    if connection.execute(UPDATE, values).rowcount:  # else somebody deleted it
                        continue
                cursor = connection.execute(INSERT, _VALUES(replace(event, flows=max(1, event.flows))))
                new[key] = (int(cursor.lastrowid or 0), event.time)
            if lost:
                connection.execute("INSERT INTO lost VALUES (?, ?)", (now, lost))
            if new or lost:
                self._retain(connection, now)
        if new:
            self.stored([(number, batch[key]) for key, (number, _) in new.items()])
        if len(self._recent) + len(new) <= _RECENT_MAX:
            self._recent |= new

    def _opened(self) -> sqlite3.Connection:
        """Return the connection, a new one if the file was removed or replaced under the old, or is for others now."""
        own_only = self.keep.own_only
        if self._connection is not None and (_inode(self._file) != self._inode or own_only != self._own_only):
            self._connection.close()
            self._connection = None
            self._inode = 0  # the new file may get the old one's number
        if self._connection is None:
            self._connection = open_for_writing(self._file, own_only)
            self._own_only = own_only
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

    def _take_back(self, batch: dict[Key, Event], lost: int) -> None:
        with self._lock:
            self._lost_unwritten += lost
            self._announced |= batch.keys()
            later, self._pending = self._pending, {key: _waiting(event) for key, event in batch.items()}
            for key, known in later.items():
                self._take(key, known.whole, known.flows if _aggregates(key) else 0)

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


def _aggregates(key: Key) -> bool:
    return key[0] == "aggregate"


def _key(event: Event) -> Key:
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

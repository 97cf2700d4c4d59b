"""The ledger: for how long the host was sealed, and for how long and why it was not.

Its rows follow each other without a hole. A row's length comes from CLOCK_BOOTTIME, which nobody can set and which
runs while the machine sleeps (clock_gettime(2)), so that a stepped wall clock neither hides nor invents a time. No such
clock runs across a reboot, but that time is unknown anyway, until the wall was loaded.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from sqlite3 import Connection
from stat import S_IRGRP
from typing import assert_never

from stunwall.config import Retention
from stunwall.record.schema import FILE, SQLITE_ERRORS, open_for_writing

BEAT = 60.0  # seconds between heartbeats at the least: what stays unknown after a loss of power
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_WALL_ALONE = "stunwalld did not run, the wall was up"
_INSERT = "INSERT INTO ledger VALUES (NULL, :kind, :why, :boot, :start, :seconds, :awake)"


# The disk or the file is to blame; the last two where somebody wrote other types into the file.
_TROUBLE = (*SQLITE_ERRORS, OSError, ValueError, TypeError)


class Kind(StrEnum):
    """What a row of the ledger says of its time."""

    SEALED = "sealed"
    PAUSED = "paused"
    OPEN = "open"
    EXPOSED = "exposed"
    LEAK = "leak"
    WALL_GONE = "wall-gone"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


NEEDS_DAEMON = (Kind.SEALED, Kind.EXPOSED, Kind.LEAK, Kind.UNKNOWN)
"""What is so only while a daemon says so; everything else lasts until the next one starts."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, by both clocks in seconds: `wall` is Unix time, `awake` CLOCK_BOOTTIME. `boot` is the kernel's boot ID."""

    wall: float
    awake: float
    boot: str


@dataclass(frozen=True, slots=True)
class Span:
    """A row: `start` in Unix seconds, its length in `seconds`, and `awake`, CLOCK_BOOTTIME at its end."""

    kind: Kind
    why: str
    boot: str
    start: float
    seconds: float
    awake: float


def now() -> Moment:
    """Read the clocks. Raises OSError."""
    return Moment(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), _boot())


@cache
def _boot() -> str:
    # It stays as long as this process does; reading it at each packet would cost nine system calls.
    return _BOOT.read_text().strip()


@dataclass(frozen=True, slots=True)
class FoundWall:
    """The wall as a daemon finds it at its start, before it loads its own.

    `read`: when, by CLOCK_BOOTTIME. `age`: the seconds since its rules were loaded, without those of sleep, 0 if not
    known. `filled`: whether a daemon has used it: then it is the one that the last daemon left, with its pause.
    """

    read: float
    age: float
    filled: bool

    @property
    def since(self) -> float:
        """From when on it has been up for certain, by CLOCK_BOOTTIME: sleep makes that later, never earlier."""
        if self.age > self.read:  # before the system was started
            return self.read
        return self.read - self.age


def until_start(last: Span, started: Moment, wall: FoundWall | None) -> list[Span]:
    """Return what is known of the time from the last row to a start of the daemon, oldest first.

    Args:
        wall: None if it was missing.
    """
    begin = last.start + last.seconds
    if last.boot == started.boot:
        seconds = max(0.0, started.awake - last.awake)
    else:
        seconds = max(started.wall - begin, started.awake)
    # If a daemon has used the table, its pause may have been there since the table was loaded.
    sealed = 0.0 if wall is None or wall.filled else min(seconds, max(0.0, started.awake - wall.since))
    kind, why = _without_daemon(last, started.boot, wall)
    loaded = begin + seconds - sealed
    spans = (
        Span(kind, why, started.boot, begin, seconds - sealed, started.awake - sealed),
        Span(Kind.SEALED, _WALL_ALONE, started.boot, loaded, sealed, started.awake),
    )
    return [span for span in spans if span.seconds]


def _without_daemon(last: Span, boot: str, wall: FoundWall | None) -> tuple[Kind, str]:
    """Return kind and reason of the time from the last row until the start, or until the wall was loaded anew."""
    if last.boot != boot and last.kind is not Kind.STOPPED:
        return Kind.UNKNOWN, "the machine was restarted"
    match last.kind:
        case Kind.PAUSED | Kind.OPEN | Kind.WALL_GONE | Kind.STOPPED:
            return last.kind, last.why
        case Kind.SEALED | Kind.EXPOSED | Kind.LEAK | Kind.UNKNOWN if wall is None:
            return Kind.WALL_GONE, "stunwalld did not run, and the wall was missing at its next start"
        case Kind.SEALED | Kind.EXPOSED | Kind.LEAK | Kind.UNKNOWN if wall.filled:
            return Kind.SEALED, _WALL_ALONE
        case Kind.SEALED | Kind.EXPOSED | Kind.LEAK | Kind.UNKNOWN:
            return Kind.UNKNOWN, "stunwalld did not run, and the wall was removed and loaded again"
        case _:
            assert_never(last.kind)


class Ledger:
    """Writes the ledger in a thread of its own: nothing here blocks on the disk but `close`.

    Args:
        folder: where the record's file is.
        keep: returns for how long rows are kept, and who may read the file.
        complain: is called in that thread when the ledger cannot be written, and with "" once it can.
    """

    def __init__(self, folder: Path, keep: Callable[[], Retention], complain: Callable[[str], None]) -> None:
        self._file = folder / FILE
        self._keep = keep
        self._complain = complain
        self._current: tuple[Kind, str] | None = None
        self._next_beat = 0.0
        self._waiting: list[tuple[Moment, Kind, str, float]] = []
        self._wall: FoundWall | None = None
        self._started = False  # the time before the start is written
        self._jobs = queue.SimpleQueue[tuple[Moment, Kind, str, float] | None]()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self, wall: FoundWall | None) -> None:
        """Begin; `wall` as for until_start()."""
        self._wall = wall
        self._thread.start()

    def enter(self, kind: Kind, why: str = "") -> None:
        """Say what is so from now on; at most once in BEAT seconds if that is as before."""
        at = now()
        if (kind, why) != self._current or at.awake >= self._next_beat:
            self._current, self._next_beat = (kind, why), at.awake + BEAT
            self._jobs.put((at, kind, why, 0.0))

    def past(self, kind: Kind, why: str, seconds: float) -> None:
        """Say what was so for the last seconds, and is over."""
        self._jobs.put((now(), kind, why, max(0.0, seconds)))

    def close(self) -> None:
        """Write what is left, and end the thread."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._waiting.append(job)
            self._write()
        if self._waiting:
            self._write()

    def _write(self) -> None:
        try:
            keep = self._keep()
            with closing(open_for_writing(self._file, keep.own_only)) as connection:
                # At the record's NORMAL a loss of power undoes the last transactions: a pause could vanish.
                connection.execute("PRAGMA synchronous = FULL")
                with connection:
                    store = Store(connection)
                    if not self._started:
                        store.begin(self._waiting[0][0], self._wall)
                    for at, kind, why, seconds in self._waiting:
                        store.advance(at, kind, why, seconds)
                    store.retain(keep.keep_days * 86400)
        except _TROUBLE as error:
            self._complain(f"cannot write the exposure ledger to {self._file} ({error}); it waits in memory")
            return
        self._started = True
        self._waiting = []
        self._complain("")


def wall_removed(folder: Path, wall: FoundWall | None) -> str:
    """Write that the wall was removed while no daemon runs. Return why that failed, "" if it did not.

    `wall`: as it was before.
    """
    file = folder / FILE
    if not file.exists():
        return ""
    try:
        own_only = not file.stat().st_mode & S_IRGRP  # as the daemon left it
        with closing(open_for_writing(file, own_only)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                store, at = Store(connection), now()
                store.begin(at, wall)
                store.advance(at, Kind.STOPPED, "stunwalld was stopped, and the wall removed")
    except _TROUBLE as error:
        return f"cannot write the exposure ledger to {file} ({error})"
    return ""


class Store:
    """The rows in the file, written in a transaction that the caller commits. Raises SQLITE_ERRORS."""

    def __init__(self, connection: Connection) -> None:
        self._execute = connection.execute

    def begin(self, at: Moment, wall: FoundWall | None) -> None:
        """Write the time since the last daemon's last row."""
        if (last := self._last()) is None:
            return
        number, span = last
        for after in until_start(span, at, wall):
            if (after.kind, after.why) != (span.kind, span.why):
                self._insert(after)
                continue
            self._execute(
                "UPDATE ledger SET seconds = seconds + ?, awake = ?, boot = ? WHERE id = ?",
                (after.seconds, after.awake, after.boot, number),
            )

    def advance(self, at: Moment, kind: Kind, why: str, past: float = 0.0) -> None:
        """Lengthen the last row until `at`, or until `past` seconds before; then begin one if it is another kind.

        With `past`, the seconds are a row of their own, and the last row's kind goes on after it.
        """
        last = self._last()
        if last is None:
            self._insert(Span(kind, why, at.boot, at.wall - past, past, at.awake))
            return
        number, span = last
        elapsed = max(0.0, at.awake - span.awake)
        past = min(past, elapsed)
        self._execute(
            "UPDATE ledger SET seconds = seconds + ?, awake = ? WHERE id = ?",
            (elapsed - past, at.awake - past, number),
        )
        if past:
            self._insert(Span(kind, why, at.boot, at.wall - past, past, at.awake))
            self._insert(Span(span.kind, span.why, at.boot, at.wall, 0.0, at.awake))
        elif (kind, why) != (span.kind, span.why):
            self._insert(Span(kind, why, at.boot, at.wall, 0.0, at.awake))

    def retain(self, seconds: float) -> None:
        """Delete the rows that ended longer ago, by their lengths, but for their sums; the last row always stays."""
        old = (
            "(SELECT id FROM (SELECT id, total(seconds) OVER "
            "(ORDER BY id ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS age FROM ledger) WHERE age > ?)"
        )
        self._execute(
            f"INSERT INTO ledger_sums SELECT kind, total(seconds) FROM ledger WHERE id IN {old} GROUP BY kind "  # noqa: S608
            "ON CONFLICT (kind) DO UPDATE SET seconds = seconds + excluded.seconds",
            (seconds,),
        )
        self._execute(f"DELETE FROM ledger WHERE id IN {old}", (seconds,))  # noqa: S608

    def _last(self) -> tuple[int, Span] | None:
        cursor = self._execute(
            "SELECT id, kind, why, boot, start, seconds, awake FROM ledger ORDER BY id DESC LIMIT 1"
        )
        row = cursor.fetchone()
        return None if row is None else (row[0], Span(Kind(row[1]), *row[2:]))

    def _insert(self, span: Span) -> None:
        values = {name: getattr(span, name) for name in Span.__slots__}
        self._execute(_INSERT, values | {"kind": span.kind.value})

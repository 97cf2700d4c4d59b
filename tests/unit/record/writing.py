"""A writer at work, and the events that it writes."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from stunwall.config import Retention
from stunwall.model import Event
from stunwall.record import schema
from stunwall.record.reader import RecordReader
from stunwall.record.schema import RecordError
from stunwall.record.writer import RecordWriter
from unit import recorded

NOW = time.time()
TIMEOUT = 30  # seconds until a test fails that waits in vain; none waits so long otherwise


def event(port: int = 1, after: float = 0.0) -> Event:
    """A blocked flow from source port `port`, seen `after` seconds after NOW."""
    return recorded.event(port, NOW + after)


class Running:
    """A recorder in a folder, and what it announced and complained about."""

    def __init__(self, folder: Path, keep: Retention) -> None:
        self.folder = folder
        self.announced: list[Event] = []
        self.complaints: list[str] = []
        self._told = threading.Condition()
        self.recorder = RecordWriter(folder, keep, self._announce, self._complain)

    def _announce(self, event: Event) -> None:
        with self._told:
            self.announced.append(event)

    def _complain(self, text: str) -> None:
        with self._told:
            self.complaints.append(text)
            self._told.notify_all()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds; looked at after each write, good or bad."""
        with self._told:
            assert self._told.wait_for(holds, TIMEOUT), self.complaints[-1:]

    def until_said(self, words: str) -> None:
        """Wait until something new is complained about."""
        seen = len(self.complaints)
        self.until(lambda: any(words in text for text in self.complaints[seen:]))

    def write(self, *events: Event) -> None:
        """Record, and wait until it is in the file."""
        packets = sum(each.count for each in stored(self.folder)) + len(events)
        for each in events:
            self.recorder.record(each)
        self.until(lambda: sum(each.count for each in stored(self.folder)) == packets)


@contextmanager
def running(folder: Path, keep: Retention | None = None) -> Iterator[Running]:
    run = Running(folder, keep or Retention())
    try:
        run.until(lambda: bool(run.complaints))
        yield run
    finally:
        run.recorder.close()


@contextmanager
def held(run: Running) -> Iterator[None]:
    """Nothing is written meanwhile: the writer finds nothing that waits."""
    recorder = run.recorder
    written, recorder._write = recorder._write, lambda: True  # type: ignore[method-assign]
    yield
    recorder._write = written  # type: ignore[method-assign]


def stored(folder: Path) -> list[Event]:
    try:
        with closing(RecordReader(folder)) as record:
            return [event for _, event in record.events()]
    except RecordError:
        return []


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another program holds the database."""
    with closing(sqlite3.connect(folder / schema.FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def asides(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.db.*.broken"))


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """The file system of `folder` is full, to the last byte; it should be a small one."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))
    yield
    filler.unlink()

"""record/ledger.py after a power cut: what had been synced is kept, and no time that nobody saw counts as sealed.

The tests copy the file and its write-ahead log while the daemon's writer has both open. Whatever was written after the
last sync may be missing, cut off or torn (https://www.sqlite.org/walformat.html §4).
"""

import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from stunwall.config import Retention
from stunwall.record import ledger
from stunwall.record.ledger import FoundWall, Kind, Ledger, Moment, Span
from stunwall.record.reader import RecordReader
from stunwall.record.schema import FILE, open_for_writing

LEFT = FoundWall(read=0.0, age=0.0, filled=True)
LOG = FILE + "-wal"
FRAME = 24 + 4096  # bytes of a frame: its header and a page
SYNCED = 100.0  # CLOCK_BOOTTIME of what the disk has for certain


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[Moment]:
    """What the clocks show is its last element."""
    shown = [Moment(1000.0, 0.0, "one")]
    monkeypatch.setattr(ledger, "now", lambda: shown[-1])
    return shown


def write(folder: Path, clock: list[Moment], kinds: dict[float, Kind]) -> None:
    """Write, as a daemon does, what was so from each second of the boot on."""
    written = Ledger(folder, Retention, print)
    written.start(LEFT)
    for awake, kind in kinds.items():
        clock.append(Moment(1000.0 + awake, awake, "one"))
        written.enter(kind, "why")
    written.close()


def after_boot(folder: Path, clock: list[Moment]) -> list[Span]:
    """The ledger once a daemon has started in the next boot, at second 20 of it."""
    clock.append(Moment(1500.0, 20.0, "two"))
    complaints: list[str] = []
    written = Ledger(folder, Retention, complaints.append)
    written.start(LEFT)
    written.enter(Kind.SEALED)
    written.close()
    assert complaints == [""]
    with closing(RecordReader(folder)) as record:
        return record.spans()


@pytest.fixture
def cut(tmp_path: Path, clock: list[Moment]) -> tuple[Path, int]:
    """A folder as the disk had it when the power went, and how many bytes of the log had been synced before."""
    live, disk = tmp_path / "live", tmp_path / "disk"
    live.mkdir()
    # The record's writer: while it has the file open, nothing of the log gets into the file.
    with closing(open_for_writing(live / FILE)):
        write(live, clock, {0.0: Kind.SEALED, 60.0: Kind.PAUSED, SYNCED: Kind.SEALED})
        synced = (live / LOG).stat().st_size
        write(live, clock, {130.0: Kind.SEALED, 190.0: Kind.OPEN})
        shutil.copytree(live, disk)
    assert (disk / LOG).stat().st_size >= synced + 2 * FRAME
    return disk, synced


def tear(log: Path, synced: int, way: str) -> None:
    """Leave of what was not synced what a disk may leave of it."""
    data = log.read_bytes()
    lost = data[synced:]
    torn = {
        "whole": lost,
        "lost": b"",
        "cut within a header": lost[:7],
        "cut within a page": lost[: FRAME // 2],
        "without the last page's end": lost[:-512],
        "zeros": bytes(len(lost)),
        "the first page is missing, the rest is there": bytes(FRAME) + lost[FRAME:],
        "another's bytes": b"\xa5" * len(lost),
    }[way]
    log.write_bytes(data[:synced] + torn)


WAYS = (
    *("whole", "lost", "cut within a header", "cut within a page", "without the last page's end", "zeros"),
    *("the first page is missing, the rest is there", "another's bytes"),
)


@pytest.mark.parametrize("index", ["kept", "lost", "torn"])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_synced_is_kept_and_the_rest_is_not_sealed(
    cut: tuple[Path, int], clock: list[Moment], way: str, index: str
) -> None:
    folder, synced = cut
    tear(folder / LOG, synced, way)
    shared = folder / (FILE + "-shm")  # the log's index, which is not synced at all
    if index == "lost":
        shared.unlink()
    elif index == "torn":
        shared.write_bytes(b"\xa5" * shared.stat().st_size)
    sealed, paused, *rest = after_boot(folder, clock)
    assert (sealed.kind, sealed.seconds) == (Kind.SEALED, 60)
    assert (paused.kind, paused.seconds) == (Kind.PAUSED, 40)
    seen = sum(each.seconds for each in rest if each.kind is Kind.SEALED)
    unknown = sum(each.seconds for each in rest if each.kind is Kind.UNKNOWN)
    assert seen in (0, 30, 90)  # up to a heartbeat that the disk has
    if way != "whole":
        assert seen < 90
    assert seen + unknown == 400  # up to the start in the next boot: no hole
    assert unknown >= 310


def test_a_closed_row_is_synced_before_the_ledger_goes_on(
    tmp_path: Path, clock: list[Moment], monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[int] = []

    class Connection(sqlite3.Connection):
        def __exit__(self, *error: Any) -> Literal[False]:
            levels.append(self.execute("PRAGMA synchronous").fetchone()[0])
            return super().__exit__(*error)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Connection))
    with closing(open_for_writing(tmp_path / FILE)):
        levels.clear()
        write(tmp_path, clock, {0.0: Kind.PAUSED, 60.0: Kind.SEALED})
        assert ledger.wall_removed(tmp_path, LEFT) == ""
    assert levels
    assert set(levels) == {2}  # FULL: the log is synced at each commit (https://www.sqlite.org/pragma.html)

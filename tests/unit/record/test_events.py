"""writer.py and reader.py: real SQLite files, real threads. What happened is waited for, never slept for."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stunwall.config import Retention
from stunwall.model import Event
from stunwall.record import schema, writer
from stunwall.record.reader import RecordReader
from stunwall.record.schema import RecordError, RecordPermissionError
from stunwall.record.writer import RecordWriter
from unit.build import packet
from vectors.programs import message

NOW = time.time()
TIMEOUT = 30  # seconds until a test fails that waits in vain; none waits so long otherwise
AGENT = Path(__file__).resolve().parents[3] / "agent"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches at once, and a short wait for locks: the tests need many of both. Events of this minute."""
    global NOW
    NOW = time.time()
    monkeypatch.setattr(writer, "BATCH", 0.001)
    monkeypatch.setattr(schema, "_BUSY", 0.01)


def event(port: int = 1, after: float = 0.0) -> Event:
    """A blocked flow from source port `port`, seen `after` seconds after the start."""
    return Event(
        time=NOW + after,
        last_time=NOW + after,
        count=1,
        verdict="blocked",
        reason="outside-vpn",
        protocol="stun",
        method="Binding",
        transport="udp",
        family=4,
        source="192.0.2.17",
        source_port=port,
        destination="203.0.113.7",
        destination_port=3478,
        interface="eth0",
        packet=packet("udp", message(0x0001)),
    )


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


def sql(folder: Path, script: str) -> None:
    with closing(sqlite3.connect(folder / schema.FILE)) as connection:
        connection.executescript(script)


def asides(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.db.*.broken"))


def test_an_event_is_read_back_as_it_was_recorded(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.recorder.record(event())
    assert stored(tmp_path) == [event()]


def test_what_is_recorded_just_before_the_end_is_written(tmp_path: Path) -> None:
    for number in range(30):  # the end comes at another moment of the writer's round each time
        with running(tmp_path) as run:
            run.recorder.record(event(number))
            if number % 3 == 0:
                run.until(lambda run=run: len(run.complaints) > 1)  # type: ignore[misc]
            run.recorder.record(event(1000 + number))
    assert sorted(each.source_port for each in stored(tmp_path)) == [*range(30), *range(1000, 1030)]


def test_what_is_recorded_while_the_file_is_first_opened_is_written_though_the_end_comes_at_once(
    tmp_path: Path,
) -> None:
    for number in range(30):
        recorder = RecordWriter(tmp_path, Retention(), lambda event: None, lambda text: None)
        recorder.record(event(number))
        recorder.close()
    assert [each.source_port for each in stored(tmp_path)] == list(range(30))


def test_packets_of_a_flow_within_60_seconds_are_one_event_and_later_ones_another(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        for after in (0, 1, 59.9, 60, 61):
            run.write(event(after=after))
        run.write(event(2))
    found = stored(tmp_path)
    assert [(each.source_port, each.count) for each in found] == [(1, 3), (1, 2), (2, 1)]
    assert [(each.time - NOW, each.last_time - NOW) for each in found[:2]] == [
        (0, pytest.approx(59.9)),
        (60, 61),
    ]
    assert [(each.source_port, each.count) for each in run.announced] == [(1, 1), (1, 1), (2, 1)]


def test_packets_of_a_flow_in_one_batch_are_one_event(tmp_path: Path) -> None:
    with running(tmp_path) as run, locked(tmp_path):
        for after in range(50):
            run.recorder.record(event(after=after / 10))
        run.until_said("locked")
    (only,) = stored(tmp_path)
    assert (only.count, only.time, only.last_time) == (50, NOW, NOW + 4.9)


DIFFERENT = {
    "verdict": "accepted",
    "reason": "no-vpn",
    "transport": "tcp",
    "source": "2001:db8::1",
    "source_port": 2,
    "destination": "198.51.100.1",
    "destination_port": 19302,
}


@pytest.mark.parametrize("field", DIFFERENT)
def test_flows_that_differ_in_one_field_of_the_key_are_two_events(tmp_path: Path, field: str) -> None:
    with running(tmp_path) as run:
        run.write(event())
        run.write(replace(event(), **{field: DIFFERENT[field]}))  # type: ignore[arg-type]
    assert [each.count for each in stored(tmp_path)] == [1, 1]


def test_only_the_first_packet_of_a_flow_is_kept_and_no_more_than_2048_bytes(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(replace(event(), packet=b"1" * 9000))
        run.write(replace(event(), packet=b"2"))
    assert [each.packet for each in stored(tmp_path)] == [b"1" * 2048]


def test_an_interface_name_that_is_no_utf_8_loses_nothing(tmp_path: Path) -> None:
    name = os.fsdecode(b"eth\xff")  # as socket.if_indextoname gives it
    with running(tmp_path) as run:
        run.write(event(1), replace(event(2), interface=name), event(3))
    assert [each.interface for each in stored(tmp_path)] == ["eth0", r"eth\udcff", "eth0"]


def test_the_oldest_rows_go_when_there_are_too_many(tmp_path: Path) -> None:
    with running(tmp_path, Retention(keep_rows=3)) as run:
        run.recorder.record(event(1))
        for port in range(2, 8):
            run.recorder.record(event(port))
            run.until(lambda port=port: stored(tmp_path)[-1:] == [event(port)])  # type: ignore[misc]
    assert [each.source_port for each in stored(tmp_path)] == [5, 6, 7]


def test_rows_older_than_the_days_to_keep_go(tmp_path: Path) -> None:
    day = 86400
    with running(tmp_path, Retention(keep_days=2)) as run:
        for port, age in ((1, 3 * day), (2, 2 * day + 60), (3, 2 * day - 600), (4, 0)):
            run.recorder.record(event(port, after=-age))
        run.until(lambda: stored(tmp_path)[-1:] == [event(4)])
    assert [each.source_port for each in stored(tmp_path)] == [3, 4]


def test_what_was_lost_is_forgotten_with_the_rows_of_its_time(tmp_path: Path) -> None:
    with running(tmp_path, Retention(keep_days=2)) as run:
        run.write(event(1))
        now = time.time()
        sql(tmp_path, f"INSERT INTO lost VALUES ({now - 3 * 86400}, 5), ({now - 86400}, 7)")
        run.write(event(2))
    with closing(RecordReader(tmp_path)) as record:
        assert record.lost() == 7


@pytest.mark.parametrize(
    "unwritable",
    [{"source_port": 2**64}, {"method": "half of a pair: \udcff"}],
    ids=["a number that SQLite can't hold", "text that UTF-8 can't hold"],
)
def test_an_event_that_cannot_be_written_takes_no_other_with_it(
    tmp_path: Path, unwritable: dict[str, Any]
) -> None:
    with running(tmp_path) as run:
        with held(run):
            for each in (event(1), replace(event(2), count=3, **unwritable), event(4)):
                run.recorder.record(each)
        run.recorder.record(event(5))
        run.until(lambda: len(stored(tmp_path)) == 3)
        assert run.recorder.lost == 3
        assert any(text.startswith("3 packets could not be recorded (") for text in run.complaints)
        run.write(event(6))  # the thread goes on
        run.until(lambda: run.complaints[-1] == "")
    assert sorted(each.source_port for each in stored(tmp_path)) == [1, 4, 5, 6]
    with closing(RecordReader(tmp_path)) as record:
        assert record.lost() == 3


def test_a_line_that_cannot_be_written_to_the_log_loses_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: Running, event: Event) -> None:
        raise RuntimeError("no log")

    monkeypatch.setattr(Running, "_announce", fail)
    with running(tmp_path) as run:
        run.write(event(1))
        run.write(event(2))
        assert run.recorder.lost == 0


def test_ids_are_not_given_twice(tmp_path: Path) -> None:
    with running(tmp_path, Retention(keep_rows=1)) as run:
        run.write(event(1))
    sql(tmp_path, "DELETE FROM events")
    with running(tmp_path) as run:
        run.write(event(2))
    with closing(RecordReader(tmp_path)) as record:
        assert [number for number, _ in record.events()] == [2]
        assert record.last_id() == 2


def test_while_another_program_holds_the_database_nothing_is_lost(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(event(1))
        with locked(tmp_path):
            for port in (1, 2, 3):
                run.recorder.record(event(port, after=1))
            run.until_said("locked")
            run.recorder.record(event(2, after=2))
            run.until_said("locked")
            assert (
                "they are kept in memory. Another program has locked the database: stop it"
                in run.complaints[-1]
            )
        run.until(lambda: run.complaints[-1] == "" and len(stored(tmp_path)) == 3)
    assert [(each.source_port, each.count) for each in stored(tmp_path)] == [(1, 2), (2, 2), (3, 1)]
    assert run.recorder.lost == 0


def test_each_flow_is_announced_once_however_often_its_writing_fails(tmp_path: Path) -> None:
    with running(tmp_path) as run, locked(tmp_path):
        for round_ in range(4):
            run.recorder.record(event(1, after=round_))
            run.recorder.record(event(2 + round_))
            run.until_said("locked")
    assert sorted(each.source_port for each in run.announced) == [1, 2, 3, 4, 5]


def test_a_flow_that_was_announced_while_it_could_not_be_written_is_announced_again_when_it_is_new_again(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as run:
        with locked(tmp_path):
            run.recorder.record(event())
            run.until_said("locked")
        run.until(lambda: run.complaints[-1] == "")
        run.write(event(after=61))
    assert run.announced == [event(), event(after=61)]


def test_what_is_too_much_for_the_memory_is_counted_and_the_count_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PENDING_MAX", 3)
    with running(tmp_path) as run:
        with locked(tmp_path):
            for port in range(30):
                run.recorder.record(event(port))
            run.until_said("locked")
        run.until(lambda: run.complaints[-1] == "")
    with closing(RecordReader(tmp_path)) as record:
        assert [each.source_port for _, each in record.events()] == [0, 1, 2]
        assert record.lost() == run.recorder.lost == 27


def test_flows_that_come_while_a_write_fails_do_not_pile_up_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PENDING_MAX", 3)

    class Busy(Running):
        def _announce(self, announced: Event) -> None:
            # Called in the middle of a write, when nothing waits any more.
            if announced.source_port == 0:
                for port in range(1, 6):
                    self.recorder.record(event(port))

    with running(tmp_path):
        pass
    run = Busy(tmp_path, Retention())
    with locked(tmp_path):
        run.recorder.record(event(0))
        run.until_said("locked")
        run.recorder.close()
    assert run.complaints[-1].startswith("3 flows are lost")
    assert run.recorder.lost == 3


def test_the_end_with_a_database_that_stays_locked_says_what_is_lost(tmp_path: Path) -> None:
    with running(tmp_path) as run, locked(tmp_path):
        run.recorder.record(event(1))
        run.recorder.record(event(2))
        run.recorder.close()
    assert run.complaints[-1] == "2 flows are lost: they could not be written before stunwalld stopped"


def _whole(folder: Path) -> bytes:
    with running(folder) as run:
        run.write(*(event(port) for port in range(200)))
    return (folder / schema.FILE).read_bytes()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda whole: b"\xde\xad" * 5000,
    "text": lambda whole: b"this is no database\n" * 300,
    "cut in the header": lambda whole: whole[:60],
    "cut after a page": lambda whole: whole[:4096],
    "cut in a page": lambda whole: whole[:10000],
    "cut short": lambda whole: whole[:-4096],
    "zeros in the middle": lambda whole: whole[:4096] + bytes(len(whole) - 4096),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_moved_aside_and_told_and_the_events_are_kept(tmp_path: Path, name: str) -> None:
    damaged = DAMAGE[name](_whole(tmp_path))
    (tmp_path / schema.FILE).write_bytes(damaged)
    with running(tmp_path) as run:
        run.recorder.record(event(7))
        run.until(lambda: stored(tmp_path) == [event(7)])
    (aside,) = asides(tmp_path)
    assert aside.read_bytes()[100:] == damaged[100:]  # SQLite may have counted in the header that it came by
    assert "was damaged" in run.complaints[-1]
    assert f"it was moved to {aside}, and a new one was started" in run.complaints[-1]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("PRAGMA user_version = 2", "its schema has version 2, this stunwall knows 1"),
        ("ALTER TABLE events DROP COLUMN interface", "no such column"),
        ("DROP INDEX events_time; ALTER TABLE events DROP COLUMN last_time", "last_time"),
        ("ALTER TABLE events RENAME COLUMN method TO m", "no such column"),
        ("DROP TABLE events; CREATE TABLE events (id)", "no such column"),
    ],
)
def test_a_file_of_another_shape_is_moved_aside_whole(tmp_path: Path, script: str, words: str) -> None:
    _whole(tmp_path)
    sql(tmp_path, script)
    with running(tmp_path) as run:
        run.recorder.record(event(7))
        run.until(lambda: stored(tmp_path) == [event(7)])
    assert len(asides(tmp_path)) == 1
    assert words in run.complaints[-1]


@pytest.mark.parametrize("content", [b"", b"x"])
def test_an_empty_file_is_a_new_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / schema.FILE).write_bytes(content)
    with running(tmp_path) as run:
        run.write(event())
    assert asides(tmp_path) == []


def test_a_file_that_is_replaced_by_garbage_while_it_is_open_loses_no_event(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(event(1))
        (tmp_path / "garbage").write_bytes(b"garbage" * 1000)
        (tmp_path / "garbage").rename(tmp_path / schema.FILE)
        run.recorder.record(event(2))
    assert event(2) in stored(tmp_path)  # and event(1) too where SQLite finds it in the log beside the file


@pytest.mark.parametrize("suffixes", [("", "-wal", "-shm"), ("",)])
def test_a_file_that_is_removed_while_it_is_open_loses_no_event(
    tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    with running(tmp_path) as run:
        run.write(event(1), event(2))
        for suffix in suffixes:
            (tmp_path / f"{schema.FILE}{suffix}").unlink(missing_ok=True)
        run.recorder.record(event(2, after=1))  # would go on in a row that is gone
        run.until(lambda: len(stored(tmp_path)) == 1)
    assert [(each.source_port, each.count) for each in stored(tmp_path)] == [(2, 1)]


def test_a_flow_whose_row_somebody_deleted_is_recorded_anew(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(event(1), event(2))
        sql(tmp_path, "DELETE FROM events")
        run.write(event(2, after=1))
    assert [(each.source_port, each.count) for each in stored(tmp_path)] == [(2, 1)]


def test_a_folder_that_is_missing_is_told_and_the_events_wait_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with running(folder) as run:
        run.recorder.record(event())
        run.until_said("Check that the folder exists")
        folder.mkdir()
        run.until(lambda: stored(folder) == [event()])
    assert run.complaints[-1] == ""


FULL = """
import threading
from pathlib import Path
from unit.record.test_events import event, running, stored
from stunwall.record import schema, writer
writer.BATCH = 0.001
folder = Path({folder!r})
with running(folder) as run:
    run.write(event(1))
    filler = (folder / "filler").open("wb", buffering=0)
    try:
        while True:
            filler.write(bytes(512))
    except OSError:
        pass
    for port in range(2, 300):
        run.recorder.record(event(port))
    run.until_said("Make room on the disk")
    (folder / "filler").unlink()
    filler.close()
    run.until(lambda: len(stored(folder)) == 299)
assert run.recorder.lost == 0
assert sum(each.count for each in stored(folder)) == 299
assert len(run.announced) == 299
print("all there")
"""


def test_on_a_full_disk_the_events_wait_until_there_is_room(tmp_path: Path) -> None:
    namespaces = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if subprocess.run([*namespaces, "true"], capture_output=True).returncode:
        pytest.skip("needs a mount namespace (root, or user namespaces): a small file system is mounted")
    script = FULL.format(folder=str(tmp_path))
    mount = 'mount -t tmpfs -o size=512k tmpfs "$1" && exec "$2" -c "$3"'
    done = subprocess.run(
        [*namespaces, "sh", "-c", mount, "sh", str(tmp_path), sys.executable, script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{AGENT}:{AGENT.parent / 'tests'}"},
    )
    assert done.stdout == "all there\n", done.stderr


def test_the_file_and_what_sqlite_keeps_beside_it_are_for_their_user_and_group_only(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(event())
        assert len(list(tmp_path.iterdir())) == 3
        assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o640}


def test_a_reader_sees_what_a_living_writer_has_written_and_what_an_ended_one_has(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(event(1))
        with closing(RecordReader(tmp_path)) as record:
            run.write(event(2))
            assert [each.source_port for _, each in record.events()] == [1, 2]
    assert [file.name for file in tmp_path.iterdir()] == [schema.FILE]
    with closing(RecordReader(tmp_path)) as record:
        assert record.last_id() == 2


def test_a_reader_without_the_right_to_write_reads_a_record_whose_writer_has_ended(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(event())
    os.chmod(tmp_path, 0o555)  # noqa: PTH101
    for folder in tmp_path.parents[:2]:
        if os.geteuid() == 0:
            folder.chmod(folder.stat().st_mode | 0o755)
    (tmp_path / schema.FILE).chmod(0o444)
    script = (
        "import os, pathlib\nfrom stunwall.record.reader import RecordReader\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        f"print(RecordReader(pathlib.Path({str(tmp_path)!r})).last_id())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(AGENT)},
    )
    os.chmod(tmp_path, 0o755)  # noqa: PTH101
    assert done.stdout == "1\n", done.stderr


def test_events_are_filtered_by_time_id_and_number_and_come_oldest_first(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        for port in range(1, 6):
            run.write(event(port, after=port))
    with closing(RecordReader(tmp_path)) as record:

        def ports(**given: float) -> list[int]:
            return [each.source_port for _, each in record.events(**given)]  # type: ignore[arg-type]

        assert ports() == [1, 2, 3, 4, 5]
        assert ports(since=NOW + 3) == [3, 4, 5]
        assert ports(after=3) == [4, 5]
        assert ports(limit=2) == [4, 5]
        assert ports(limit=2, since=NOW + 5) == [5]
        assert ports(limit=10**30) == [1, 2, 3, 4, 5]
        assert ports(since=NOW + 6) == []
        assert record.blocked(NOW + 4) == (2, 2)
        assert record.blocked(0) == (5, 5)
        assert record.redirected(0) == (0, 0)


MOVED = replace(event(7), verdict="redirected", reason="redirected")
STRAYED = replace(event(7), reason="device-bound")


def test_what_turned_out_otherwise_is_recorded_as_what_became_of_it(tmp_path: Path) -> None:
    with running(tmp_path) as run, held(run):
        run.recorder.record(MOVED)
        run.recorder.record(replace(MOVED, source_port=8))
        run.recorder.retract(MOVED)
        run.recorder.record(STRAYED)
    found = [(each.source_port, each.verdict) for each in stored(tmp_path)]
    assert found == [(8, "redirected"), (7, "blocked")]
    assert run.announced == stored(tmp_path)
    with closing(RecordReader(tmp_path)) as record:
        assert (record.blocked(0), record.redirected(0)) == ((1, 1), (1, 1))


def test_taking_back_one_packet_of_several_leaves_the_others(tmp_path: Path) -> None:
    with running(tmp_path) as run, held(run):
        for _ in range(3):
            run.recorder.record(MOVED)
        run.recorder.retract(MOVED)
    assert [each.count for each in stored(tmp_path)] == [2]


def test_what_is_written_already_or_never_came_cannot_be_taken_back(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.recorder.retract(MOVED)
        run.write(MOVED)
        run.recorder.retract(MOVED)
        run.write(STRAYED)
    assert [(each.verdict, each.count) for each in stored(tmp_path)] == [("redirected", 1), ("blocked", 1)]


def test_what_was_taken_back_is_not_counted_as_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PENDING_MAX", 1)
    with running(tmp_path) as run, held(run):
        for _ in range(5):
            run.recorder.record(MOVED)
            run.recorder.retract(MOVED)
        run.recorder.record(STRAYED)
        assert run.recorder.lost == 0
    assert [each.verdict for each in stored(tmp_path)] == ["blocked"]


def test_an_event_is_found_by_its_id_and_no_number_is_too_strange_to_ask_for(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.write(event())
    with closing(RecordReader(tmp_path)) as record:
        assert record.event(1) == event()
        for number in (0, -1, 2, 2**63 - 1, 2**63, 10**40, -(10**40)):
            assert record.event(number) is None


def test_an_empty_record_has_no_events(tmp_path: Path) -> None:
    with running(tmp_path):
        pass
    with closing(RecordReader(tmp_path)) as record:
        assert (list(record.events()), record.last_id(), record.blocked(0), record.lost()) == (
            [],
            0,
            (0, 0),
            0,
        )


def test_a_record_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="there is no record yet"):
        RecordReader(tmp_path)
    with pytest.raises(RecordError, match="there is no record yet"):
        RecordReader(tmp_path / "missing")
    with pytest.raises(RecordError, match="cannot read"):
        RecordReader(tmp_path / ("x" * 300))


@pytest.mark.parametrize("content", [b"", b"garbage" * 999, None])
def test_a_reader_of_a_broken_file_gets_one_error(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        (tmp_path / schema.FILE).mkdir()
    else:
        (tmp_path / schema.FILE).write_bytes(content)
    with pytest.raises(RecordError, match="cannot read") as caught:
        RecordReader(tmp_path)
    assert not isinstance(caught.value, RecordPermissionError)


HOSTILE = [
    "'text'",
    "x'00ff'",
    "-1",
    "1e999",
    "-1e999",
    "9223372036854775807",
    "1e18",
    "CAST(x'ff' AS TEXT)",
    "CAST(x'1b5b' AS TEXT)",
    "0.5",
    "''",
    "zeroblob(1000000)",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_row_that_was_tampered_with_gives_an_event_of_the_right_types_or_events_error(
    tmp_path: Path, value: str
) -> None:
    with running(tmp_path) as run:
        run.write(event())
    whole = (tmp_path / schema.FILE).read_bytes()
    for column, kind in Event.__annotations__.items():
        (tmp_path / schema.FILE).write_bytes(whole)
        sql(tmp_path, f"UPDATE events SET {column} = {value}")
        with closing(RecordReader(tmp_path)) as record:
            found = [_read(record.event, 1), *(_read(lambda: list(record.events())) or [])]
            for each in found:
                value_read = getattr(each[1] if isinstance(each, tuple) else each, column, None)
                assert value_read is None or isinstance(value_read, (int, float) if kind is float else kind)
            for ask in (record.lost, record.last_id, lambda: record.blocked(0)):
                _read(ask)


def _read(ask: Callable[..., object], *values: object) -> Any:
    """What is answered, None if the answer is RecordError: nothing else may be raised."""
    try:
        return ask(*values)
    except RecordError:
        return None


_OTHER = "DROP TABLE events; CREATE TABLE events (id, count, last_time, verdict);"


@pytest.mark.parametrize(
    ("script", "ask", "answer"),
    [
        ("INSERT INTO lost VALUES (1, 1e999)", "lost", None),
        ("INSERT INTO lost VALUES ('x', 'y')", "lost", 0),
        ("DROP TABLE lost", "lost", None),
        ("DROP TABLE lost", "last_id", 1),
        (f"{_OTHER} INSERT INTO events VALUES ('x', 1, 1, 'blocked')", "last_id", None),
        (f"{_OTHER} INSERT INTO events VALUES (1, 1e999, 1, 'blocked')", "blocked", None),
        (f"{_OTHER} INSERT INTO events VALUES (1, 'many', 1, 'blocked')", "blocked", (1, 0)),
        (f"{_OTHER} INSERT INTO events VALUES (1, 1, 1, 'blocked')", "events", None),
        (f"{_OTHER} INSERT INTO events VALUES (1, 1, 1, 'blocked')", "event", None),
    ],
)
def test_tables_that_were_tampered_with_give_numbers_or_events_error(
    tmp_path: Path, script: str, ask: str, answer: object
) -> None:
    with running(tmp_path) as run:
        run.write(event())
    sql(tmp_path, script)
    with closing(RecordReader(tmp_path)) as record:
        asked: dict[str, Callable[[], object]] = {
            "lost": record.lost,
            "last_id": record.last_id,
            "blocked": lambda: record.blocked(0),
            "events": lambda: list(record.events()),
            "event": lambda: record.event(1),
        }
        assert _read(asked[ask]) == answer

"""writer.py: real SQLite files, real threads. What happened is waited for, never slept for."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stunwall.config import Retention
from stunwall.model import Event, Sender
from stunwall.record import schema, writer
from stunwall.record.reader import RecordReader
from stunwall.record.writer import RecordWriter
from unit.record import writing
from unit.record.writing import Running, asides, event, held, locked, running, stored
from unit.recorded import sql, version_1, without_summary

AGENT = Path(__file__).resolve().parents[3] / "agent"


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
    assert [(each.time - writing.NOW, each.last_time - writing.NOW) for each in found[:2]] == [
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
    assert (only.count, only.time, only.last_time) == (50, writing.NOW, writing.NOW + 4.9)


def test_packets_are_counted_by_verdict_and_reason_and_the_rest_by_verdict_and_no_count_sinks(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as run, held(run):
        for each in (event(), event(), replace(event(2), reason="tcp")):
            run.recorder.record(each)
        run.recorder.record(Event.note(writing.NOW, "gap", "nft (pid 7) changed the wall"))
        run.recorder.retract(event(2))
        counts = dict(run.recorder.counts)
    assert counts == {("blocked", "outside-vpn"): 2, ("blocked", "tcp"): 1, ("gap", ""): 1}


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


def test_what_is_too_much_for_the_memory_is_part_of_an_aggregate(
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
        assert [each.source_port for _, each in record.events(limit=4)][:3] == [0, 1, 2]
        (rest,) = (each for _, each in record.events(after=3))
        assert (rest.flows, rest.count, rest.destination) == (27, 27, "")
        assert record.blocked(0) == (30, 30)
        assert run.recorder.lost == 0


def test_what_is_too_much_for_the_memory_is_counted_and_the_count_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PENDING_MAX", 3)
    monkeypatch.setattr(writer, "_AGGREGATES_MAX", 0)
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
    monkeypatch.setattr(writer, "_AGGREGATES_MAX", 0)

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
    # SQLite's message then has a byte that is no UTF-8, and Python raises UnicodeDecodeError in its place.
    "a name that is no text": lambda whole: whole.replace(b"tableevents", b"table\xffvents"),
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
        ("PRAGMA user_version = 4", "its schema has version 4, this stunwall knows 3"),
        ("ALTER TABLE events DROP COLUMN interface", "no such column"),
        (
            "DROP INDEX events_time; DROP INDEX events_exposed; ALTER TABLE events DROP COLUMN last_time",
            "last_time",
        ),
        ("ALTER TABLE events RENAME COLUMN method TO m", "no such column"),
        ("DROP TABLE events; CREATE TABLE events (id)", "no such column"),
    ],
)
def test_a_file_of_another_shape_is_moved_aside_whole(tmp_path: Path, script: str, words: str) -> None:
    _whole(tmp_path)
    without_summary(tmp_path)
    sql(tmp_path, script)
    with running(tmp_path) as run:
        run.recorder.record(event(7))
        run.until(lambda: stored(tmp_path) == [event(7)])
    assert len(asides(tmp_path)) == 1
    assert words in run.complaints[-1]


def test_a_file_of_version_1_keeps_its_entries_and_gets_the_new_columns(tmp_path: Path) -> None:
    version_1(tmp_path, event(1))
    with running(tmp_path) as run:
        run.write(replace(event(7), uid=1000, user="alice"))
        assert stored(tmp_path) == [event(1), replace(event(7), uid=1000, user="alice")]
    assert asides(tmp_path) == []


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
from dataclasses import replace
from pathlib import Path
from unit.record.writing import event, full_disk, running, stored
from stunwall.record import writer
writer.BATCH = 0.001
folder = Path({folder!r})
with running(folder) as run:
    run.write(event(1))
    with full_disk(folder):
        for port in range(2, 300):
            # Of many senders, as one alone does not get so many rows.
            run.recorder.record(replace(event(port), source=f"192.0.2.{{port // 50}}"))
        run.until_said("Make room on the disk")
    run.until(lambda: len(stored(folder)) == 299)
assert run.recorder.lost == 0
assert sum(each.count for each in stored(folder)) == 299
assert len(run.announced) == 299
print("all there")
"""
FULL_AT_START = """
from contextlib import ExitStack
from pathlib import Path
from unit.record.writing import event, full_disk, running, stored
from stunwall.record import schema, writer
from stunwall.record.reader import RecordReader
writer.BATCH = 0.001
folder = Path({folder!r})
with running(folder) as run:
    run.write(event(1))
with ExitStack() as full:
    full.enter_context(full_disk(folder))
    with running(folder) as run:
        run.recorder.record(event(2))
        run.until_said("disk I/O error")
        run.until_said("Make room on the disk")
        try:
            list(RecordReader(folder).events())
        except schema.RecordError as error:
            assert "disk I/O error. The disk is full: make room on it" in str(error), error
        else:
            raise AssertionError("read on a full disk")
        full.close()
        run.until(lambda: len(stored(folder)) == 2)
print("all there")
"""


@pytest.mark.parametrize("scenario", [FULL, FULL_AT_START], ids=["while writing", "at the start"])
def test_on_a_full_disk_the_events_wait_until_there_is_room(tmp_path: Path, scenario: str) -> None:
    namespaces = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if subprocess.run([*namespaces, "true"], capture_output=True).returncode:
        pytest.skip("needs a mount namespace (root, or user namespaces): a small file system is mounted")
    script = scenario.format(folder=str(tmp_path))
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


def test_who_sent_it_is_found_out_before_it_is_written_and_what_comes_meanwhile_waits(tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def identify(found: Event, sender: Sender | None) -> Event:
        asked.set()
        assert go_on.wait(30)
        return replace(found, user="alice")

    recorder = RecordWriter(tmp_path, Retention(), lambda event: None, lambda text: None, identify)
    recorder.record(event(1))
    assert asked.wait(30)
    recorder.record(event(2))
    go_on.set()
    recorder.close()
    assert [(each.source_port, each.user) for each in stored(tmp_path)] == [(1, "alice"), (2, "alice")]


def test_with_too_many_at_once_the_user_is_known_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_PATIENCE", -1.0)
    recorder = RecordWriter(tmp_path, Retention(), lambda event: None, lambda text: None)
    recorder.record(event(1), Sender(1000, 7, 4711))
    recorder.close()
    (found,) = stored(tmp_path)
    assert (found.uid, found.who) == (1000, writer._TOO_MANY)


def test_who_sent_it_may_fail_to_be_found_out_and_it_is_written(tmp_path: Path) -> None:
    said: list[str] = []

    def identify(found: Event, sender: Sender | None) -> Event:
        raise ValueError("odd")

    recorder = RecordWriter(tmp_path, Retention(), lambda event: None, said.append, identify)
    recorder.record(event(1))
    recorder.close()
    assert stored(tmp_path) == [event(1)]
    assert any("not found out who sent some packets (ValueError: odd)" in text for text in said)

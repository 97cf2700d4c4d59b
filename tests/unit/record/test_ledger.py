"""record/ledger.py with made clocks: a stepped wall clock, a crash, a reboot, and sleep."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stunwall.cli.ledger import Exposure, length, percent, to_present
from stunwall.config import Retention
from stunwall.record.ledger import FoundWall, Kind, Ledger, Moment, Span, Store, until_start, wall_removed
from stunwall.record.reader import RecordReader
from stunwall.record.schema import FILE, RecordError, open_for_writing

DAY = 86400.0
KEEP = Retention()


def at(awake: float, wall: float | None = None, boot: str = "one") -> Moment:
    return Moment(1_000_000 + awake if wall is None else wall, awake, boot)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_for_writing(tmp_path / FILE)) as opened:
        yield opened


def rows(connection: sqlite3.Connection) -> list[tuple[str, float]]:
    return connection.execute("SELECT kind, seconds FROM ledger ORDER BY id").fetchall()


@pytest.mark.parametrize("wall", [0.0, 1_000_000.0, 9_000_000.0], ids=["back", "still", "forward"])
def test_a_stepped_wall_clock_does_not_change_a_length(connection: sqlite3.Connection, wall: float) -> None:
    store = Store(connection)
    store.advance(at(100), Kind.PAUSED, "why")
    store.advance(at(160, wall), Kind.SEALED, "")
    store.advance(at(400), Kind.SEALED, "")
    assert rows(connection) == [("paused", 60.0), ("sealed", 240.0)]


def test_a_gap_in_the_past_splits_the_row_and_is_never_longer_than_it(connection: sqlite3.Connection) -> None:
    store = Store(connection)
    store.advance(at(100), Kind.SEALED, "")
    store.advance(at(200), Kind.WALL_GONE, "nft", past=10)
    store.advance(at(205), Kind.WALL_GONE, "nft", past=DAY)
    assert rows(connection) == [
        *(("sealed", 90.0), ("wall-gone", 10.0), ("sealed", 0.0), ("wall-gone", 5.0), ("sealed", 0.0)),
    ]


def test_the_seconds_of_a_kind_outlast_its_rows(tmp_path: Path, connection: sqlite3.Connection) -> None:
    store, file = Store(connection), tmp_path / FILE

    def lengths() -> dict[str, float]:
        connection.commit()
        with closing(RecordReader(file.parent)) as record:
            return {kind.value: seconds for kind, seconds in record.lengths().items() if seconds}

    for awake, kind in ((100, Kind.PAUSED), (160, Kind.SEALED), (400, Kind.OPEN), (500, Kind.SEALED)):
        store.advance(at(awake), kind, "")
        store.retain(90)
    assert rows(connection) == [("open", 100.0), ("sealed", 0.0)]
    assert lengths() == {"paused": 60.0, "sealed": 240.0, "open": 100.0}
    store.advance(at(700), Kind.PAUSED, "")
    store.advance(at(800), Kind.SEALED, "")
    store.retain(90)
    assert lengths() == {"paused": 160.0, "sealed": 440.0, "open": 100.0}


def test_a_ledger_without_sums_is_read_and_one_with_wrong_ones_is_damaged(
    tmp_path: Path, connection: sqlite3.Connection
) -> None:
    Store(connection).advance(at(100), Kind.PAUSED, "")
    connection.execute("INSERT INTO ledger_sums VALUES ('paused', 'long')")
    connection.commit()
    with closing(RecordReader(tmp_path)) as record:
        with pytest.raises(RecordError, match="damaged"):
            record.lengths()
        connection.execute("DROP TABLE ledger_sums")
        connection.commit()
        assert set(record.lengths().values()) == {0.0}


def span(kind: Kind, awake: float = 100, seconds: float = 50) -> Span:
    return Span(kind, "why", "one", 1_000_000 + awake - seconds, seconds, awake)


LEFT = FoundWall(read=25, age=3, filled=True)  # by the last daemon


def found(last: Span, at: Moment, wall: FoundWall | None) -> list[tuple[Kind, float]]:
    return [(each.kind, each.seconds) for each in until_start(last, at, wall)]


@pytest.mark.parametrize(
    ("last", "stood", "missing"),
    [
        (Kind.SEALED, Kind.SEALED, Kind.WALL_GONE),
        (Kind.EXPOSED, Kind.SEALED, Kind.WALL_GONE),
        (Kind.UNKNOWN, Kind.SEALED, Kind.WALL_GONE),
        *((kind, kind, kind) for kind in (Kind.PAUSED, Kind.OPEN, Kind.STOPPED, Kind.WALL_GONE)),
    ],
)
def test_a_crash_within_a_boot(last: Kind, stood: Kind, missing: Kind) -> None:
    assert found(span(last), at(130, wall=5.0), LEFT) == [(stood, 30.0)]
    assert found(span(last), at(130, wall=5.0), None) == [(missing, 30.0)]


@pytest.mark.parametrize(
    ("last", "before"),
    [
        (Kind.SEALED, Kind.UNKNOWN),
        (Kind.EXPOSED, Kind.UNKNOWN),
        (Kind.PAUSED, Kind.PAUSED),
        (Kind.OPEN, Kind.OPEN),
        (Kind.STOPPED, Kind.STOPPED),
    ],
)
def test_a_wall_that_was_loaded_anew_meanwhile_is_sealed_from_then_on(last: Kind, before: Kind) -> None:
    wall = FoundWall(read=128, age=8, filled=False)
    assert found(span(last), at(130, wall=5.0), wall) == [(before, 20.0), (Kind.SEALED, 10.0)]


@pytest.mark.parametrize("last", Kind)
def test_a_reboot_is_unknown_until_the_wall_was_loaded(last: Kind) -> None:
    before = Kind.STOPPED if last is Kind.STOPPED else Kind.UNKNOWN
    started = at(20, wall=1_000_500, boot="two")
    wall = FoundWall(read=19, age=15, filled=False)
    assert found(span(last), started, wall) == [(before, 384.0), (Kind.SEALED, 16.0)]
    assert found(span(last), started, None) == [(before, 400.0)]


def test_a_reboot_is_unknown_if_another_daemon_has_run_that_the_ledger_does_not_know() -> None:
    started = at(20, wall=1_000_500, boot="two")
    assert found(span(Kind.SEALED), started, replace(LEFT, read=19)) == [(Kind.UNKNOWN, 400.0)]


def test_a_reboot_with_a_clock_that_went_back_is_as_long_as_the_boot_at_least() -> None:
    started = at(20, wall=3.0, boot="two")
    wall = FoundWall(read=20, age=15, filled=False)
    assert found(span(Kind.SEALED), started, wall) == [(Kind.UNKNOWN, 5.0), (Kind.SEALED, 15.0)]


def test_sleep_makes_the_time_shorter_in_which_the_wall_was_up_for_certain() -> None:
    # Loaded 5 s after the start of the system, which then slept for 1000 s.
    wall = FoundWall(read=1030, age=25, filled=False)
    after = found(span(Kind.SEALED), at(1030, wall=1_002_000, boot="two"), wall)
    assert after[-1] == (Kind.SEALED, 25.0)


@pytest.mark.parametrize("age", [0, 20.1, 9 * DAY], ids=["not known", "before the boot", "much more"])
def test_an_age_that_cannot_be_is_unknown(age: float) -> None:
    wall = FoundWall(read=20, age=age, filled=False)
    assert found(span(Kind.SEALED), at(20, wall=1_000_500, boot="two"), wall) == [(Kind.UNKNOWN, 400.0)]


def test_both_parts_of_the_time_until_a_start_are_written(connection: sqlite3.Connection) -> None:
    store = Store(connection)
    store.advance(at(100), Kind.STOPPED, "why")
    store.begin(at(130), FoundWall(read=130, age=10, filled=False))
    store.advance(at(140), Kind.SEALED, "")
    assert rows(connection) == [("stopped", 20.0), ("sealed", 20.0), ("sealed", 0.0)]


def test_old_rows_go_and_the_last_stays(connection: sqlite3.Connection) -> None:
    store = Store(connection)
    for number, kind in enumerate((Kind.PAUSED, Kind.SEALED, Kind.PAUSED, Kind.SEALED)):
        store.advance(at(number * DAY), kind, "")
    store.advance(at(40 * DAY), Kind.SEALED, "")
    store.retain(2 * DAY)
    assert rows(connection) == [("sealed", 37 * DAY)]


def test_the_thread_writes_what_a_killed_daemon_left_and_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    for kind in (Kind.PAUSED, Kind.SEALED):
        ledger = Ledger(tmp_path, lambda: KEEP, said.append)
        ledger.start(LEFT)
        ledger.enter(kind, "why")
        ledger.close()
    with closing(RecordReader(tmp_path)) as record:
        assert [each.kind for each in record.spans()] == [Kind.PAUSED, Kind.SEALED]
    assert not any(said)


def test_the_ledger_leaves_the_file_to_those_who_may_read_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, lambda: Retention(own_only=True), print)
    ledger.start(LEFT)
    ledger.enter(Kind.SEALED)
    ledger.close()
    assert wall_removed(tmp_path, LEFT) == ""
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_damaged_row_is_a_complaint_and_not_the_end_of_the_thread(tmp_path: Path) -> None:
    with closing(open_for_writing(tmp_path / FILE)) as connection, connection:
        connection.execute("INSERT INTO ledger VALUES (1, 'x', '', '', 0, 0, 0)")
    said: list[str] = []
    ledger = Ledger(tmp_path, lambda: KEEP, said.append)
    ledger.start(LEFT)
    ledger.enter(Kind.SEALED)
    ledger.close()
    assert "cannot write the exposure ledger" in said[-1]


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("kind", [Kind.SEALED, Kind.EXPOSED])
def test_silence_is_unknown_whether_or_not_the_daemon_answers(kind: Kind, running: bool) -> None:
    found = to_present([span(kind)], at(900), running)
    assert [(each.kind, each.seconds) for each in found] == [(kind, 50), (Kind.UNKNOWN, 800)]


def test_only_a_daemon_that_answers_is_still_sealed() -> None:
    (sealed,) = to_present([span(Kind.SEALED)], at(160), running=True)
    assert sealed.seconds == 110
    assert to_present([span(Kind.SEALED)], at(160), running=False) == [span(Kind.SEALED)]


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("kind", [Kind.PAUSED, Kind.OPEN, Kind.WALL_GONE, Kind.STOPPED])
def test_what_is_not_sealed_lasts_until_now(kind: Kind, running: bool) -> None:
    (lasting,) = to_present([span(kind, seconds=0)], at(900, wall=5.0), running)
    assert (lasting.kind, lasting.seconds) == (kind, 800)


def test_an_open_state_that_has_just_begun_is_known() -> None:
    found = Exposure(to_present([span(Kind.OPEN, seconds=0)], at(103), running=True), 0)
    assert found.sentence == "Sealed for 0 % of 3 s; open 1 time, 3 s; nothing proven."


def test_a_restart_of_the_machine_is_unknown_until_the_daemon_writes() -> None:
    found = to_present([span(Kind.PAUSED)], at(20, wall=1_000_500, boot="two"), running=True)
    assert [each.kind for each in found] == [Kind.PAUSED, Kind.UNKNOWN]


@pytest.mark.parametrize(
    ("sealed", "total", "said"),
    [
        (0, 1000, "0 %"),
        (0.001, 1000, "less than 1 %"),
        (0.1, 1000, "less than 1 %"),
        (9.99, 1000, "less than 1 %"),
        (10, 1000, "1 %"),
        (0.46, 3.23, "14 %"),
        (989.9, 1000, "98 %"),
        (990, 1000, "99 %"),
        (995, 1000, "99.5 %"),
        (999.7, 1000, "99.97 %"),
        (999.9999, 1000, "99.99 %"),
        (1000, 1000, "100 %"),
    ],
)
def test_a_share_has_decimals_only_near_to_all(sealed: float, total: float, said: str) -> None:
    assert percent(sealed / total) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.004, "0.004 s"), (0.23, "0.2 s"), (3.23, "3 s"), (59.9, "59 s"), (61, "1 min 1 s")],
)
def test_a_length_has_decimals_only_below_a_second(seconds: float, said: str) -> None:
    assert length(seconds) == said


def test_the_sentence_never_rounds_up_to_all() -> None:
    spans = [span(Kind.SEALED, seconds=30 * DAY), span(Kind.PAUSED, seconds=1)]
    said = Exposure(spans, 0).sentence
    assert said == "Sealed for 99.99 % of 30 d 0 h; paused 1 time, 1 s; nothing proven."
    assert Exposure(spans[:1], 2).sentence == "Sealed for 100 % of 30 d 0 h; 2 proven exposures."

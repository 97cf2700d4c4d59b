"""cli/record.py: the record of a user who may not read the file, page by page from the daemon."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stunwall.cli import record as cli_record
from stunwall.cli.record import OwnRecord, open_record
from stunwall.config import Config
from stunwall.control import client
from stunwall.control.protocol import ControlError
from stunwall.daemon import events
from stunwall.record.filter import Filter
from stunwall.record.reader import GROUPS, RecordReader
from stunwall.record.schema import RecordPermissionError
from unit.record.test_filter import ENTRIES, WANTED
from unit.recorded import event, record

USER = 1000
NOW = time.time()
TIMES = [NOW + 100 * n for n in range(7)]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnRecord]:
    """What a daemon tells the user with pages of two; of the entries 1 to 7, those with an odd id are theirs."""
    record(tmp_path, *(replace(event(n, TIMES[n - 1]), uid=USER + 1 - n % 2) for n in range(1, 8)))
    monkeypatch.setattr(events, "PAGE", 2)

    def request(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
        return events.page(tmp_path, USER, asked.get("after", 0), asked.get("before"), asked.get("limit", 9))

    monkeypatch.setattr(client, "request", request)
    with closing(OwnRecord(tmp_path)) as one:
        yield one


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"limit": 1},
        {"limit": 3},
        {"limit": 99},
        {"after": 3},
        {"after": 3, "limit": 1},
        {"since": NOW + 200},
        {"since": NOW + 200, "limit": 99},
        {"since": NOW + 201, "limit": 1},
        {"since": NOW + 601, "limit": 5},
        {"after": 99},
    ],
)
def test_it_says_what_the_file_says_of_the_users_own(
    tmp_path: Path, own: OwnRecord, asked: dict[str, Any]
) -> None:
    asked = dict(asked)
    with closing(RecordReader(tmp_path)) as file:
        wanted = Filter(since=asked.pop("since", 0.0))
        mine = [each for each in file.events(wanted, asked.get("after", 0)) if each[0] % 2]
        assert list(own.events(wanted, **asked)) == mine[-asked.get("limit", 99) :]
        assert own.last_id() == 7
        for number in range(-1, 10):
            assert own.event(number) == (file.event(number) if number % 2 and number > 0 else None)
        assert own.event(2**63) is None


@pytest.mark.parametrize("wanted", WANTED)
def test_a_filter_fits_what_the_condition_in_sql_finds(tmp_path: Path, wanted: Filter) -> None:
    record(tmp_path, *ENTRIES)
    with closing(RecordReader(tmp_path)) as file:
        entries = list(file.events())
        assert [each for each in entries if wanted.fits(each[1])] == list(file.events(wanted))


@pytest.mark.parametrize("by", GROUPS)
def test_it_is_summed_up_as_the_file_is(tmp_path: Path, own: OwnRecord, by: str) -> None:
    with closing(RecordReader(tmp_path)) as file:
        assert list(own.totals(Filter(), by)) == list(file.totals(Filter(user=str(USER)), by))


def test_it_is_read_where_the_file_may_not_be(
    tmp_path: Path, own: OwnRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(state_dir=tmp_path, run_dir=tmp_path)
    with closing(open_record(config)) as found:
        assert isinstance(found, RecordReader)

    def refuse(folder: Path) -> None:
        raise RecordPermissionError("only root and the group can read it")

    monkeypatch.setattr(cli_record, "RecordReader", refuse)
    with closing(open_record(config)) as found:
        assert [number for number, _ in found.events()] == [1, 3, 5, 7]

    def silent(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
        raise ControlError("stunwalld is not running")

    monkeypatch.setattr(client, "request", silent)
    with pytest.raises(RecordPermissionError, match="only root and the group can read it"):
        open_record(config)

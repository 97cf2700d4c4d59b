"""filter.py: which entries fit, asked of a real record."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from stunwall.record.filter import Filter
from stunwall.record.reader import RecordReader
from unit.recorded import event, record

NOW = 1e9
ENTRIES = (
    replace(
        event(1, NOW - 3600),
        uid=1000,
        user="alice",
        app="org.mozilla.firefox",
        unit="app-firefox-1.scope",
        destination="2001:db8::7",
    ),
    replace(event(2, NOW), uid=1001, user="bob", unit="coturn.service", interface="wlan0"),
    replace(event(3, NOW), executable="/usr/bin/stun", verdict="redirected", reason="redirected"),
    replace(event(4, NOW), container="0123456789ab", destination="203.0.114.7", destination_port=19302),
    replace(
        event(5, NOW + 60), verdict="paused", reason="by user 0", protocol="", destination="", packet=b""
    ),
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordReader]:
    folder = tmp_path_factory.mktemp("record")
    record(folder, *ENTRIES)
    with closing(RecordReader(folder)) as opened:
        yield opened


FOUND: list[tuple[Filter, list[int]]] = [
    (Filter(), [1, 2, 3, 4, 5]),
    (Filter(since=NOW), [2, 3, 4, 5]),
    (Filter(until=NOW), [1, 2, 3, 4]),
    (Filter(since=NOW, until=NOW), [2, 3, 4]),
    (Filter(app="org.mozilla.*"), [1]),
    (Filter(app="coturn.service"), [2]),
    (Filter(app="stun"), [3]),
    (Filter(app="/usr/bin/*"), [3]),
    (Filter(app="0123*"), [4]),
    (Filter(app="' OR 1=1 --"), []),
    (Filter(unit="*.scope"), [1]),
    (Filter(user="alice"), [1]),
    (Filter(user="1001"), [2]),
    (Filter(to=(ip_network("203.0.113.0/24"),)), [2, 3]),
    (Filter(to=(ip_network("2001:db8::/32"), ip_network("203.0.114.7"))), [1, 4]),
    (Filter(port=19302), [4]),
    (Filter(verdict="redirected"), [3]),
    (Filter(reason="outside-vpn"), [1, 2, 4]),
    (Filter(interface="wlan0"), [2]),
    (Filter(verdict="blocked", port=3478, since=NOW), [2]),
]
WANTED = [wanted for wanted, _ in FOUND]


@pytest.mark.parametrize(("wanted", "found"), FOUND)
def test_what_fits_is_found(reader: RecordReader, wanted: Filter, found: list[int]) -> None:
    assert [number for number, _ in reader.events(wanted)] == found


def test_the_newest_that_fit_are_found(reader: RecordReader) -> None:
    assert [number for number, _ in reader.events(Filter(reason="outside-vpn"), limit=2)] == [2, 4]
    assert [number for number, _ in reader.events(Filter(reason="outside-vpn"), after=2)] == [4]


@pytest.mark.parametrize(
    ("by", "totals"),
    [
        (
            "app",
            [
                ("0123456789ab", 1, 1),
                ("coturn.service", 1, 1),
                ("org.mozilla.firefox", 1, 1),
                ("stun", 1, 1),
            ],
        ),
        ("destination", [("203.0.113.7", 2, 2), ("2001:db8::7", 1, 1), ("203.0.114.7", 1, 1)]),
        ("verdict", [("blocked", 3, 3), ("redirected", 1, 1)]),
        ("reason", [("outside-vpn", 3, 3), ("redirected", 1, 1)]),
    ],
)
def test_entries_are_summed_up(reader: RecordReader, by: str, totals: list[tuple[str, int, int]]) -> None:
    assert list(reader.totals(Filter(), by)) == totals


def test_an_entry_for_many_flows_counts_for_them(tmp_path: Path) -> None:
    record(tmp_path, replace(event(1), flows=412, count=900))
    with closing(RecordReader(tmp_path)) as reader:
        assert list(reader.totals(Filter(), "verdict")) == [("blocked", 412, 900)]

"""cli/timeline.py: bars add up to the record's flows, and bands are where the ledger's times are."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.cli.timeline import BARS_HEIGHT, HEIGHT, OTHERS, WIDTH, Bars, cut, draw
from stunwall.record.ledger import Kind, Span

HOUR, DAY = 3600, 86400
NOON = 1_790_000_000.0


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("length", "width"),
    [
        (60, HOUR),
        (2 * DAY, HOUR),
        (7 * DAY, 6 * HOUR),
        (30 * DAY, DAY),
        (90 * DAY, DAY),
        (365 * DAY, 4 * DAY),
    ],
)
def test_bars_cover_the_time_and_begin_with_an_hour_or_day(length: int, width: int) -> None:
    bars = cut(NOON - length, NOON)
    assert bars.width == width
    assert bars.start % (HOUR if width == HOUR else DAY) == 0
    assert bars.start <= NOON - length < bars.start + max(width, DAY)
    assert bars.start + bars.width * bars.count >= NOON > bars.start + bars.width * (bars.count - 1)
    assert bars.count <= 122


def test_the_whole_record_is_a_few_bars_too() -> None:
    assert cut(0.0, NOON).count <= 122


APPS = st.sampled_from([f"app {n}" for n in range(9)])
FLOWS = st.dictionaries(st.integers(0, 9), st.dictionaries(APPS, st.integers(1, 10**6), min_size=1))


@given(FLOWS)
def test_the_heights_add_up_to_all_flows(flows: dict[int, dict[str, int]]) -> None:
    bars = Bars(0, DAY, 10)
    drawn = draw(bars, flows, [])
    total = sum(sum(of_bar.values()) for of_bar in flows.values())
    assert sum(box.height for box in drawn.boxes) * drawn.most / BARS_HEIGHT == pytest.approx(total)
    assert sum(int(box.title.rpartition(" ")[2].replace(",", "")) for box in drawn.boxes) == total
    for box in drawn.boxes:
        assert box.y >= HEIGHT - BARS_HEIGHT - 0.001
        assert box.y + box.height <= HEIGHT + 0.001
        assert 0 <= box.x < box.x + box.width <= WIDTH


def test_the_largest_applications_have_a_colour_each_and_the_rest_share_one() -> None:
    flows = {0: {f"app {n}": 100 - n for n in range(9)}, 1: {"app 8": 1}}
    drawn = draw(Bars(0, DAY, 2), flows, [])
    assert drawn.apps == [*(f"app {n}" for n in range(6)), OTHERS]
    assert [(box.kind, box.x) for box in drawn.boxes] == [
        *((f"app{n}", 0) for n in range(7)),
        ("app6", WIDTH / 2),
    ]


@pytest.mark.parametrize(
    ("start", "seconds", "left", "right"),
    [
        (2 * DAY, DAY, 200, 300),
        (0, 20 * DAY, 0, 1000),
        (5 * DAY, 0, 500, 502),
        (-5 * DAY, 6 * DAY, 0, 100),
        (99 * DAY, DAY, 998, 1000),
    ],
)
def test_a_band_is_where_its_time_is_and_never_too_small_to_be_seen(
    start: int, seconds: int, left: int, right: int
) -> None:
    span = Span(Kind.PAUSED, "by root", "boot", start, seconds, 0)
    (band,) = draw(Bars(0, DAY, 10), {}, [span]).bands
    assert (band.x, band.x + band.width, band.kind, band.title) == (left, right, "paused", "paused: by root")

"""The timeline of `stunwall report`: bars of a time, stacked by application, and bands behind them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import localtime, mktime, strftime

from stunwall.record.ledger import Span
from stunwall.text import count

WIDTH, HEIGHT = 1000, 200  # of the drawing, in its own units
BARS_HEIGHT = 180  # of the highest bar: above it, the bands are to be seen
_HOUR, _DAY = 3600, 86400  # seconds
_WIDTHS = (
    (2 * _DAY, _HOUR),
    (14 * _DAY, 6 * _HOUR),
)  # up to so long a time: the length of a bar, else whole days
_BARS = 120  # at most: more would be narrower than a few pixels
_APPS = 6  # that have a colour of their own
_MIN_BAND = 2.0  # units: a shorter pause is to be seen, too
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Bars:
    """A time cut into `count` bars of `width` seconds, from `start` on, in Unix seconds."""

    start: float
    width: int
    count: int

    @property
    def length(self) -> str:
        """How long a bar is, in words."""
        unit, noun = (_DAY, "day") if self.width >= _DAY else (_HOUR, "hour")
        return count(self.width // unit, noun)

    def named(self, bar: int) -> str:
        """Return when a bar begins, in local time."""
        return strftime(
            "%Y-%m-%d" if self.width >= _DAY else "%Y-%m-%d %H:%M", localtime(self.start + bar * self.width)
        )


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the drawing, y downwards; `kind` is what decides its colour, `title` says what it means."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The drawing: `apps` are in the order of their colours, `boxes` and `bands` have kinds as in the page's style."""

    apps: list[str]
    boxes: list[Box]
    bands: list[Box]
    most: int
    """Flows in the highest bar."""
    length: str
    """How long a bar is."""
    labels: list[str]
    """Times at the left, in the middle and at the right."""


def cut(since: float, until: float) -> Bars:
    """Return bars for a time in Unix seconds; the first begins with a whole hour or a local day."""
    length = until - since
    days = int(length // _DAY // _BARS + 1)
    width = next((width for most, width in _WIDTHS if length <= most), days * _DAY)
    first = localtime(since)
    hour = first.tm_hour if width == _HOUR else 0
    start = mktime((*first[:3], hour, 0, 0, 0, 0, -1))
    return Bars(start, width, max(1, int(-(-(until - start) // width))))


def draw(bars: Bars, flows: dict[int, dict[str, int]], spans: Iterable[Span]) -> Timeline:
    """Return the drawing of the flows of each application in each bar, and of the times that were not sealed."""
    sums: dict[str, int] = {}
    for of_bar in flows.values():
        for app, number in of_bar.items():
            sums[app] = sums.get(app, 0) + number
    ranked = sorted(sums, key=lambda app: (-sums[app], app))
    apps = ranked[:_APPS] + [OTHERS] * (len(ranked) > _APPS)
    most = max((sum(of_bar.values()) for of_bar in flows.values()), default=0)
    boxes = [
        box for bar, of_bar in sorted(flows.items()) for box in _stack(bars, bar, of_bar, apps[:_APPS], most)
    ]
    labels = [bars.named(bar) for bar in (0, bars.count // 2, bars.count - 1)]
    bands = [_band(bars, span) for span in spans]
    return Timeline(apps, boxes, bands, most, bars.length, labels)


def _stack(bars: Bars, bar: int, flows: dict[str, int], apps: Sequence[str], most: int) -> Iterable[Box]:
    grouped: dict[str, int] = {}
    for app, number in flows.items():
        name = app if app in apps else OTHERS
        grouped[name] = grouped.get(name, 0) + number
    width, bottom = WIDTH / bars.count, float(HEIGHT)
    for at, name in enumerate((*apps, OTHERS)):
        if number := grouped.get(name, 0):
            height = BARS_HEIGHT * number / most
            bottom -= height
            title = f"{bars.named(bar)}: {name}, {number:,}"
            yield Box(bar * width, bottom, width * 0.9, height, f"app{at}", title)


def _band(bars: Bars, span: Span) -> Box:
    scale = WIDTH / (bars.width * bars.count)
    left = min(max(0.0, (span.start - bars.start) * scale), WIDTH - _MIN_BAND)
    right = min(max(left + _MIN_BAND, (span.start + span.seconds - bars.start) * scale), float(WIDTH))
    return Box(left, 0, right - left, HEIGHT, span.kind, f"{span.kind}: {span.why}")

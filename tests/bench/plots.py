"""Plots of the results, as SVG: bars for rows, curves for growths. The only importer of matplotlib."""

import re
from collections.abc import Iterator, Sequence
from math import floor, isfinite, log10
from pathlib import Path
from typing import Any

from bench.results import Growth, Result, Row, median, spread

FOLDER = Path(__file__).parent / "plots"
WIDTH, BAR, PANEL = 9.0, 0.22, 3.6  # inches: of the plot, of a bar, of a curve's panel
FACTOR = 40  # between the smallest and the largest, from which an axis is logarithmic
# Okabe and Ito's colours, which people with colour blindness can tell apart.
PEERS = (
    "nothing",
    "conntrack",
    "C listener",
    "Python listener",
    "OpenSnitch",
    "stunwall block",
    "stunwall redirect",
    "stunwall exception",
)
COLOURS = ("#999999", "#56b4e9", "#e69f00", "#cc79a7", "#0072b2", "#009e73", "#d55e00", "#f0e442")


def draw(group: str, results: Sequence[Result]) -> Iterator[tuple[str, Path]]:
    """Draws a group: what each plot shows, and its file."""
    from matplotlib import rcParams  # only who writes the report needs it

    rcParams["svg.hashsalt"] = "stunwall"  # the same file from the same results
    rcParams["font.size"] = 9
    FOLDER.mkdir(exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", group.lower()).strip("-")
    rows = [result for result in results if isinstance(result, Row)]
    curves = [result for result in results if isinstance(result, Growth)]
    if rows:
        yield group, _save(_bars(rows), FOLDER / f"{name}.svg")
    if curves:
        title = f"{group}, by {curves[0].against}"
        yield title, _save(_curves(curves), FOLDER / f"{name}-growth.svg")


def _save(figure: Any, file: Path) -> Path:
    figure.savefig(file, metadata={"Date": None})
    return file


def _figure(panels: int, heights: Sequence[float]) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    axes = figure.subplots(panels, 1, squeeze=False, height_ratios=heights)
    return figure, [row[0] for row in axes]


def _bars(rows: Sequence[Row]) -> Any:
    """A panel for each unit: lines as in the table, and a bar for each peer."""
    units = list(dict.fromkeys(row.unit for row in rows))
    peers = list(dict.fromkeys(row.peer for row in rows))
    panels = [[row for row in rows if row.unit == unit] for unit in units]
    heights = [1.1 + BAR * (len(panel) + len({row.what for row in panel})) for panel in panels]
    figure, axes = _figure(len(panels), heights)
    for axis, panel, unit in zip(axes, panels, units, strict=True):
        _panel_of_bars(axis, panel, peers)
        axis.set_xlabel(f"{unit}: median and spread" if unit else "median and spread")
    handles, labels = _legend(axes)
    if len(peers) > 1:
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(peers), 4), frameon=False)
    return figure


def _panel_of_bars(axis: Any, rows: Sequence[Row], peers: Sequence[str]) -> None:
    place = 0.0
    ticks = {}
    # Who is in several plots has the same colour in all of them.
    places = peers if set(peers) - set(PEERS) else PEERS
    for what in dict.fromkeys(row.what for row in rows):
        bars = [row for row in rows if row.what == what]
        ticks[what] = place + (len(bars) - 1) / 2
        for row in bars:
            middle, (low, high) = median(row.values), spread(row.values)
            if isfinite(middle):
                errors = [[middle - low], [high - middle]]
                colour = COLOURS[places.index(row.peer) % len(COLOURS)]
                axis.barh(place, middle, xerr=errors, color=colour, label=row.peer, height=0.9, capsize=2)
            place += 1
        place += 1
    axis.set_yticks(list(ticks.values()), list(ticks))
    axis.margins(y=0.02)
    axis.invert_yaxis()
    _scale(axis, "x", [row.values for row in rows])
    _plain(axis, "x")


def _curves(curves: Sequence[Growth]) -> Any:
    """A panel for each `what`: a curve for each peer, and its spread as a band."""
    kinds = list(dict.fromkeys((curve.what, curve.against, curve.unit) for curve in curves))
    figure, axes = _figure(len(kinds), [PANEL] * len(kinds))
    for axis, kind in zip(axes, kinds, strict=True):
        what, against, unit = kind
        drawn = [curve for curve in curves if (curve.what, curve.against, curve.unit) == kind]
        for number, curve in enumerate(drawn):
            sizes = [many for many, _ in curve.points]
            lows, highs = zip(*(spread(values) for _, values in curve.points), strict=True)
            colour = COLOURS[4:][number % 4]
            middles = [median(values) for _, values in curve.points]
            axis.plot(sizes, middles, marker="o", color=colour, label=curve.peer)
            axis.fill_between(sizes, lows, highs, color=colour, alpha=0.2, linewidth=0)
        axis.set_title(what)
        axis.set_xlabel(against)
        axis.set_ylabel(unit)
        axis.set_xscale("symlog", linthresh=1)
        sizes = sorted({many for curve in drawn for many, _ in curve.points})
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        _scale(axis, "y", [values for curve in drawn for _, values in curve.points])
        _plain(axis, "y")
        axis.legend(frameon=False)
    return figure


def _scale(axis: Any, which: str, results: Sequence[Sequence[float]]) -> None:
    """A logarithmic axis where a linear one would hide the small medians, else one that begins at 0.

    A spread may go beyond its end: what a busy machine has disturbed does not make everything else small.
    """
    medians = [value for value in map(median, results) if isfinite(value)]
    if not medians:
        return
    least, most = min(medians), max(medians)
    ends = [end for values in results for end in spread(values) if isfinite(end)]
    limit = getattr(axis, f"set_{which}lim")
    if least > 0 and most > FACTOR * least:
        getattr(axis, f"set_{which}scale")("log")
        limit(10 ** floor(log10(least)), 1.2 * min(max(ends), 10 * most))
    elif least >= 0:
        limit(0, 1.1 * min(max(ends), 2 * most))


def _plain(axis: Any, which: str) -> None:
    from matplotlib.ticker import FuncFormatter

    getattr(axis, f"{which}axis").set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:g}")
    )
    axis.grid(axis=which, alpha=0.3)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _legend(axes: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Each peer once."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)

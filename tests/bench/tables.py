"""Results as Markdown: a table a group, with the peers side by side, and the budgets."""

from collections.abc import Iterable, Sequence
from math import isnan

from bench.results import Budget, Growth, Result, Row, median, spread


def figure(value: float) -> str:
    """Three digits, and thousands with a comma: 0.0123, 1.23, 12.3, 1,234."""
    if isnan(value):
        return "–"
    for limit, digits in ((10, 2), (100, 1)):
        if abs(value) < limit:
            return f"{value:.{digits}f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
    return f"{value:,.0f}"


def cell(values: Sequence[float]) -> str:
    """The median, and the spread in brackets."""
    low, high = spread(values)
    shown = figure(median(values))
    return shown if len(values) == 1 else f"{shown} ({figure(low)} to {figure(high)})"


def groups(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(result.group for result in results if isinstance(result, Row)))


def table(group: str, results: Iterable[Result]) -> str:
    """The rows of one group: a line for each `what`, a column for each peer; '' if it has none."""
    rows = [result for result in results if isinstance(result, Row) and result.group == group]
    peers = list(dict.fromkeys(row.peer for row in rows))
    cells = {(row.what, row.unit, row.peer): cell(row.values) for row in rows}
    lines = [_line([group, "unit", *peers]), _line(["---", *["---:"] * (len(peers) + 1)])]
    for what, unit in dict.fromkeys((row.what, row.unit) for row in rows):
        lines.append(_line([what, unit, *(cells.get((what, unit, peer), "") for peer in peers)]))
    return "\n".join(lines) if rows else ""


def budgets(results: Iterable[Result]) -> str:
    """A line for each budget, with what was measured, and whether that is enough; '' if there are none."""
    rows = [result for result in results if isinstance(result, Row)]
    lines = [
        _line([f"{row.group}: {row.what}", row.peer, budget.words(row.unit), *_measured(row, budget, rows)])
        for row in rows
        for budget in row.budgets
    ]
    head = [
        _line(["what", "who", "budget", "measured", "met"]),
        _line(["---", "---", "---", "---:", "---"]),
    ]
    return "\n".join([*head, *lines]) if lines else ""


def ratio(row: Row, budget: Budget, rows: Iterable[Row]) -> float:
    """What has to meet the budget, in its unit or as a factor of the peer's median; nan if that is 0, or unknown."""
    own = budget.chosen(row.values)
    if not budget.beside:
        return own
    for other in rows:
        if (other.group, other.what, other.peer) == (row.group, row.what, budget.beside):
            return own / median(other.values) if median(other.values) > 0 else float("nan")
    return float("nan")


def _measured(row: Row, budget: Budget, rows: Sequence[Row]) -> tuple[str, str]:
    found = ratio(row, budget, rows)
    if isnan(found):
        return "–", "–"
    shown = f"{figure(found)} ×" if budget.beside else f"{figure(found)} {row.unit}"
    return shown, "yes" if budget.met(found) else "**no**"


def growth_table(results: Iterable[Result]) -> str:
    """The curves as a table, for who reads on a terminal; '' if there are none."""
    curves = [result for result in results if isinstance(result, Growth)]
    parts = []
    for what, against, unit in dict.fromkeys((curve.what, curve.against, curve.unit) for curve in curves):
        chosen = [
            curve for curve in curves if (curve.what, curve.against, curve.unit) == (what, against, unit)
        ]
        sizes = sorted({many for curve in chosen for many, _ in curve.points})
        lines = [
            _line([f"{what}, {unit}, by {against}", *(f"{size:,}" for size in sizes)]),
            _line(["---", *["---:"] * len(sizes)]),
        ]
        for curve in chosen:
            points = dict(curve.points)
            lines.append(
                _line([curve.peer, *(cell(points[size]) if size in points else "" for size in sizes)])
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"

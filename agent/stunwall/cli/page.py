"""The page of `stunwall report`: what is on it, and how it becomes HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from stunwall.cli.timeline import HEIGHT, WIDTH, Timeline
from stunwall.doctor.findings import Finding
from stunwall.text import printable

ROWS = 31
"""Rows of a table of sums; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the cells of a column are either all texts or all numbers. `note` stands below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What is on the page. Texts may hold any character, times are texts, `leak` is None if unknown."""

    redacted: bool
    version: str
    since: str
    until: str
    state: str
    headline: str
    leak: bool | None
    protection: str
    timeline: Timeline
    tables: Sequence[Table]
    rows: Sequence[tuple[str, str]]
    findings: Sequence[Finding]


def sums(title: str, column: str, rows: Sequence[tuple[str, int, int]]) -> Table:
    """Return a table of (value, flows, packets), of which the first rows are shown."""
    left = len(rows) - ROWS
    note = f"and {left:,} more, with {sum(flows for _, flows, _ in rows[ROWS:]):,} flows" if left > 0 else ""
    return Table(title, (column, "Flows", "Packets"), rows[:ROWS], note)


def render(page: Page) -> str:
    """Return the page as HTML that needs nothing else: no script, no file, no server.

    jinja2 escapes every value (autoescape), and `finalize` replaces control characters in it.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string((files("stunwall.cli") / "page.html").read_text(encoding="utf-8"))
    return template.render(page=page, width=WIDTH, height=HEIGHT)

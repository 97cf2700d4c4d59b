"""`stunwall report`: a page about state, attempts and protection, to keep or to send to someone."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stunwall import __version__
from stunwall.cli import filters, log, status, timeline
from stunwall.cli.ledger import Exposure, exposure_since, length
from stunwall.cli.redacted import RedactedRecord, redacted_finding, redaction, shown, totals
from stunwall.cli.report import make
from stunwall.cli.stats import By, name
from stunwall.config import Config
from stunwall.configfile import reader
from stunwall.doctor import checks
from stunwall.model import Reason, StunwallError
from stunwall.record.filter import Filter
from stunwall.record.reader import RecordReader
from stunwall.record.summary import QUARTER
from stunwall.redact.redaction import Redaction
from stunwall.text import date_time

if TYPE_CHECKING:
    from stunwall.cli.page import Page, Table

_NEWEST = 50  # entries that are listed
_GAPS = 100  # the newest, that are listed

Sums = dict[str, tuple[int, int]]
"""Flows and packets by what they are summed up by."""


def report(
    context: typer.Context,
    html: Annotated[
        Path, typer.Option("--html", metavar="FILE", help="The file to write; an existing one is replaced.")
    ],
    since: filters.TimeSince = "30d",
    no_redact: Annotated[
        bool, typer.Option("--no-redact", help="Show addresses, users and other names as they are.")
    ] = False,
) -> None:
    """Write a page about state and attempts, to send to someone.

    It is one HTML file that needs no other file, no script and no connection.
    Addresses, users and other names in it are replaced, as with --redact.

    \b
    Examples:
      sudo stunwall report --html report.html
      sudo stunwall report --html report.html --since 7d
    """
    from stunwall.cli.page import render  # takes 50 ms

    start = filters.time_of(since, "--since") // QUARTER * QUARTER
    hidden = redaction(not no_redact)
    page = _page(context.obj, reader.load(context.obj), start, hidden)
    _write(html, render(page))
    how = "It is redacted" if hidden else "It is NOT redacted: it shows addresses, users and names"
    typer.echo(f"{html} is written. {how}. To read it, open it in a browser.")


def _page(file: Path, config: Config, start: float, hidden: Redaction | None) -> "Page":
    from stunwall.cli.page import Page

    found = make(config, hidden)
    now = time.time()
    with closing(RecordReader(config.state_dir)) as record:
        exposure = exposure_since(record, start, found.daemon is not None)
        if hidden:
            exposure = exposure.redacted(hidden)
        bars, flows, tables = _summed(record, start, now, hidden)
        tables = [_gaps(exposure), *tables, _newest(record, Filter(since=start), hidden)]
    return Page(
        redacted=hidden is not None,
        version=__version__,
        since=date_time(start),
        until=date_time(now),
        state=found.state,
        headline=found.headline,
        leak=found.leak,
        protection=exposure.sentence,
        timeline=timeline.draw(bars, flows, exposure.leaky),
        tables=tables,
        rows=list(status.rows(found)),
        findings=[redacted_finding(each, hidden) for each in checks.examine(file)],
    )


def _summed(
    record: RecordReader, start: float, now: float, hidden: Redaction | None
) -> tuple[timeline.Bars, dict[int, dict[str, int]], list["Table"]]:
    """Return the bars, the flows in each by application, and the tables of sums."""
    from stunwall.cli.page import ROWS, sums

    wanted, bars = Filter(since=start), timeline.cut(start, now)
    flows: dict[int, dict[str, int]] = {}
    apps: Sums = {}
    days: Sums = {}
    for bar, value, flows_, packets in record.bars(start, bars.start, bars.width):
        app, at = shown(value, hidden), min(bar, bars.count - 1)  # an entry may be of a wrong clock
        in_bar = flows.setdefault(at, {})
        in_bar[app] = in_bar.get(app, 0) + flows_
        for counted, key in ((apps, app), (days, bars.named(at)[:10])):
            before = counted.get(key, (0, 0))
            counted[key] = before[0] + flows_, before[1] + packets
    to = [
        (name(each), each.flows, each.packets)
        for each in totals(record, wanted, By.DESTINATION, hidden, ROWS)
    ]
    why = [
        (_why(each.value), each.flows, each.packets)
        for each in totals(record, wanted, By.REASON, hidden, ROWS)
    ]
    tables = [
        sums("Applications", "Application", sorted(_rows(apps), key=lambda row: (-row[1], row[0]))),
        sums("Destinations", "Destination", to),
        sums("Reasons", "Reason", why),
        sums("Days", "Day", sorted(_rows(days), reverse=True)),
    ]
    return bars, flows, tables


def _rows(counted: Sums) -> Iterator[tuple[str, int, int]]:
    return ((value, flows, packets) for value, (flows, packets) in counted.items())


def _why(code: str) -> str:
    return f"{code}: {Reason(code).sentence}" if code in list(Reason) else code


def _gaps(exposure: Exposure) -> "Table":
    from stunwall.cli.page import Table

    rows = [(date_time(span.start), length(span.seconds), span.kind, span.why) for span in exposure.leaky]
    left = len(rows) - _GAPS
    note = f"and {left:,} before; `stunwall exposure` lists all" if left > 0 else ""
    columns = ("From", "Length", "Kind", "Why")
    return Table("Pauses and gaps in protection", columns, rows[: -_GAPS - 1 : -1], note)


def _newest(record: RecordReader, wanted: Filter, hidden: Redaction | None) -> "Table":
    from stunwall.cli.page import Table

    source = RedactedRecord(record, hidden) if hidden else record
    rows: list[tuple[str | int, ...]] = []
    for number, event in source.events(wanted, limit=_NEWEST):
        _, _, verdict, _, *rest = log.cells(number, event)
        rows.append((str(number), date_time(event.last_time), verdict, event.count, *rest))
    columns = ("ID", "Time", "Verdict", "Packets", "Application", "What", "To", "Interface")
    return Table("Newest entries", columns, rows[::-1])


def _write(file: Path, text: str) -> None:
    """Write the whole file or nothing, for its owner alone: root, or who has called sudo. Raises StunwallError."""
    if file.is_symlink():
        raise StunwallError(f"{file} is a symbolic link: name a file")
    written = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as made:
            written = Path(made.name)
            made.write(text)
            with suppress(KeyError, ValueError):
                if os.geteuid() == 0:
                    os.fchown(made.fileno(), int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
        written.replace(file)
    except OSError as error:
        if written is not None:
            written.unlink(missing_ok=True)
        raise StunwallError(f"cannot write {file}: {error.strerror}") from error

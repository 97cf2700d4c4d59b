"""`stunwall stats`: who was blocked most, where to, when and why."""

from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer

from stunwall.cli import filters, terminal
from stunwall.cli.options import JsonList, Redact
from stunwall.cli.record import open_record
from stunwall.cli.redacted import Total, redaction, totals
from stunwall.configfile import reader
from stunwall.text import count, printable


class By(StrEnum):
    """What entries are summed up by: the keys of record.reader.GROUPS."""

    APP = "app"
    CLIENT = "client"
    DESTINATION = "destination"
    DAY = "day"
    REASON = "reason"
    VERDICT = "verdict"


_By = Annotated[
    By, typer.Option("--by", metavar="WHAT", help="app, client, destination, day, reason or verdict.")
]
_Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="Only the N most frequent.")]


def stats(
    context: typer.Context,
    as_json: JsonList = False,
    redact: Redact = False,
    by: Annotated[
        By, typer.Option(metavar="WHAT", help="app, client, destination, day, reason or verdict.")
    ] = By.APP,
    since: filters.Since = "",
    until: filters.Until = "",
    app: filters.App = "",
    unit: filters.Unit = "",
    user: filters.User = "",
    to: filters.To = "",
    verdict: filters.OfVerdict = "",
    reason: filters.OfReason = "",
    interface: filters.Interface = "",
    limit: _Limit = 20,
) -> None:
    """Sum up the record: flows by application, client, destination, day, reason or verdict.

    \b
    Examples:
      stunwall stats
      stunwall stats --by destination --since 7d
      stunwall stats --by day --app firefox

    Clients are machines behind this one, listed by address. A name in parentheses
    comes from /etc/hosts or a DHCP lease; a client may have chosen it itself.

    Fields of --json: value, service (if the destination is a known one), flows,
    packets, client (the name of a client).
    """
    wanted = filters.chosen(since, until, app, unit, user, to, verdict, reason, interface)
    with closing(open_record(reader.load(context.obj))) as record:
        _print(by, totals(record, wanted, by, redaction(redact), limit), limit, as_json)


def _print(by: By, found: list[Total], limit: int, as_json: bool) -> None:
    kept = sorted(found[:limit]) if by is By.DAY else found[:limit]
    if as_json:
        terminal.print_json([total._asdict() for total in kept])
        return
    if not found:
        typer.echo("There are no such entries. `stunwall log` lists what there is.")
        return
    _print_bars(by, kept)
    if len(found) > len(kept):
        rest = sum(total.flows for total in found[limit:])
        typer.echo(
            f"and {count(len(found) - len(kept), 'more', 'more')} with {count(rest, 'flow')} (--limit)"
        )


def _print_bars(by: By, totals: list[Total]) -> None:
    names = [printable(name(total)) for total in totals]
    wide = min(max(len(by), *map(len, names)), terminal.width() // 2)
    numbers = max(len("FLOWS"), *(len(f"{total.flows:,}") for total in totals))
    bar = max(10, terminal.width() - wide - numbers - 2)
    most = max(total.flows for total in totals)
    typer.echo(f"{by.upper():<{wide}} {'FLOWS':>{numbers}}")
    for shown, total in zip(names, totals, strict=True):
        length = max(1, round(bar * total.flows / most)) if total.flows else 0
        typer.echo(f"{terminal.cut(shown, wide)} {total.flows:>{numbers},} {'█' * length}".rstrip())


def name(total: Total) -> str:
    """Return what is summed up, for people; it may hold any character."""
    known = total.service or total.client
    return f"{total.value} ({known})" if known else total.value or "several"

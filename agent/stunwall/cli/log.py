"""`stunwall log`: lists what was blocked."""

import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from stunwall.cli import filters, terminal
from stunwall.cli.options import JsonLines, Redact
from stunwall.cli.redacted import Record, open_redacted, redaction
from stunwall.configfile import reader
from stunwall.model import EXPOSED, Event
from stunwall.record.filter import Filter
from stunwall.record.schema import RecordError, RecordPermissionError
from stunwall.stun import detect
from stunwall.text import count, endpoint, machine, printable, sender

COLUMNS = ("ID", "TIME", "VERDICT", "N", "APP", "WHAT", "TO", "INTERFACE")
_TO_MORE = 28  # columns that an IPv6 address with its port takes more than the column has at 80
_POLL = 0.5  # seconds: how often --follow reads the record
_MANY = 100_000  # entries that are read at once while following

_Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="Only the newest N entries.")]


def log(
    context: typer.Context,
    as_json: JsonLines = False,
    redact: Redact = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new entries until Ctrl-C.")
    ] = False,
    since: filters.Since = "",
    until: filters.Until = "",
    app: filters.App = "",
    unit: filters.Unit = "",
    user: filters.User = "",
    to: filters.To = "",
    verdict: filters.OfVerdict = "",
    reason: filters.OfReason = "",
    interface: filters.Interface = "",
    limit: _Limit = 50,
) -> None:
    """List what was blocked, newest last. An entry is a flow with its packets of one minute.

    \b
    Examples:
      stunwall log --since 2h --app firefox
      stunwall log --follow --verdict blocked
      stunwall log --json -n 1000 | jq -r .destination | sort | uniq -c

    The fields of --json are those of `stunwall show --json`; see stunwall(1).
    """
    wanted = filters.chosen(since, until, app, unit, user, to, verdict, reason, interface)
    config, hidden = reader.load(context.obj), redaction(redact)
    if follow:
        _follow(lambda: open_redacted(config, hidden), wanted, limit, as_json)
        return
    with closing(open_redacted(config, hidden)) as record:
        shown = list(record.events(wanted, limit=limit))
    if not as_json:
        _head(shown, wanted, since)
    for number, event in shown:
        _print(number, event, as_json)


def _follow(opened: Callable[[], Record], wanted: Filter, limit: int, as_json: bool) -> None:
    """Print the newest entries and then what comes, until Ctrl-C: also while there is no record, or another one."""
    last, seen, waiting = 0, 0, False
    if not as_json:
        typer.echo(_row(*COLUMNS))
    with suppress(KeyboardInterrupt):
        while True:
            try:
                # Opened anew each time: the daemon may move a damaged record aside, or start only now.
                with closing(opened()) as record:
                    if record.inode != seen:
                        last, seen = 0, record.inode
                    newest = record.last_id()  # before the query, so that nothing is missed
                    for number, event in record.events(wanted, after=last, limit=limit):
                        _print(number, event, as_json)
                        newest = max(newest, number)
                    last, limit, waiting = newest, _MANY, False
            except RecordError as error:
                if isinstance(error, RecordPermissionError):
                    raise
                if not waiting:
                    typer.echo(f"stunwall: waiting: {printable(str(error))}", err=True)
                waiting = True
            sys.stdout.flush()
            time.sleep(_POLL)


def _head(shown: list[tuple[int, Event]], wanted: Filter, since: str) -> None:
    if not shown and replace(wanted, since=0.0) != Filter():
        typer.echo(f"There is no such entry{_when(since)}. `stunwall log` without these options lists all.")
        return
    if not shown:
        typer.echo(
            f"Nothing was blocked{_when(since)}. To see stunwall at work, open a page that makes calls, "
            "then run this command again."
        )
        return
    typer.echo(_row(*COLUMNS))


def _when(since: str) -> str:
    if not since:
        return ""
    return f" in the last {since}" if filters.AGE.fullmatch(since) else f" since {since}"


def _print(number: int, event: Event, as_json: bool) -> None:
    if as_json:
        terminal.print_json(fields_of(number, event))
        return
    typer.echo(_row(*cells(number, event)))


def cells(number: int, event: Event) -> tuple[str, ...]:
    """Return what the list shows of an entry: the texts under COLUMNS."""
    destination, what = event.reason, ""
    if event.flows > 1:
        destination = count(event.flows, "flow")
    elif event.protocol:
        destination = endpoint(event.destination, event.destination_port)
    if event.protocol:
        what = f"{event.protocol} {event.method}".rstrip()
    return (
        str(number),
        terminal.moment(event.last_time),
        printable(event.verdict),
        str(event.count),
        printable(sender(event) or machine(event)),
        printable(what),
        printable(destination),
        printable(event.interface),
    )


def _row(*cells: str) -> str:
    number, when, verdict, packets, program, what, to, interface = cells
    more = max(terminal.width(), 80) - 80
    for_to = min(_TO_MORE, more)
    rest = (more - for_to) // 3
    return " ".join(
        [
            f"{number:>5}",
            terminal.cut(when, 8),
            terminal.cut(verdict, 10),
            f"{packets:>4}",
            terminal.cut(program, 11 + rest),
            terminal.cut(what, 8 + rest),
            terminal.cut(to, 20 + for_to),
            terminal.cut(interface, 7 + rest),
        ]
    ).rstrip()


def everything_of(number: int, event: Event) -> dict[str, Any]:
    """Return the fields of an entry with its packet, in hexadecimal."""
    return fields_of(number, event) | {"packet": event.packet.hex()}


def fields_of(number: int, event: Event) -> dict[str, Any]:
    """Return the fields of an entry, without its packet; `address` is what a server has seen, "" for no exposure."""
    fields = asdict(event)
    del fields["packet"]
    address = detect.mapped_address(event.packet) if event.verdict == EXPOSED else ""
    return {"id": number} | fields | {"address": address}

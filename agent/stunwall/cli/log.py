"""`stunwall log`: lists what was blocked."""

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from stunwall.cli import terminal
from stunwall.cli.options import JsonLines
from stunwall.configfile import reader
from stunwall.model import EXPOSED, Event
from stunwall.record.reader import RecordReader
from stunwall.stun import detect
from stunwall.text import endpoint, printable

_POLL = 0.5  # seconds: how often --follow reads the record
_FORMS = "30m, 2h, 7d, 2026-01-01 or 2026-01-01T12:30"
_AGE = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def log(
    context: typer.Context,
    as_json: JsonLines = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new entries until Ctrl-C.")
    ] = False,
    since: Annotated[
        str, typer.Option(metavar="TIME", help=f"Only entries since then, such as {_FORMS}.")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="Only the newest N entries.")
    ] = 50,
) -> None:
    """List what was blocked, newest last. An entry is a flow with its packets of one minute.

    \b
    Examples:
      stunwall log --since 2h
      stunwall log --follow
      stunwall log --json -n 1000 | jq -r .destination | sort | uniq -c

    Fields of --json: id, time, last_time (Unix seconds), count, verdict, reason,
    protocol, method, transport, family, source, source_port, destination,
    destination_port, interface, address (which a server has seen).
    """
    start = _since(since)
    with closing(RecordReader(reader.load(context.obj).state_dir)) as record:
        last = record.last_id()  # before the query, so that --follow misses nothing
        shown = list(record.events(since=start, limit=limit))
        if not as_json:
            _head(shown, follow, since)
        for number, event in shown:
            _print(number, event, as_json)
        if follow:
            try:
                for number, event in _new(record, last):
                    _print(number, event, as_json)
            except KeyboardInterrupt:
                pass


def _head(shown: list[tuple[int, Event]], follow: bool, since: str) -> None:
    if not shown and not follow:
        typer.echo(
            f"Nothing was blocked{_when(since)}. To see stunwall at work, open a page that makes calls, "
            "then run this command again."
        )
        return
    typer.echo(_row("ID", "TIME", "VERDICT", "N", "WHAT", "TO", "INTERFACE"))


def _when(since: str) -> str:
    if not since:
        return ""
    return f" in the last {since}" if _AGE.fullmatch(since) else f" since {since}"


def _print(number: int, event: Event, as_json: bool) -> None:
    if as_json:
        terminal.print_json(fields_of(number, event))
        return
    destination, what = event.reason, ""
    if event.protocol:
        destination = endpoint(event.destination, event.destination_port)
        what = f"{event.protocol} {event.method}".rstrip()
    typer.echo(
        _row(
            str(number),
            terminal.moment(event.last_time),
            event.verdict,
            str(event.count),
            what,
            destination,
            event.interface,
        )
    )


def _row(number: str, when: str, verdict: str, count: str, what: str, to: str, interface: str) -> str:
    wide = max(terminal.width(), 80) - 80
    cells = [
        f"{number:>5}",
        terminal.cut(when, 8),
        terminal.cut(printable(verdict), 10),
        f"{count:>4}",
        terminal.cut(printable(what), 13),
        terminal.cut(printable(to), 24 + wide),
        terminal.cut(printable(interface), 10),
    ]
    return " ".join(cells).rstrip()


def _new(record: RecordReader, last: int) -> Iterator[tuple[int, Event]]:
    while True:
        for last, event in record.events(after=last):  # noqa: B020 - continues after the newest
            yield last, event
        time.sleep(_POLL)


def fields_of(number: int, event: Event) -> dict[str, Any]:
    """Return the fields of an entry, without its packet; `address` is what a server has seen, "" for no exposure."""
    fields = asdict(event)
    del fields["packet"]
    address = detect.mapped_address(event.packet) if event.verdict == EXPOSED else ""
    return {"id": number} | fields | {"address": address}


def _since(given: str) -> float:
    if not given:
        return 0.0
    if match := _AGE.fullmatch(given):
        return time.time() - int(match[1]) * _UNITS[match[2]]
    try:
        return datetime.fromisoformat(given).timestamp()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"expected a time such as {_FORMS}", param_hint="--since") from None

"""`stunwall export`: the record for other programs."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, assert_never

import typer

from stunwall.cli import filters
from stunwall.cli.log import everything_of
from stunwall.cli.options import Redact
from stunwall.cli.redacted import open_redacted, redaction
from stunwall.configfile import reader
from stunwall.model import EXPOSED, Event, StunwallError, Verdict
from stunwall.reasons import sentence
from stunwall.text import sender

# ECS's categorization fields, https://www.elastic.co/docs/reference/ecs, version 8.17.
_ECS = "8.17.0"
# A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Entries = Iterator[tuple[int, Event]]


class Format(StrEnum):
    """What is written."""

    JSON = "json"
    CSV = "csv"
    PCAPNG = "pcapng"
    ECS = "ecs"


_Form = Annotated[Format, typer.Option("--format", metavar="FORMAT", help="json, csv, pcapng or ecs.")]
_Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="The file to write; standard output without it."),
]


def export(
    context: typer.Context,
    form: _Form = Format.JSON,
    output: _Output = None,
    redact: Redact = False,
    since: filters.Since = "",
    until: filters.Until = "",
    app: filters.App = "",
    unit: filters.Unit = "",
    user: filters.User = "",
    to: filters.To = "",
    verdict: filters.OfVerdict = "",
    reason: filters.OfReason = "",
    interface: filters.Interface = "",
) -> None:
    """Write entries of the record for other programs, oldest first.

    \b
    Formats:
      json    one object per line, with the packet in hexadecimal
      csv     a table with a header
      pcapng  the first packet of each entry, with a comment, for Wireshark
      ecs     one object per line, in the Elastic Common Schema, for SIEMs

    \b
    Examples:
      stunwall export --format csv --since 7d --output blocked.csv
      stunwall export --format pcapng --app firefox | wireshark -k -i -
    """
    wanted = filters.chosen(since, until, app, unit, user, to, verdict, reason, interface)
    if form is Format.PCAPNG and output is None and sys.stdout.isatty():
        raise StunwallError("pcapng is not for a terminal: add `--output FILE`, or a pipe")
    with closing(open_redacted(reader.load(context.obj), redaction(redact))) as record:
        _export(record.events(wanted), form, output)


def _export(entries: Entries, form: Format, output: Path | None) -> None:
    if output is None:
        _writer(form)(entries, sys.stdout.buffer)
        return
    try:
        with output.open("wb") as file:
            _writer(form)(entries, file)
    except OSError as error:
        raise StunwallError(f"cannot write {output}: {error.strerror}") from error


def _writer(form: Format) -> Callable[[Entries, BinaryIO], None]:
    match form:
        case Format.JSON:
            return lambda entries, file: _write_lines(everything_of, entries, file)
        case Format.ECS:
            return lambda entries, file: _write_lines(ecs, entries, file)
        case Format.CSV:
            return _write_csv
        case Format.PCAPNG:
            from stunwall.cli.capture import write  # scapy takes half a second

            return write
    assert_never(form)


def _write_lines(plain: Callable[[int, Event], dict[str, Any]], entries: Entries, file: BinaryIO) -> None:
    for number, event in entries:
        file.write(json.dumps(plain(number, event)).encode() + b"\n")


def _write_csv(entries: Entries, file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    rows = csv.DictWriter(
        text, ["id", *(field.name for field in fields(Event) if field.name != "packet"), "address", "packet"]
    )
    rows.writeheader()
    for number, event in entries:
        rows.writerow({name: _cell(value) for name, value in everything_of(number, event).items()})
    text.detach()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


_OBSERVER = {"observer.product": "stunwall", "observer.type": "firewall"}


def ecs(number: int, event: Event) -> dict[str, Any]:
    """Return an entry in the Elastic Common Schema; what is not known is left out."""
    denied = event.verdict in (Verdict.BLOCK, EXPOSED)
    named: dict[str, Any] = {
        "@timestamp": _moment(event.time),
        "ecs.version": _ECS,
        "message": sentence(event),
        "event.kind": "alert" if event.verdict == EXPOSED else "event",
        "event.category": ["network"] if event.protocol else ["configuration"],
        "event.type": ["connection", "denied" if denied else "allowed"] if event.protocol else ["info"],
        "event.action": event.verdict,
        "event.reason": event.reason,
        "event.id": str(number),
        "event.start": _moment(event.time),
        "event.end": _moment(event.last_time),
        "event.outcome": ("failure" if denied else "success") if event.protocol else "",
        **_OBSERVER,
        "observer.ingress.interface.name": event.incoming,
        "observer.egress.interface.name": event.interface,
        "source.ip": event.source,
        "source.port": event.source_port,
        **_client(event),
        "source.packets": event.count if event.protocol else 0,
        "destination.ip": event.destination,
        "destination.port": event.destination_port,
        "network.transport": event.transport,
        "network.type": f"ipv{event.family}" if event.family else "",
        "network.protocol": event.protocol,
        "network.application": sender(event),
        "user.id": str(event.uid) if event.uid >= 0 else "",
        "user.name": event.user,
        "process.pid": event.pid,
        "process.executable": event.executable,
        "process.command_line": event.command,
        "container.id": event.container,
        "service.name": event.unit,
        "rule.name": event.cause,
        "rule.description": event.cause_text,
    }
    return {name: value for name, value in named.items() if value not in ("", 0)}


def _client(event: Event) -> dict[str, str]:
    # ECS writes MAC addresses as RFC 7042 does.
    return {"source.mac": event.mac.replace(":", "-").upper(), "source.domain": event.client}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")

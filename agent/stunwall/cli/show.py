"""`stunwall show`: one entry of the record in full, with its packet decoded."""

import textwrap
from contextlib import closing
from itertools import zip_longest
from typing import Annotated

import typer

from stunwall import reasons
from stunwall.cli import terminal
from stunwall.cli.decode import decode
from stunwall.cli.log import everything_of
from stunwall.cli.options import Json, Redact
from stunwall.cli.redacted import open_redacted, redaction
from stunwall.configfile import reader
from stunwall.model import EXPOSED, Event, StunwallError
from stunwall.stun import detect
from stunwall.text import date_time, endpoint, printable

_HEX_COLUMNS = 19  # 8 bytes in hexadecimal, and two spaces


def show(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="ID", help="The ID in `stunwall log`.")],
    as_json: Json = False,
    redact: Redact = False,
) -> None:
    """Show one entry in full, with its first packet decoded.

    With --json, the packet is in hexadecimal.

    \b
    Example:
      stunwall show 12
    """
    with closing(open_redacted(reader.load(context.obj), redaction(redact))) as record:
        event = record.event(number)
    if event is None:
        raise StunwallError(f"there is no entry {number}: `stunwall log` lists the IDs")
    if as_json:
        terminal.print_json(everything_of(number, event))
        return
    typer.echo(text(number, event))


def text(number: int, event: Event) -> str:
    """Return the entry in full, as lines that fit the terminal."""
    rows = [
        ("Entry", str(number)),
        ("Verdict", f"{event.verdict}: {reasons.sentence(event)}"),
        *_explained(event),
        ("First", date_time(event.time)),
        ("Last", date_time(event.last_time)),
    ]
    if not event.protocol:  # an event without a packet, such as a pause
        return terminal.aligned(rows)
    rows += [
        ("Packets", f"{event.count:,}"),
        ("What", f"{_what(event)}, IPv{event.family}"),
        ("From", _from(event)),
        ("To", endpoint(event.destination, event.destination_port) or "several destinations"),
        ("Interface", event.interface),
        ("Cause", event.cause_text or "not known"),
        *_sender(event),
    ]
    if event.verdict == EXPOSED:
        rows.append(("Exposed", detect.mapped_address(event.packet) or "an address that cannot be read"))
    return f"{terminal.aligned(rows)}\n\nThe first packet:\n\n{_decoded(event.packet)}"


def _from(event: Event) -> str:
    source = endpoint(event.source, event.source_port) or ("this machine" if event.flows > 1 else "anyone")
    return f"{source}, by {event.incoming}" if event.incoming else source


def _sender(event: Event) -> list[tuple[str, str]]:
    """Return the rows about the program that sent it, as far as it is known."""
    user = f"{event.user} ({event.uid})" if event.user else str(event.uid)
    process = f"{event.executable}, process {event.pid}" if event.pid else event.executable
    rows = [
        ("Client", _client(event)),
        ("Program", event.app),
        ("Container", event.container),
        ("Unit", event.unit),
        ("User", user if event.uid >= 0 else ""),
        ("Process", process),
        ("Command", event.command),
        ("Uncertain", event.who),
        (
            "Flows",
            f"{event.flows:,} of this sender, as it sent more than get an entry each"
            if event.flows > 1
            else "",
        ),
    ]
    return [(name, text) for name, text in rows if text]


def _client(event: Event) -> str:
    """Return what is known of the machine behind this one that sent it."""
    if not event.client:
        return event.mac
    return f"{event.client}, {event.mac}" if event.mac else event.client


def _what(event: Event) -> str:
    return f"{event.protocol} {event.method} over {event.transport}" if event.transport else "unknown"


def _explained(event: Event) -> list[tuple[str, str]]:
    explanation = reasons.explanation(event)
    if explanation is None:
        return []
    return [("Meaning", explanation.meaning), ("Next", explanation.advice)]


def _decoded(packet: bytes) -> str:
    """Return the packet's parts, each with its bytes to the left."""
    columns = max(terminal.width() - _HEX_COLUMNS, 30)
    lines = []
    for part in decode(packet):
        meaning = textwrap.wrap(printable(f"{part.name}  {part.value}"), columns, subsequent_indent="  ")
        bytes_ = [part.raw[at : at + 8].hex(" ", 4) for at in range(0, len(part.raw), 8)]
        rows = zip_longest(bytes_, meaning, fillvalue="")
        lines += [f"{left.ljust(_HEX_COLUMNS)}{right}".rstrip() for left, right in rows]
    return "\n".join(lines) or "It was not recorded."

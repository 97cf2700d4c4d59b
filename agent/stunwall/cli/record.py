"""`stunwall log` and `stunwall show`: what was blocked."""

import json
import re
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from stunwall import config
from stunwall.cli import terminal
from stunwall.daemon import journal as words
from stunwall.model import Event, Reason
from stunwall.record.events import Record
from stunwall.stun import detect

_POLL = 0.5  # seconds between two looks of --follow
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def log(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new entries until Ctrl-C.")
    ] = False,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="As 30m, 2h, 7d, 2026-01-01 or 2026-01-01T12:30.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, the newest.")] = 50,
) -> None:
    """Show what was blocked, the newest last; an entry is a flow, with the packets of a minute.

    \b
    Examples:
      stunwall log --since 2h
      stunwall log --follow
      stunwall log --json --limit 1000 | jq -r .destination | sort | uniq -c

    Fields of --json: id, time, last_time (Unix seconds), count, verdict, reason, protocol, method, transport,
    family, source, source_port, destination, destination_port, interface.
    """
    start = _since(since)
    with closing(Record(config.load(context.obj).state_dir)) as record:
        last = record.last_id()  # before the query, so that --follow misses none
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


def show(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="ID", help="The number that `stunwall log` shows.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, the packet in hexadecimal.")
    ] = False,
) -> None:
    """Show one entry whole, with its first packet taken apart.

    \b
    Example:
      stunwall show 12
    """
    with closing(Record(config.load(context.obj).state_dir)) as record:
        event = record.event(number)
    if event is None:
        typer.echo(f"stunwall: there is no entry {number}: `stunwall log` shows the numbers", err=True)
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(_plain(number, event) | {"packet": event.packet.hex()}))
        return
    _show(number, event)


def _show(number: int, event: Event) -> None:
    terminal.rows(
        [
            ("Entry", str(number)),
            ("Verdict", f"{event.verdict}: {_why(event.reason)}"),
            ("First", terminal.full_moment(event.time)),
            ("Last", terminal.full_moment(event.last_time)),
        ]
    )
    if not event.destination:  # a pause: it is about no packet
        return
    terminal.rows(
        [
            ("Packets", f"{event.count:,}"),
            ("What", f"{event.protocol} {event.method} over {event.transport}, IPv{event.family}"),
            ("From", words.endpoint(event.source, event.source_port)),
            ("To", words.endpoint(event.destination, event.destination_port)),
            ("Interface", event.interface),
        ]
    )
    typer.echo(f"\nThe first packet:\n\n{_apart(event.packet)}")


def _head(shown: list[tuple[int, Event]], follow: bool, since: str) -> None:
    if not shown and not follow:
        when = f" since {since}" if since else ""
        typer.echo(
            f"Nothing was blocked{when}. To see it work, open a page that makes calls, and look again."
        )
        return
    typer.echo(_row("ID", "TIME", "VERDICT", "N", "WHAT", "TO", "INTERFACE"))


def _print(number: int, event: Event, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_plain(number, event)))
        return
    destination, what = event.reason, ""
    if event.destination:
        destination = words.endpoint(event.destination, event.destination_port)
        what = f"{event.protocol} {event.method}"
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
        terminal.cut(terminal.clean(verdict), 10),
        f"{count:>4}",
        terminal.cut(terminal.clean(what), 13),
        terminal.cut(terminal.clean(to), 24 + wide),
        terminal.cut(terminal.clean(interface), 10),
    ]
    return " ".join(cells).rstrip()


def _new(record: Record, last: int) -> Iterator[tuple[int, Event]]:
    while True:
        for last, event in record.events(after=last):  # noqa: B020 - it goes on after the newest
            yield last, event
        time.sleep(_POLL)


def _plain(number: int, event: Event) -> dict[str, Any]:
    fields = asdict(event)
    del fields["packet"]
    return {"id": number} | fields


def _why(reason: str) -> str:
    return Reason(reason).sentence if reason in list(Reason) else reason


def _since(given: str) -> float:
    if not given:
        return 0.0
    if match := re.fullmatch(r"(\d{1,9})([smhdw])", given):
        return time.time() - int(match[1]) * _UNITS[match[2]]
    try:
        return datetime.fromisoformat(given).timestamp()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "as 30m, 2h, 7d, 2026-01-01 or 2026-01-01T12:30", param_hint="--since"
        ) from None


def _apart(packet: bytes) -> str:
    try:
        return _decoded(packet)
    except (struct.error, LookupError, TypeError, ValueError) as error:  # scapy's, on what is cut short
        return f"It cannot be taken apart ({error}); its bytes:\n{packet.hex(' ', 4)}"


def _decoded(packet: bytes) -> str:
    # Slow to import, so only here.
    from scapy.config import conf
    from scapy.contrib.stun import STUN
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6

    conf.debug_dissector = False  # bytes that do not fit are shown raw
    layers = (IPv6 if packet[:1] and packet[0] >> 4 == 6 else IP)(packet)
    detection = detect.detect(packet)
    for transport in (UDP, TCP):
        if detection is not None and detection.message is not None and transport in layers:
            layers[transport].remove_payload()
    lines = layers.show(dump=True)
    if detection is not None and detection.message is not None:
        lines += STUN(detection.stun).show(dump=True)
    return "\n".join(terminal.clean(line) for line in lines.splitlines())

"""`stunwall exposure`: for how long the host was not sealed, and why."""

from contextlib import closing
from pathlib import Path

import typer

from stunwall.cli import filters, terminal
from stunwall.cli.ledger import Exposure, exposure_since, length
from stunwall.cli.options import Json, Redact
from stunwall.cli.redacted import redaction
from stunwall.configfile import reader
from stunwall.control.client import ask
from stunwall.control.protocol import ControlError
from stunwall.record.reader import RecordReader
from stunwall.text import date_time, printable


def exposure(
    context: typer.Context,
    as_json: Json = False,
    redact: Redact = False,
    since: filters.TimeSince = "30d",
) -> None:
    """Show for how long STUN could leak, and why.

    Lengths are measured by a clock that nobody can set. What stunwalld could not
    see is unknown, and never counts as sealed.

    \b
    Kinds:
      sealed     no STUN could leak
      paused     `stunwall pause`
      open       no VPN was up, and when_vpn_down = "allow"
      exposed    a server's response proved that a request got out unseen
      leak       root's check saw STUN leave, and no later one was sealed
      wall-gone  the wall was missing or damaged
      stopped    stunwalld was stopped, and the wall removed
      unknown    the machine was off, or stunwalld could not see

    \b
    Exit codes:
      0  sealed throughout, and nothing proven
      1  not sealed, or unknown, for some time

    \b
    Example:
      stunwall exposure --since 7d
    """
    start = filters.time_of(since, "--since")
    config = reader.load(context.obj)
    running = _answers(config.run_dir)  # first: what the daemon saw until then is in the record
    with closing(RecordReader(config.state_dir)) as record:
        found = exposure_since(record, start, running)
    if hidden := redaction(redact):
        found = found.redacted(hidden)
    (_print_json if as_json else _print)(found)
    raise typer.Exit(0 if found.spans and not found.leaky and not found.proven else 1)


def _answers(run_dir: Path) -> bool:
    """Return whether the daemon runs, as far as this user may know."""
    try:
        return ask(run_dir, {"command": "status"}) is not None
    except ControlError:
        return False


def _print(found: Exposure) -> None:
    typer.echo(found.sentence)
    lengths = [length(span.seconds) for span in found.leaky]
    width = max(map(len, lengths), default=0)
    for span, lasted in zip(found.leaky, lengths, strict=True):
        typer.echo(f"{date_time(span.start)}  {lasted:>{width}}  {span.kind:<9}  {printable(span.why)}")


def _print_json(found: Exposure) -> None:
    spans = [
        {"kind": each.kind, "why": each.why, "start": each.start, "seconds": each.seconds}
        for each in found.leaky
    ]
    terminal.print_json(found.plain | {"spans": spans})

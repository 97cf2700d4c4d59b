"""`stunwall notify`: desktop notifications of what was blocked."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from stunwall.cli import terminal
from stunwall.cli.log import fields_of
from stunwall.cli.options import DURATIONS, JsonLines, duration_seconds
from stunwall.configfile import reader
from stunwall.control.client import Subscription
from stunwall.record.plain import entry
from stunwall.text import printable


def notify(
    context: typer.Context,
    length: Annotated[
        str, typer.Option("--for", metavar="TIME", help=f"How long `Allow` lasts, such as {DURATIONS}.")
    ] = "1h",
    as_json: JsonLines = False,
) -> None:
    """Show notifications of what is blocked of your programs.

    It groups attempts by program, one notification a minute each, until Ctrl-C. The
    actions are Details, and Allow for an hour, which adds an exception that ends by
    itself. With --json it prints new entries instead, as `stunwall log` does.

    \b
    Examples:
      stunwall notify
      systemctl --user enable --now stunwall-notify   # start it with the desktop
    """
    folder = reader.load(context.obj).run_dir
    seconds = duration_seconds(length, "--for")
    try:
        if as_json:
            _print(folder)
        else:
            _show(folder, seconds)
    except KeyboardInterrupt:
        pass


def _show(folder: Path, seconds: int) -> None:
    # Imported here because no other command needs the bus.
    from stunwall.notify.agent import Agent
    from stunwall.notify.bus import Desktop

    with closing(Desktop()) as desktop:
        Agent(folder, desktop, lambda text: typer.echo(printable(text), err=True), seconds).run()


def _print(folder: Path) -> None:
    with closing(Subscription(folder)) as subscription:
        lines = subscription.first
        while True:
            for line in lines:
                if "event" in line:
                    terminal.print_json(fields_of(*entry(line["event"])))
            lines = subscription.receive()

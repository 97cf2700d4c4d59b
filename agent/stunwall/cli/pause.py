"""`stunwall pause` and `stunwall resume`: let all STUN through for a while."""

from typing import Annotated

import typer

from stunwall.cli import terminal
from stunwall.cli.daemon import request
from stunwall.cli.options import DURATIONS, Json, duration_seconds
from stunwall.text import date_time


def pause(
    context: typer.Context,
    duration: Annotated[
        str, typer.Argument(metavar="TIME", help=f"How long, such as {DURATIONS}; at most a day.")
    ],
    as_json: Json = False,
) -> None:
    """Let all STUN through for a while, even outside the VPN.

    Until the pause ends, web pages can see your real address. The kernel ends it by
    itself, even if the daemon is gone. Time that the machine sleeps counts.

    \b
    Examples:
      sudo stunwall pause 30m
      sudo stunwall resume
    """
    reply = request(context, "pause", seconds=duration_seconds(duration, "TIME"))
    if as_json:
        terminal.print_json(reply)
        return
    until = date_time(reply["paused_until"])
    typer.echo(
        f"All STUN can leave until {until}, even outside the VPN. `stunwall resume` ends the pause early."
    )


def resume(context: typer.Context, as_json: Json = False) -> None:
    """End a pause early."""
    reply = request(context, "resume")
    if as_json:
        terminal.print_json(reply)
    else:
        typer.echo("The pause has ended." if reply["was_paused"] else "There was no pause.")

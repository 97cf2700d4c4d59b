"""`stunwall pause` and `stunwall resume`."""

import re
from typing import Annotated

import typer

from stunwall.cli import terminal
from stunwall.cli.daemon import request
from stunwall.cli.options import Json
from stunwall.text import date_time

_UNITS = {"s": 1, "m": 60, "h": 3600}


def pause(
    context: typer.Context,
    duration: Annotated[str, typer.Argument(metavar="TIME", help="As 90s, 30m or 2h; a day at most.")],
    as_json: Json = False,
) -> None:
    """Let all STUN pass for a while, outside the VPN too. Pages can see your real address meanwhile.

    \b
    Examples:
      sudo stunwall pause 30m
      sudo stunwall resume

    It ends by itself, in the kernel, also if the daemon is gone. Time that the machine sleeps counts.
    """
    match = re.fullmatch(r"(\d{1,6})([smh])", duration)
    if match is None:
        raise typer.BadParameter("as 90s, 30m or 2h", param_hint="TIME")
    seconds = int(match[1]) * _UNITS[match[2]]
    reply = request(context, "pause", seconds=seconds)
    if as_json:
        terminal.print_json(reply)
        return
    until = date_time(reply["paused_until"])
    typer.echo(f"All STUN passes until {until}, outside the VPN too. `stunwall resume` ends it sooner.")


def resume(context: typer.Context, as_json: Json = False) -> None:
    """End a pause now."""
    reply = request(context, "resume")
    if as_json:
        terminal.print_json(reply)
    else:
        typer.echo("STUN outside the VPN is stopped again." if reply["was_paused"] else "There was no pause.")

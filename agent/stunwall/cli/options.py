"""Options that several commands share."""

import os
import re
import time
from typing import Annotated

import typer

DURATIONS = "90s, 30m or 2h"
_UNITS = {"s": 1, "m": 60, "h": 3600}


def _json(printed: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option("--json", help=f"Print {printed}.")
    return option


Json = Annotated[bool, _json("one JSON object")]
JsonList = Annotated[bool, _json("a JSON list")]
JsonLines = Annotated[bool, _json("one JSON object per line")]
Redact = Annotated[
    bool,
    typer.Option("--redact", help="Replace addresses, users and other names, to show it to others."),
]


For = Annotated[
    str | None,
    typer.Option("--for", metavar="TIME", help=f"How long, such as {DURATIONS}; otherwise without end."),
]


def end_time(given: str | None) -> int | None:
    """Return when what is given with `For` ends, in Unix seconds; None: it does not. Raises BadParameter."""
    return None if given is None else int(time.time()) + duration_seconds(given, "--for")


def duration_seconds(text: str, hint: str) -> int:
    """Return the seconds that a text such as "30m" means. Raises BadParameter with the option's name, `hint`."""
    match = re.fullmatch(r"(\d{1,6})([smh])", text, re.ASCII)
    if match is None:
        raise typer.BadParameter(f"expected a duration such as {DURATIONS}", param_hint=hint)
    return int(match[1]) * _UNITS[match[2]]


def caller() -> int | None:
    """Return the number of the user who runs this, by sudo or not; None if that is root."""
    user = os.environ.get("SUDO_UID", "")
    return (int(user) if user.isascii() and user.isdecimal() else os.getuid()) or None

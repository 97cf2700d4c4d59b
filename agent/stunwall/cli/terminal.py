"""Prints to the terminal: widths, times, rows and JSON."""

import json
import shutil
import sys
import time

import typer

from stunwall.text import printable


def width() -> int:
    """Return the width of the terminal in columns, 80 without a terminal."""
    return shutil.get_terminal_size((80, 24)).columns


def cut(text: str, columns: int) -> str:
    """Return the text padded to this width. On a terminal, the beginning of a longer text is cut off."""
    if len(text) > columns and sys.stdout.isatty():
        text = "…" + text[len(text) - columns + 1 :]
    return text.ljust(columns)


def moment(seconds: float) -> str:
    """Return Unix seconds in 8 columns: the time if it was today, otherwise the date."""
    then, now = time.localtime(seconds), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("%H:%M:%S", then)
    return time.strftime("%y-%m-%d", then)


def print_json(value: object) -> None:
    """Print a value as one line of JSON."""
    typer.echo(json.dumps(value))


def wrapped(text: str, indent: int) -> str:
    """Return the text wrapped to the width of the terminal, with all lines but the first indented."""
    import textwrap

    columns = max(width() - indent, 30)
    return f"\n{' ' * indent}".join(textwrap.wrap(printable(text), columns, break_on_hyphens=False))


def rows(pairs: list[tuple[str, str]], indent: int = 11) -> None:
    """Print rows of a name and a text that is wrapped to the width of the terminal."""
    typer.echo(aligned(pairs, indent))


def aligned(pairs: list[tuple[str, str]], indent: int = 11) -> str:
    """Return what `rows` prints."""
    return "\n".join(printable(name).ljust(indent) + wrapped(text, indent) for name, text in pairs)

"""How values look on the terminal."""

import shutil
import sys
import time

import typer


def width() -> int:
    """Return the columns of the terminal, 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def clean(text: str) -> str:
    """Return the text without what a terminal would obey (control characters in names from the kernel)."""
    return "".join(c if c.isprintable() else "?" for c in text)


def cut(text: str, columns: int) -> str:
    """Return the text in exactly so many columns; on a terminal a longer one is cut, its end kept."""
    if len(text) > columns and sys.stdout.isatty():
        text = "…" + text[len(text) - columns + 1 :]
    return text.ljust(columns)


def moment(seconds: float) -> str:
    """Return Unix seconds in 8 columns: the time if it was today, else the day."""
    then, now = time.localtime(seconds), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("%H:%M:%S", then)
    return time.strftime("%y-%m-%d", then)


def full_moment(seconds: float) -> str:
    """Return Unix seconds as local date and time with its offset."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def count(number: int, noun: str) -> str:
    """Return `1 packet`, `3 packets`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def rows(pairs: list[tuple[str, str]], indent: int = 11) -> None:
    """Print `name  text` rows, the text wrapped at the terminal's width."""
    import textwrap

    for name, text in pairs:
        head = clean(name).ljust(indent)
        lines = textwrap.wrap(clean(text), max(width() - indent, 30), break_on_hyphens=False) or [""]
        typer.echo(head + f"\n{' ' * indent}".join(lines))

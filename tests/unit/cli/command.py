"""The command `stunwall` in tests: how it is run, and how it ended."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AGENT = Path(__file__).resolve().parents[3] / "agent"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(AGENT), "COLUMNS": "80", "TERM": "dumb"}
# Text that a terminal would obey.
HOSTILE = "\x1b]0;owned\x07\x1b[31mred\r\n\u202eforged\u2028\0"


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Stunwall = Callable[..., Result]


@dataclass
class Daemon:
    """What a daemon answers, and the requests that it has received."""

    reply: dict[str, Any]
    asked: list[dict[str, Any]]


def command(folder: Path, *arguments: str) -> list[str]:
    """The command line that runs it in a process of its own."""
    return [sys.executable, "-m", "stunwall.cli", "--config", str(folder / "c.toml"), *arguments]


def on_a_terminal(arguments: list[str], columns: int) -> list[str]:
    """The lines that a program prints on a terminal of this width."""
    reader, writer = pty.openpty()
    environment = {**ENVIRONMENT, "COLUMNS": str(columns)}
    with subprocess.Popen(arguments, stdout=writer, stderr=writer, env=environment) as running:
        os.close(writer)
        text = b""
        try:
            while piece := os.read(reader, 65536):
                text += piece
        except OSError:  # EIO: the other end is closed
            pass
        running.wait()
    os.close(reader)
    return text.decode().splitlines()

"""Sends requests to the daemon, for the commands that need it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import typer

from stunwall.configfile import reader
from stunwall.control import client
from stunwall.control.protocol import Status

# Commands that polkit decides about.
_POLKIT = ("pause", "allow-add", "allow-preset", "reload", "check-every-vpn-up")


def request(context: typer.Context, command: str, **values: object) -> Status:
    """Return the daemon's reply. Where polkit decides, it may ask the user for a password.

    Raises ControlError if the daemon is not running or refuses, ConfigError if the configuration is invalid.
    """
    folder = reader.load(context.obj).run_dir
    asked: Status = {"command": command, **values}
    terminal = sys.stdin is not None and sys.stdin.isatty()  # None: it is closed
    desktop = any(os.environ.get(name) for name in ("WAYLAND_DISPLAY", "DISPLAY"))
    agent: AbstractContextManager[None] = nullcontext()
    if command in _POLKIT and (terminal or desktop):
        asked["interactive"] = True
        if not desktop and os.geteuid() != 0:  # root is not asked
            agent = _text_agent()
    with agent:
        return client.request(folder, asked)


@contextmanager
def _text_agent() -> Iterator[None]:
    """Have polkit ask on this terminal, where there is no desktop whose agent would: over SSH (pkttyagent(1))."""
    program = shutil.which("pkttyagent")
    if program is None:
        yield
        return
    reading, writing = os.pipe()
    agent = subprocess.Popen(
        [program, f"--process={os.getpid()}", f"--notify-fd={writing}"],
        pass_fds=[writing],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        pipe.read()  # its end is closed once polkit knows the agent, or the agent has failed
    try:
        yield
    finally:
        agent.terminate()
        agent.wait()

"""Asks the daemon, for the commands that need one."""

import typer

from stunwall.configfile import reader
from stunwall.control import client
from stunwall.control.protocol import Status


def request(context: typer.Context, command: str, **values: object) -> Status:
    """Return the daemon's reply. Raises ControlError if no daemon runs or it refuses, ConfigError."""
    return client.request(reader.load(context.obj).run_dir, {"command": command, **values})

"""Sends requests to the daemon, for the commands that need it."""

import typer

from stunwall.configfile import reader
from stunwall.control import client
from stunwall.control.protocol import Status


def request(context: typer.Context, command: str, **values: object) -> Status:
    """Return the daemon's reply.

    Raises ControlError if the daemon is not running or refuses, ConfigError if the configuration is invalid.
    """
    return client.request(reader.load(context.obj).run_dir, {"command": command, **values})

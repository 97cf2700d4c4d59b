"""The command `stunwall`, for people and scripts: a file per group of commands."""

from stunwall.cli.app import main

__all__ = ["main"]

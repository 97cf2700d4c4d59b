"""The command, and a daemon that it can ask."""

from unit.cli.conftest import daemon, folder, served, stunwall

__all__ = ["daemon", "folder", "served", "stunwall"]

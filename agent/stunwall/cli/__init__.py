"""The command `stunwall`: what people and scripts read and type."""

from stunwall.cli.app import main

__all__ = ["main"]

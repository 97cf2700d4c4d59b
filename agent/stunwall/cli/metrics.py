"""`stunwall metrics`: figures for Prometheus, in its text format."""

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import typer

from stunwall.cli import figures, report
from stunwall.cli.exposition import Metric, text
from stunwall.cli.report import Report
from stunwall.config import Config
from stunwall.configfile import reader
from stunwall.model import StunwallError
from stunwall.queue import proc
from stunwall.record.ledger import Kind
from stunwall.record.reader import RecordReader
from stunwall.record.schema import RecordError


class WriteError(StunwallError):
    """The file could not be written."""


class WritePermissionError(WriteError):
    """This user may not write the file."""

    exit_code = 4


def metrics(
    context: typer.Context,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Replace this file at once, for node_exporter's textfile collector."
        ),
    ] = None,
) -> None:
    """Print figures for Prometheus: state, verdicts, drops, gaps, exposure.

    Nothing in them says who or where the user is, or whom the user calls.

    \b
    Exit codes:
      0  printed or written, whatever the state is
      1  the file cannot be written
      3  invalid configuration
      4  permission denied to write the file

    \b
    Example:
      sudo stunwall metrics --write /srv/textfile/stunwall.prom
    """
    said = text(_figures(reader.load(context.obj)))
    if write is None:
        typer.echo(said, nl=False)
    else:
        _replace(write, said)


def _figures(config: Config) -> list[Metric]:
    queue = next((row for row in proc.rows() if row.queue == config.queue), None)
    return figures.of(_asked(config), config, queue, _ledger(config))


def _asked(config: Config) -> Report:
    try:
        return report.current(config)
    except StunwallError as error:  # for monitoring, a daemon that hangs is a finding
        return Report("unknown", str(error), None)


def _ledger(config: Config) -> dict[Kind, float] | None:
    """Return the seconds of each kind, None if this user cannot read them."""
    try:
        with closing(RecordReader(config.state_dir)) as record:
            return record.lengths()
    except RecordError:
        return None


def _replace(file: Path, said: str) -> None:
    """Put the file in its place whole, readable by everyone. Raises WriteError."""
    # The collector reads only names that end in .prom. One of a command that was killed is replaced, too.
    new = file.with_name(f".{file.name}.new")
    try:
        new.unlink(missing_ok=True)
        # Never through a link that somebody has put there.
        place = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(place, "w", encoding="utf-8") as made:
            os.fchmod(place, 0o644)  # whatever the umask: the collector has a user of its own
            made.write(said)
        new.replace(file)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        if isinstance(error, PermissionError):
            raise WritePermissionError(f"permission denied: {file} cannot be written; use sudo") from error
        raise WriteError(f"cannot write {file}: {error.strerror}") from error

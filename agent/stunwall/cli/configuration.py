"""`stunwall config check` and `stunwall reload`: check the configuration, and make the daemon use it."""

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from stunwall.cli import terminal
from stunwall.cli.daemon import request
from stunwall.cli.options import Json, Redact
from stunwall.cli.redacted import redaction
from stunwall.configfile import reader

app = typer.Typer(help="Check the configuration.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Check the configuration."""


@app.command()
def check(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The file to check; by default, that of --config.")
    ] = None,
    as_json: Json = False,
    redact: Redact = False,
) -> None:
    """Check a configuration file with its drop-ins, and show the values.

    If something is wrong, the message names the file, line and key, and the
    exit code is 3.

    \b
    Examples:
      stunwall config check
      stunwall config check ./stunwall.toml
    """
    chosen = file or context.obj
    settings = json.loads(json.dumps(asdict(reader.load(chosen)), default=_plain))
    first = f"{chosen} {'is valid' if chosen.exists() else 'does not exist, so the defaults apply'}."
    if hidden := redaction(redact):
        settings, first = hidden.value(settings), hidden.text(first)
    if as_json:
        terminal.print_json(settings)
        return
    typer.echo(first)
    for key, value in settings.items():
        typer.echo(f"  {key} = {json.dumps(value)}")


def reload(context: typer.Context, as_json: Json = False) -> None:
    """Make the daemon read its configuration again.

    If it is invalid, nothing changes and the error is shown. A change of `queue`,
    `mark_mask`, `state_dir` or `run_dir` needs `sudo systemctl restart stunwall`.

    \b
    Example:
      sudo stunwall reload
    """
    changed = request(context, "reload")["changed"]
    if as_json:
        terminal.print_json({"changed": changed})
    elif changed:
        typer.echo(f"Now in effect: {', '.join(changed)}.")
    else:
        typer.echo("Nothing has changed.")


def _plain(value: object) -> Any:  # noqa: ANN401 - what json.dumps takes
    if isinstance(value, frozenset):
        return sorted(value)
    return value.value if isinstance(value, Enum) else str(value)

"""`stunwall config` and `stunwall reload`: check a configuration, and have the daemon read it again."""

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from stunwall.cli import terminal
from stunwall.cli.daemon import request
from stunwall.cli.options import Json
from stunwall.configfile import reader

app = typer.Typer(help="Check the configuration.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Check the configuration."""


@app.command()
def check(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Default: the file of --config.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a configuration file and its drop-ins, and show the values in force.

    \b
    Examples:
      stunwall config check
      stunwall config check ./stunwall.toml

    Exits 3 with file, line, key and what was expected if something is wrong.
    """
    chosen = file or context.obj
    settings = asdict(reader.load(chosen))
    if as_json:
        typer.echo(json.dumps(settings, default=_plain))
        return
    typer.echo(
        f"{chosen} is fine." if chosen.exists() else f"There is no {chosen}: the defaults are in force."
    )
    for key, value in settings.items():
        typer.echo(f"  {key} = {json.dumps(value, default=_plain)}")


def reload(context: typer.Context, as_json: Json = False) -> None:
    """Have the daemon read its configuration again. A wrong one changes nothing, and is told.

    \b
    Example:
      sudo stunwall reload        # or: sudo systemctl reload stunwall

    `queue`, `mark_mask`, `state_dir` and `run_dir` need `sudo systemctl restart stunwall`.
    """
    changed = request(context, "reload")["changed"]
    if as_json:
        terminal.print_json({"changed": changed})
    elif changed:
        typer.echo(f"In force now: {', '.join(changed)}.")
    else:
        typer.echo("Nothing has changed.")


def _plain(value: object) -> Any:  # noqa: ANN401 - what json.dumps takes
    if isinstance(value, frozenset):
        return sorted(value)
    return value.value if isinstance(value, Enum) else str(value)

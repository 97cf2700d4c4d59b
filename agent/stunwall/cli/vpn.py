"""`stunwall vpn`: which interfaces are the VPN, and why."""

import json
from typing import Annotated

import typer

from stunwall.cli import terminal
from stunwall.cli.options import json_option
from stunwall.configfile import reader
from stunwall.control.client import request


def vpn(
    context: typer.Context,
    as_json: Annotated[bool, json_option("A JSON list.")] = False,
) -> None:
    """List every interface, whether it counts as the VPN, and why.

    \b
    Example:
      stunwall vpn
    """
    found = request(reader.load(context.obj).run_dir, {"command": "status"})["interfaces"]
    if as_json:
        typer.echo(json.dumps(found))
        return
    wide = max((len(entry["interface"]) for entry in found), default=0) + 2
    terminal.rows(
        [(entry["interface"], ("VPN: " if entry["counts"] else "no: ") + entry["why"]) for entry in found],
        wide,
    )
    if not any(entry["counts"] for entry in found):
        typer.echo('\nNone counts. If your VPN is up, name its interface: interfaces = ["NAME"]')

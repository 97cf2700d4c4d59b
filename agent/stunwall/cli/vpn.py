"""`stunwall vpn`: which interfaces count as the VPN, and why."""

import typer

from stunwall.cli import terminal
from stunwall.cli.daemon import request
from stunwall.cli.options import JsonList


def vpn(context: typer.Context, as_json: JsonList = False) -> None:
    """Show which interfaces count as the VPN, and why.

    \b
    Example:
      stunwall vpn
    """
    found = request(context, "status")["interfaces"]
    if as_json:
        terminal.print_json(found)
        return
    wide = max((len(entry["interface"]) for entry in found), default=0) + 2
    terminal.rows(
        [(entry["interface"], ("VPN: " if entry["counts"] else "no: ") + entry["why"]) for entry in found],
        wide,
    )
    if not any(entry["counts"] for entry in found):
        typer.echo(
            "\nNo interface counts as the VPN. If yours is up, name its interface in the configuration: "
            'interfaces = ["NAME"]'
        )

"""`stunwall vpn`: which interfaces are the VPN, inside, or a way out, and why."""

from typing import Any

import typer

from stunwall.cli import terminal
from stunwall.cli.daemon import request
from stunwall.cli.options import JsonList, Redact
from stunwall.cli.redacted import redaction


def vpn(context: typer.Context, as_json: JsonList = False, redact: Redact = False) -> None:
    """Show which interfaces are the VPN, inside or a way out, and why.

    STUN is blocked only on its way out. Inside are interfaces that lead
    only to machines behind this one, such as containers.

    \b
    Example:
      stunwall vpn
    """
    found = request(context, "status")["interfaces"]
    if hidden := redaction(redact):
        found = hidden.value(found)
    if as_json:
        terminal.print_json(found)
        return
    wide = max((len(entry["interface"]) for entry in found), default=0) + 2
    terminal.rows(
        [(entry["interface"], f"{_place(entry)}: {entry['why']}") for entry in found],
        wide,
    )
    if not any(entry["counts"] for entry in found):
        typer.echo(
            "\nNo interface counts as the VPN. If yours is up, name its interface in the configuration: "
            'interfaces = ["NAME"]'
        )


def _place(entry: dict[str, Any]) -> str:
    if entry["counts"]:
        return "VPN"
    if entry["interface"] == "lo":
        return "local"
    return "inside" if entry.get("inside") else "outside"

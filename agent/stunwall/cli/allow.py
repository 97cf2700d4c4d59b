"""`stunwall allow`: exceptions, in effect at once and kept across restarts."""

from contextlib import closing
from typing import Annotated, Any

import typer

from stunwall.cli import terminal
from stunwall.cli.daemon import request
from stunwall.cli.options import Json
from stunwall.text import count
from stunwall.wall import state
from stunwall.wall.nft import Nft, NftPermissionError

app = typer.Typer(help="Manage exceptions: STUN that may bypass the VPN.", no_args_is_help=True)


Why = Annotated[
    str, typer.Option(metavar="TEXT", help="The reason, for whoever reads the configuration later.")
]
To = Annotated[str | None, typer.Option(metavar="NETWORK", help="Destination address or network.")]
Port = Annotated[int | None, typer.Option(metavar="PORT", help="Destination port.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="NETWORK", help="Sender's address or network, before source NAT."),
]
SourcePort = Annotated[int | None, typer.Option(metavar="PORT", help="Source port.")]
Protocol = Annotated[str | None, typer.Option(metavar="udp|tcp", help="Transport protocol.")]
User = Annotated[str | None, typer.Option(metavar="USER", help="Programs of this user, by name or number.")]
Unit = Annotated[
    str | None, typer.Option(metavar="UNIT", help="Programs of this systemd unit, or cgroup path.")
]
Interface = Annotated[str | None, typer.Option(metavar="NAME", help="Outgoing interface.")]


@app.command()
def add(
    context: typer.Context,
    why: Why,
    to: To = None,
    port: Port = None,
    source: From = None,
    source_port: SourcePort = None,
    protocol: Protocol = None,
    user: User = None,
    unit: Unit = None,
    interface: Interface = None,
    as_json: Json = False,
) -> None:
    """Add an exception for packets that match all given options.

    It takes effect at once and is kept across restarts.

    \b
    Examples:
      sudo stunwall allow add --unit tailscaled.service \\
          --why "Tailscale finds its peers by STUN"
      sudo stunwall allow add --to 10.20.0.0/16 --protocol udp \\
          --why "the office's video bridge"
      sudo stunwall allow add --from 172.17.0.2 --source-port 10000 \\
          --why "the video bridge that I host in a container"
    """
    given = {
        "to": to,
        "port": port,
        "from": source,
        "source_port": source_port,
        "protocol": protocol,
        "user": int(user) if user and user.isdecimal() else user,
        "unit": unit,
        "interface": interface,
        "why": why,
    }
    rule = {key: value for key, value in given.items() if value is not None}
    reply = request(context, "allow-add", rule=rule)
    _print(reply["allow"], {}, as_json)


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the exceptions in effect.

    Root also sees how many packets each of them has let through.
    """
    reply = request(context, "allow-list")
    _print(reply["allow"], _counted(), as_json)


@app.command()
def remove(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="The number in `stunwall allow list`.")],
    as_json: Json = False,
) -> None:
    """Remove an exception that `stunwall allow add` made."""
    reply = request(context, "allow-remove", number=number)
    _print(reply["allow"], {}, as_json)


def _counted() -> dict[int, int]:
    try:
        with closing(Nft()) as nft:
            wall = state.read(nft)
    except NftPermissionError:
        return {}
    found = {}
    for rule in wall.rules if wall else ():
        name, _, number = rule.comment.partition(" ")
        if name == "allow" and number.isdecimal():
            found[int(number)] = rule.packets or 0
    return found


def _print(rules: list[dict[str, Any]], counted: dict[int, int], as_json: bool) -> None:
    if as_json:
        numbered = [
            {"number": n} | rule | ({"packets": counted[n]} if n in counted else {})
            for n, rule in enumerate(rules, 1)
        ]
        terminal.print_json({"allow": numbered})
        return
    if not rules:
        typer.echo("There are no exceptions.")
    for number, rule in enumerate(rules, 1):
        what = ", ".join(f"{key} {value}" for key, value in rule.items() if key != "why")
        passed = f" ({count(counted[number], 'packet')} allowed)" if number in counted else ""
        terminal.rows([(str(number), f"{what}: {rule['why']}{passed}")], indent=4)

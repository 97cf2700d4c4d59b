"""`stunwall allow`: exceptions, in effect at once and kept across restarts."""

import time
from contextlib import closing
from typing import Annotated, Any

import typer

from stunwall import hints
from stunwall.cli import terminal
from stunwall.cli.daemon import request
from stunwall.cli.options import For, Json, Redact, caller, end_time
from stunwall.cli.preset import preset
from stunwall.cli.redacted import redaction
from stunwall.config import ALLOW_FIELDS, EXCEPTION_KEYS
from stunwall.configfile.values import PRESET
from stunwall.text import count, date_time
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
    str | None,
    typer.Option(metavar="UNIT", help="Programs of this systemd unit, or cgroup path; may be a glob."),
]
App = Annotated[
    str | None,
    typer.Option(
        metavar="ID", help="A desktop application, of the user who runs the command if --user is not given."
    ),
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
    app: App = None,
    interface: Interface = None,
    until: For = None,
    as_json: Json = False,
) -> None:
    """Add an exception for packets that match all given options.

    It takes effect at once and is kept across restarts. With --for, the kernel ends it,
    even if the daemon is gone.

    \b
    Examples:
      sudo stunwall allow add --unit tailscaled.service \\
          --why "Tailscale finds its peers by STUN"
      sudo stunwall allow add --app com.discordapp.Discord \\
          --why "one call without the VPN" --for 1h
      sudo stunwall allow add --to 10.20.0.0/16 --protocol udp \\
          --why "the office's video bridge"
      sudo stunwall allow add --from 172.17.0.2 --source-port 10000 \\
          --why "the video bridge that I host in a container"
    """
    _print(request(context, "allow-add", rule=_rule(context.params)), {}, as_json)


@app.command("list")
def list_(context: typer.Context, as_json: Json = False, redact: Redact = False) -> None:
    """List the exceptions in effect.

    Root also sees how many packets each of them has let through.
    """
    reply = request(context, "allow-list")
    if hidden := redaction(redact):
        reply = hidden.value(reply)
    _print(reply, _counted(), as_json)


@app.command()
def remove(
    context: typer.Context,
    which: Annotated[
        str,
        typer.Argument(
            metavar="NUMBER|PRESET",
            help="The number in `stunwall allow list`, or a preset, for all of its exceptions.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Remove an exception, or all exceptions of a preset.

    They must be of `stunwall allow add` or `stunwall allow preset`; edit the file of others.
    """
    if which.isascii() and which.isdecimal():
        reply = request(context, "allow-remove", number=int(which))
    elif PRESET.fullmatch(which):
        reply = request(context, "allow-remove", preset=which)
    else:
        raise typer.BadParameter("expected the number of an exception, or the name of a preset")
    _print(reply, {}, as_json)


app.command()(preset)


def _rule(params: dict[str, Any]) -> dict[str, Any]:
    """Return the exception that these options of `add` mean, as in JSON."""
    options = dict(params)
    if options["app"] and options["user"] is None:
        options["user"] = caller()
    elif options["user"] and options["user"].isdecimal():
        options["user"] = int(options["user"])
    options["until"] = end_time(options["until"])
    given = {key: options.get(ALLOW_FIELDS.get(key, key)) for key in EXCEPTION_KEYS}
    return {key: value for key, value in given.items() if value is not None}


def _counted() -> dict[int, int]:
    try:
        with closing(Nft()) as nft:
            wall = state.read(nft)
    except NftPermissionError:
        return {}
    found: dict[int, int] = {}
    for rule in wall.rules if wall else ():
        name, _, number = rule.comment.partition(" ")
        if name == "allow" and number.isdecimal():
            found[int(number)] = found.get(int(number), 0) + (rule.packets or 0)
    return found


def _ends(until: int) -> str:
    """Return when an exception ends, and how much time is left."""
    left = until - time.time()
    if left <= 0:
        return f"ended {date_time(until)}"
    minutes = int(left / 60)
    most = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return f"ends {date_time(until)}, {most if minutes else 'less than a minute'} left"


def _print(reply: dict[str, Any], counted: dict[int, int], as_json: bool) -> None:
    rules: list[dict[str, Any]] = reply["allow"]
    cgroups: list[list[str] | None] = reply.get("cgroups") or [None] * len(rules)
    if as_json:
        numbered = [
            {"number": n}
            | rule
            | ({} if found is None else {"cgroups": found})
            | ({"packets": counted[n]} if n in counted else {})
            for n, (rule, found) in enumerate(zip(rules, cgroups, strict=True), 1)
        ]
        terminal.print_json({"allow": numbered})
        return
    if not rules:
        typer.echo("There are no exceptions.")
    for number, (rule, found) in enumerate(zip(rules, cgroups, strict=True), 1):
        what = ", ".join(f"{key} {value}" for key, value in rule.items() if key not in ("until", "why"))
        notes = [f"{count(counted[number], 'packet')} allowed"] if number in counted else []
        if "until" in rule:
            notes.append(_ends(rule["until"]))
        if found == []:
            notes.append(hints.not_found(rule))
        noted = f" ({'; '.join(notes)})" if notes else ""
        terminal.rows([(str(number), f"{what}: {rule['why']}{noted}")], indent=4)

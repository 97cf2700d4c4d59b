"""`stunwall allow preset`: the exceptions that a well-known program needs, and no others."""

import socket
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, replace
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any

import typer

from stunwall.cli import terminal
from stunwall.cli.daemon import request
from stunwall.cli.options import For, Json, caller, end_time
from stunwall.config import Allow, Network
from stunwall.configfile import reader
from stunwall.configfile.drop_in import NAME, merged, senders, toml
from stunwall.configfile.values import ALLOW_KEYS, UnfitError
from stunwall.model import StunwallError
from stunwall.presets import installed
from stunwall.presets.places import Kind, covers
from stunwall.presets.table import Preset, Unneeded, presets, unneeded
from stunwall.wall import units

_LIST = "list"
_INDENT = 19

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A preset; `list`, or nothing, to show them.", show_default=False),
]
To = Annotated[
    str | None,
    typer.Option(metavar="HOST", help="Only to this server: its name, address or network."),
]
User = Annotated[
    str | None,
    typer.Option(
        metavar="USER", help="Whose programs, by name or number; if not given, those of who runs this."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what it would write.")]


def preset(
    context: typer.Context,
    name: Name = _LIST,
    to: To = None,
    user: User = None,
    until: For = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Add what a well-known program needs, or list the presets.

    A preset lets only the program's own units or applications send, by the protocol
    and the ports that it is known to use. It prints what it writes, and writes nothing
    if the program is not on this machine.

    \b
    Examples:
      stunwall allow preset
      sudo stunwall allow preset tailscale
      sudo stunwall allow preset syncthing --for 2h --dry-run
      sudo stunwall allow preset jitsi --to meet.example.org

    \b
    Exit codes:
      0  the exceptions are in effect, or none are needed
      1  the program is not on this machine, or needs --to
      2  there is no such preset
    """
    before = reader.load(context.obj).allow
    if name == _LIST:
        _print_list(before, as_json)
    elif name in unneeded():
        _print_unneeded(unneeded()[name], as_json)
    else:
        chosen, end = _chosen(name), end_time(until)
        wanted = [replace(rule, until=end) for rule in _wanted(chosen, _owner(user), _servers(to))]
        change = _Change(chosen, wanted, before, Path(context.obj).parent / "conf.d" / NAME, dry_run)
        if change.new and not dry_run:
            request(context, "allow-preset", rules=change.new)
        change.show(as_json)


class _Change:
    """What a preset changes of the exceptions that were there before."""

    def __init__(
        self, chosen: Preset, wanted: list[Allow], before: tuple[Allow, ...], file: Path, dry_run: bool
    ) -> None:
        self._preset, self._wanted, self._file, self._dry_run = chosen, wanted, file, dry_run
        numbers = {rule: _covered_by(rule, before) for rule in wanted}
        self._covered = {rule: number for rule, number in numbers.items() if number}
        new = [rule.plain() for rule in wanted if rule not in self._covered]
        plain = [rule.plain() for rule in before]
        self.new: list[dict[str, Any]] = [] if merged(plain, new) == plain else new
        """The exceptions to write."""

    def _plain(self) -> dict[str, Any]:
        return _plain(self._preset) | {
            "allow": [rule.plain() for rule in self._wanted],
            "covered_by": sorted(set(self._covered.values())),
            "new": self.new,
            "written": bool(self.new) and not self._dry_run,
            "file": str(self._file),
        }

    def show(self, as_json: bool) -> None:
        """Print it."""
        if as_json:
            terminal.print_json(self._plain())
            return
        about = f"{self._preset.name}, of {self._preset.date}: {self._preset.purpose}"
        lines = [("Preset", about), ("Reveals", self._preset.reveals), ("Without", self._preset.without)]
        terminal.rows(lines)
        typer.echo()
        if self._covered:
            numbers = sorted(set(self._covered.values()))
            which = f"exception{'s' * (len(numbers) > 1)} {' and '.join(map(str, numbers))}"
            part = "Some of it" if self.new else "All of it"
            typer.echo(f"{part} is already allowed by {which} in `stunwall allow list`.")
        elif not self.new:
            typer.echo("Its exceptions are already in effect.")
        if not self.new:
            typer.echo("Nothing was changed.")
            return
        done = (
            f"Would be written to {self._file}:"
            if self._dry_run
            else f"Written to {self._file}, and in effect:"
        )
        typer.echo(f"{done}\n\n{toml(self.new)}")
        undo = f"sudo stunwall allow remove {self._preset.name}"
        typer.echo(
            "To write it, run this with sudo and without --dry-run."
            if self._dry_run
            else f"To undo it: {undo}"
        )


def _covered_by(rule: Allow, before: tuple[Allow, ...]) -> int:
    """Return the number of an exception that does what `rule` would, 0 if there is none, or it would be replaced."""
    return next(
        (
            number
            for number, each in enumerate(before, 1)
            if covers(each, rule) and senders(each.plain()) != senders(rule.plain())
        ),
        0,
    )


def _chosen(name: str) -> Preset:
    """Return the preset of this name. Raises BadParameter, with names that are similar."""
    known = presets()
    if name in known:
        return known[name]
    names = [*known, *unneeded()]
    similar = get_close_matches(name.lower(), names, cutoff=0.7) or [
        each for each in names if name.lower() in each or each in name.lower()
    ]
    hint = f"did you mean {' or '.join(similar)}? " if similar else ""
    raise typer.BadParameter(
        f"there is no preset {name!r}: {hint}`stunwall allow preset list` shows them, and "
        "`stunwall allow add` makes any other exception",
        param_hint="NAME",
    )


def _owner(user: str | None) -> int | None:
    if user is None:
        return caller()
    try:
        return int(ALLOW_KEYS["user"](int(user) if user.isdecimal() else user))
    except UnfitError as error:
        raise typer.BadParameter(f"{error} expected", param_hint="--user") from None


def _servers(to: str | None) -> list[Network | None]:
    """Return the networks that --to means, None for any: a name may have several addresses."""
    if to is None:
        return [None]
    try:
        return [ip_network(to)]
    except ValueError as error:
        if "/" in to:
            raise typer.BadParameter(str(error), param_hint="--to") from None
    try:
        found = socket.getaddrinfo(to, None, type=socket.SOCK_DGRAM)
        return [ip_network(ip_address(each)) for each in dict.fromkeys(str(info[4][0]) for info in found)]
    except (OSError, UnicodeError, ValueError) as error:
        raise StunwallError(f"cannot find the address of {to} ({error}): give the address itself") from error


def _wanted(chosen: Preset, owner: int | None, servers: list[Network | None]) -> list[Allow]:
    """Return the exceptions to make. Raises StunwallError if there is no program that they would be for."""
    if chosen.server_named:
        if any(server is None or server.num_addresses > 1 for server in servers):
            raise StunwallError(_browser(chosen))
        rules = [replace(rule, user=owner) for rule in chosen.allow]
    else:
        people = [owner] if owner is not None else units.users()
        with closing(units.UnitWatch()) as watch:
            places = installed.find(chosen.places, people, watch.find)
        if not places:
            raise StunwallError(_missing(chosen))
        rules = [place.applied(rule) for place in places for rule in chosen.allow]
    return [replace(rule, to=server) for rule in rules for server in servers]


def _browser(chosen: Preset) -> str:
    """Return why a preset for calls in a browser needs a server."""
    return (
        f"{chosen.title}: nothing tells its packets from those of any other page, so an exception for the browser "
        "would show every page your real address. Name the one server that may see it, with --to HOST. Or keep the "
        'calls in the VPN, where they work: mode = "redirect" moves those into it that would bypass it. If the '
        f"server itself runs on this machine, see the preset {chosen.server}"
    )


def _missing(chosen: Preset) -> str:
    """Return that a program is not on this machine, and where it was looked for."""
    names = " or ".join(str(place) for place in chosen.places)
    user = any(place.kind is not Kind.UNIT for place in chosen.places)
    return (
        f"{chosen.title} neither runs nor is enabled on this machine as {names}, so nothing was allowed. Start it"
        + (", name its user with --user," if user else "")
        + " and try again. `stunwall allow add` allows another unit, by --unit, which `systemd-cgls` shows, or a "
        "container, by --from"
    )


def _plain(chosen: Preset) -> dict[str, Any]:
    return {
        "preset": chosen.name,
        "title": chosen.title,
        "purpose": chosen.purpose,
        "without": chosen.without,
        "reveals": chosen.reveals,
        "date": chosen.date.isoformat(),
        "sources": list(chosen.sources),
    }


def _print_list(before: Iterable[Allow], as_json: bool) -> None:
    used = {rule.preset for rule in before}
    if as_json:
        listed = [
            _plain(each)
            | {
                "server_named": each.server_named,
                "places": [place.name for place in each.places],
                "allow": [rule.plain() for rule in each.allow],
                "in_effect": each.name in used,
            }
            for each in presets().values()
        ]
        terminal.print_json({"presets": listed, "unneeded": [asdict(each) for each in unneeded().values()]})
        return
    for each in presets().values():
        note = " (in effect)" if each.name in used else ""
        terminal.rows([(each.name, f"{each.purpose}{note}"), ("", f"reveals {each.reveals}")], _INDENT)
    typer.echo()
    for other in unneeded().values():
        terminal.rows([(other.preset, f"not needed: {other.unneeded}")], _INDENT)
    typer.echo("\n`stunwall allow preset NAME --dry-run` shows what a preset would write.")


def _print_unneeded(program: Unneeded, as_json: bool) -> None:
    if as_json:
        terminal.print_json(asdict(program))
    else:
        typer.echo(f"{program.title} needs no exception: {program.unneeded}.")

"""`stunwall browsers`: what a page can learn from each browser, and how to change that."""

import os
import pwd
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from stunwall.browsers import audit, change, files, levels, machine, targets
from stunwall.browsers.change import Outcome
from stunwall.browsers.files import FilePermissionError
from stunwall.browsers.ledger import Ledger
from stunwall.browsers.levels import Level
from stunwall.browsers.machine import Home
from stunwall.cli import terminal
from stunwall.cli.options import Json, Redact
from stunwall.cli.redacted import redaction
from stunwall.text import count, printable

LEVELS = """\b
Levels, in the browsers' own words (RFC 8828):
  default
      every interface, once a page may use the microphone
  default_public_and_private_interfaces
      the default route, with this machine's own address there
  default_public_interface_only
      the default route's public address alone (recommended: calls work)
  disable_non_proxied_udp
      nothing, or what a proxy for UDP shows
"""

_HELP = f"""Show what pages can learn from browsers, and set their policies.

Without a command: the browsers of this machine, as root of all users; which
policy, profile or command line decides; what a page can learn of addresses;
and which settings do nothing. stunwall blocks STUN outside the VPN whatever
is set here. What is set here keeps a browser from trying.

{LEVELS}
There is no switch for a "legacy WebRTC API": no browser on Linux has one, and
it never hid an address.

\b
Examples:
  sudo stunwall browsers
  sudo stunwall browsers set default_public_interface_only
  sudo stunwall browsers site allow https://meet.example.org
  sudo stunwall browsers reset
"""

app = typer.Typer(help=_HELP, invoke_without_command=True)
_site = typer.Typer(help="Manage sites with a level of their own.", no_args_is_help=True)
app.add_typer(_site, name="site")

_PATIENCE, _PAUSE = 30.0, 0.05  # seconds for what a user has set to be taken back, and between two looks
_STATE = Path(".local", "state", "stunwall-browsers")  # below a home folder

Name = Annotated[str, typer.Option("--browser", metavar="NAME", help="Only this browser, such as firefox.")]
LevelArgument = Annotated[
    Level,
    typer.Argument(
        metavar="LEVEL", click_type=None, parser=lambda text: _level(text), help="One of the four levels."
    ),
]
User = Annotated[bool, typer.Option("--user", help="Only for you, without root, where a browser has that.")]


def _level(text: str) -> Level:
    if text not in list(levels.CHOICES):
        raise typer.BadParameter(f"expected one of {', '.join(levels.CHOICES)}", param_hint="LEVEL")
    return Level(text)


@app.callback()
def browsers(context: typer.Context, as_json: Json = False, redact: Redact = False) -> None:
    """Print the audit, unless there is a command."""
    if context.invoked_subcommand is not None:
        return
    said = audit.plain(machine.this_machine())
    if hidden := redaction(redact):
        said = hidden.value(said)
    if as_json:
        terminal.print_json(said)
    else:
        _show(said)


@app.command("set")
def set_(
    context: typer.Context,
    level: LevelArgument,
    browser: Name = "",
    user: User = False,
    as_json: Json = False,
) -> None:
    """Set what browsers show of addresses.

    Without --user for all users, by a policy that they cannot change (sudo).
    With --user in your own Firefox profiles, and for Chromium from Flatpak.
    All other settings stay; each change is printed, and `reset` takes it back.

    \b
    Examples:
      sudo stunwall browsers set default_public_interface_only
      sudo stunwall browsers set default --browser firefox
      stunwall browsers set default_public_interface_only --user
    """
    here = machine.this_machine(everyone=not user)
    kept, home = _ledger(context, user)
    found = targets.chosen(here, browser)
    with kept.open():
        done = targets.set_level(here, kept, found, level, home)
    _end(done, as_json, f"{level} was set already")


@_site.command()
def allow(
    context: typer.Context,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The site; what follows its origin does not count.")
    ],
    level: Annotated[
        Level,
        typer.Option(
            "--level", metavar="LEVEL", parser=lambda text: _level(text), help="The level of this site."
        ),
    ] = Level.DEFAULT,
    browser: Name = "",
    as_json: Json = False,
) -> None:
    """Let one site have a level of its own, `default` if not given.

    For Chromium and what is made of it, from version 133 on. Firefox cannot: its
    preferences hold for all sites.

    \b
    Example:
      sudo stunwall browsers site allow https://meet.example.org
    """
    here = machine.this_machine()
    kept, _ = _ledger(context, user=False)
    found = targets.chosen(here, browser)
    with kept.open():
        done = targets.allow_site(here, kept, found, url, level)
    _end(done, as_json, f"{targets.origin(url)} was allowed already")


@app.command()
def reset(
    context: typer.Context,
    user: User = False,
    everyone: Annotated[
        bool, typer.Option("--everyone", help="As root, also what users have set with --user.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take back what `set` and `site allow` have written.

    Nothing else changes. A key that somebody has changed since stays, and is
    named.

    \b
    Examples:
      sudo stunwall browsers reset
      stunwall browsers reset --user
    """
    kept, _ = _ledger(context, user)
    done = _reset(kept)
    if everyone and not user:
        done.failures += [
            f"what {home.user} has set could not be taken back" for home in _people() if not _reset_as(home)
        ]
    # A removal does not tell what there was not.
    _end(done, as_json, "" if everyone else "nothing was set by stunwall")


def _reset(kept: Ledger) -> Outcome:
    if not kept.folder.exists():
        return Outcome()
    with kept.open():
        return change.reset(kept)


def _people() -> list[Home]:
    """Return the users with something to take back."""
    return [
        home for home in machine.this_machine().homes if home.uid and files.is_folder(home.folder / _STATE)
    ]


def _reset_as(home: Home) -> bool:
    """Take back what a user has set, as that user: in their home, root would follow any link. Return whether it did."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            gid = pwd.getpwuid(home.uid).pw_gid
            os.setgroups([])
            os.setgid(gid)
            os.setuid(home.uid)
            done = _reset(Ledger(home.folder / _STATE))
            _print(done)
            sys.stdout.flush()
            code = 1 if done.failures else 0
        finally:
            os._exit(code)
    # The user can hold a lock on the folder, or stop the process.
    end = time.monotonic() + _PATIENCE
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(_PAUSE)
    return os.waitstatus_to_exitcode(ended[1]) == 0


def _ledger(context: typer.Context, user: bool) -> tuple[Ledger, Home | None]:
    """Return the ledger, and with --user the user's home. Raises FilePermissionError."""
    if user:
        if os.environ.get("SUDO_UID"):
            raise typer.BadParameter("this is for yourself: leave out sudo", param_hint="--user")
        home = next(iter(machine.this_machine(everyone=False).homes), None)
        if home is None:
            raise FilePermissionError("you have no home folder")
        return Ledger(home.folder / _STATE), home
    folder = context.obj.parent / "browsers"
    if os.geteuid() and not os.access(context.obj.parent, os.W_OK):
        raise FilePermissionError("permission denied: use sudo, or --user for what needs no root")
    return Ledger(folder), None


def _end(done: Outcome, as_json: bool, nothing: str) -> None:
    if as_json:
        terminal.print_json(asdict(done))
    else:
        _print(done)
        if nothing and not (done.writes or done.failures or done.notes):
            typer.echo(nothing)
        if any(write.file.endswith(("policies.json", "user.js")) for write in done.writes):
            typer.echo("Firefox reads this when it starts: restart it.")
    raise typer.Exit(1 if done.failures else 0)


def _print(done: Outcome) -> None:
    for write in done.writes:
        typer.echo(printable(f"{write.file}: {write.key}: {write.before} → {write.after}"))
    for note in done.notes:
        typer.echo(terminal.wrapped(f"Note: {note}", 2))
    for failure in done.failures:
        typer.echo(f"stunwall: {printable(failure)}", err=True)


def _show(said: dict[str, Any]) -> None:
    made = said["browsers"]
    if not made:
        typer.echo("No browser that is known was found.")
    else:
        names = ["BROWSER", *(printable(row["title"]) for row in made)]
        users = ["USER", *(printable(row["user"]) or "-" for row in made)]
        first, second = (max(map(len, column)) + 2 for column in (names, users))
        typer.echo(f"{names[0]:<{first}}{users[0]:<{second}}LEVEL, AND WHAT SETS IT")
        for name, user, row in zip(names[1:], users[1:], made, strict=True):
            typer.echo(f"{name:<{first}}{user:<{second}}{printable(_decided(row))}")
        _learns(made)
    _others(said["others"])
    _findings(said["findings"])


def _decided(row: dict[str, Any]) -> str:
    by = row["by"]
    running = f" (runs, process {row['running']})" if row["running"] else ""
    if by is None:
        known = "as far as is known" if row["policies_known_by"] == "unknown" else "as nothing is set"
        return f"{row['level']}{'' if row['level'] == Level.OFF else f', {known}'}{running}"
    return f"{row['level']}, by {by['place']} ({by['kind']}){running}"


def _learns(made: list[dict[str, Any]]) -> None:
    typer.echo("\nWhat a page can learn:")
    for (level, without, microphone), rows in audit.grouped(made):
        names = ", ".join(dict.fromkeys(row["title"] for row in rows))
        typer.echo(f"\n  {printable(f'{level}: {names}')}")
        if without == microphone:
            typer.echo(f"    always: {terminal.wrapped(without, 12)}")
        else:
            typer.echo(f"    without the microphone: {terminal.wrapped(without, 8)}")
            typer.echo(f"    with the microphone: {terminal.wrapped(microphone, 8)}")
    for row in made:
        for site in row["sites"]:
            typer.echo(f"\n  {printable(f'''{row['title']}, on {site['url']} alone: {site['handling']}''')}")
    for note in dict.fromkeys(row["note"] for row in made if row["note"]):
        typer.echo(f"\n  {terminal.wrapped(note, 2)}")


def _others(found: list[dict[str, Any]]) -> None:
    if found:
        typer.echo("\nPrograms with a browser inside, which no policy reaches:")
    for other in found:
        places = other["places"]
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        typer.echo(f"\n  {terminal.wrapped(f'''{other['title']} ({places[0]}{more}) {other['says']}''', 2)}")


def _findings(found: list[dict[str, Any]]) -> None:
    if found:
        typer.echo(f"\n{count(len(found), 'finding')}:")
    for finding in found:
        where = f"{finding['place']}: " if finding["place"] else ""
        what = f"{where}{finding['what']}"
        typer.echo(f"\n  {terminal.wrapped(what, 2)}")
        if finding["next"]:
            typer.echo(f"  Next: {terminal.wrapped(finding['next'], 8)}")

"""`stunwall status`: can STUN leak, why, and what to do next. report.py finds it out."""

from collections.abc import Iterator
from typing import Any

import typer

from stunwall.cli import report, terminal
from stunwall.cli.options import Json
from stunwall.cli.report import Report
from stunwall.configfile import reader
from stunwall.control.protocol import Status
from stunwall.model import FAMILIES
from stunwall.text import count, date_time, missing_version

_COLOURS = {False: typer.colors.GREEN, True: typer.colors.RED, None: typer.colors.YELLOW}
_EXIT_CODES = {False: 0, True: 1, None: 4}


def status(context: typer.Context, as_json: Json = False) -> None:
    """Say whether STUN can leave outside the VPN, and what to do next.

    \b
    States:
      protected  a VPN is up: STUN leaves through it or not at all
      sealed     no VPN is up: all STUN is blocked
      degraded   nothing leaks, but something is wrong; it says what to do
      wall-only  the daemon does not run; the kernel still blocks
      paused     `stunwall pause`: all STUN passes for a while
      open       no VPN is up, and when_vpn_down = "allow"
      down       no wall is up

    Exits 0 only while no STUN can leak, 1 if it can, 4 if your rights are too few to tell.
    """
    found = report.make(reader.load(context.obj))
    if as_json:
        terminal.print_json(report.plain(found))
    else:
        name = typer.style(found.state.upper(), fg=_COLOURS[found.leak], bold=True)
        typer.echo(f"{name}: {found.headline}\n")
        terminal.rows(list(_rows(found)))
    raise typer.Exit(_EXIT_CODES[found.leak])


def _rows(found: Report) -> Iterator[tuple[str, str]]:
    if not found.vpn:
        yield "VPN", "none is up" if found.daemon else "not known"
    for name, why in found.vpn:
        yield "VPN", f"{name}: {why}"
    yield "Wall", f"{found.wall} (the rules in the kernel)"
    if found.daemon is not None:
        yield from _daemon(found.daemon)
    elif found.state != "unknown":
        yield "Daemon", "does not run"
    if found.blocked is not None:
        flows, packets, redirected = (found.blocked[key] for key in ("flows", "packets", "redirected"))
        yield "Blocked", f"{count(flows, 'flow')} of {count(packets, 'packet')} today"
        if redirected:
            yield "Redirected", f"{count(redirected, 'flow')} today, into the VPN"
    for problem in found.problems:
        yield "Problem", problem
    if found.next:
        yield "Next", found.next


def _daemon(daemon: Status) -> Iterator[tuple[str, str]]:
    since = date_time(float(daemon["started"]))
    yield "Daemon", f"runs since {since}, pid {daemon['pid']}, mode {daemon['mode']}"
    if daemon.get("paused_until"):
        yield "Paused", f"until {date_time(float(daemon['paused_until']))}"
    for gap in daemon.get("gaps", ()):
        yield "Gap", _gap(gap)
    for version in sorted(FAMILIES.keys() - set(daemon.get("ip_versions", FAMILIES))):
        yield "Note", missing_version(version)


def _gap(gap: dict[str, Any]) -> str:
    seconds = float(gap["end"]) - float(gap["start"])
    who = gap["who"] or "an unknown program"
    return f"{date_time(float(gap['start']))}, {seconds:.3f} s: rules of the wall were changed by {who}"

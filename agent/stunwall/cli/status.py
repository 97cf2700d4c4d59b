"""`stunwall status`: prints what report.py found out."""

import html
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from stunwall.cli import proof, report, terminal
from stunwall.cli.options import Json, Redact
from stunwall.cli.redacted import redaction
from stunwall.cli.report import Report
from stunwall.configfile import reader
from stunwall.control.protocol import Status
from stunwall.hints import not_found, shortened
from stunwall.model import FAMILIES
from stunwall.text import count, date_time, missing_version, printable

_COLOURS = {False: typer.colors.GREEN, True: typer.colors.RED, None: typer.colors.YELLOW}
_INDENT = len("Second lock") + 2
_CLASSES = {False: "sealed", True: "leak", None: "unknown"}
_EXIT_CODES = {False: 0, True: 1, None: 4}


def status(
    context: typer.Context,
    as_json: Json = False,
    redact: Redact = False,
    waybar: Annotated[
        bool, typer.Option("--waybar", help="Print one line of JSON for a status bar; the exit code is 0.")
    ] = False,
) -> None:
    """Show whether STUN can bypass the VPN, and what to do next.

    \b
    States:
      protected  a VPN is up: STUN leaves through it or not at all
      sealed     no VPN is up: all STUN is blocked
      degraded   nothing leaks, but something is wrong
      leaking    `stunwall check` has seen STUN leave outside the VPN
      wall-only  stunwalld is not running, but the kernel still blocks
      paused     all STUN can leave, because of `stunwall pause`
      open       no VPN is up, and when_vpn_down = "allow"
      down       the wall is not up: STUN can leave by any interface

    \b
    Exit codes:
      0  no STUN can leak
      1  STUN can leak
      4  unknown, because permission was denied
    """
    found = report.make(reader.load(context.obj), redaction(redact))
    if waybar:
        terminal.print_json(_bar(found))
        return
    if as_json:
        terminal.print_json(report.plain(found))
    else:
        name = typer.style(found.state.upper(), fg=_COLOURS[found.leak], bold=True)
        typer.echo(f"{name}: {found.headline}\n")
        terminal.rows(list(rows(found)), _INDENT)
    raise typer.Exit(_EXIT_CODES[found.leak])


def _bar(found: Report) -> dict[str, str]:
    """Return what Waybar and bars like it show (waybar-custom(5)): they hide a module whose command fails."""
    said = [printable(found.headline)]
    if found.blocked is not None:
        said.append(f"{count(found.blocked['flows'], 'flow')} blocked today")
    if found.proof is not None:
        said.append(f"Proved: {proof.sentence(found.proof)}")
    said += [f"Problem: {printable(problem)}" for problem in found.problems]
    return {
        "text": f"STUN {found.state}",
        "alt": found.state,
        "class": _CLASSES[found.leak],
        # Pango's markup, in which `<` and `&` have a meaning.
        "tooltip": html.escape("\n".join(said), quote=False),
    }


def rows(found: Report) -> Iterator[tuple[str, str]]:
    """Yield what is known, each with its name."""
    if not found.vpn:
        yield "VPN", "no VPN is up" if found.daemon else "unknown"
        for name, why in found.not_counted:
            yield "Not counted", f"{name}: {why}"
    for name, why in found.vpn:
        yield "VPN", f"{name}: {why}"
    for why, names in _by_reason(found.inside).items():
        yield "Inside", f"{', '.join(names)}: {why}"
    yield "Wall", f"{found.wall} (the rules in the kernel)"
    if found.second_lock:
        yield "Second lock", found.second_lock
    if found.proof is not None:
        yield "Proved", proof.sentence(found.proof)
    if found.daemon is not None:
        yield from _daemon(found.daemon)
    elif found.state != "unknown":
        yield "Daemon", "not running"
    if found.blocked is not None:
        flows, packets, redirected = (found.blocked[key] for key in ("flows", "packets", "redirected"))
        yield "Blocked", f"{count(flows, 'flow')} ({count(packets, 'packet')}) today"
        if redirected:
            yield "Redirected", f"{count(redirected, 'flow')} into the VPN today"
    if found.exposure is not None and found.exposure.spans:
        yield "Exposure", found.exposure.sentence
    for problem in found.problems:
        yield "Problem", problem
    if found.next:
        yield "Next", found.next


def _by_reason(interfaces: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names by the reason: a host of containers has many with the same."""
    found: dict[str, list[str]] = {}
    for name, why in interfaces:
        found.setdefault(why, []).append(name)
    return found


def _daemon(daemon: Status) -> Iterator[tuple[str, str]]:
    since = date_time(float(daemon["started"]))
    yield "Daemon", f"running since {since}, pid {daemon['pid']}, mode {daemon['mode']}"
    if daemon.get("paused_until"):
        yield "Paused", f"until {date_time(float(daemon['paused_until']))}"
    for exposure in daemon.get("exposures", ()):
        yield "Exposed", _exposure(exposure)
    for gap in daemon.get("gaps", ()):
        yield "Gap", _gap(gap)
    for number, cgroups in enumerate(daemon.get("cgroups", ()), 1):
        if cgroups == []:
            yield "Exception", f"{number} applies to nothing now ({not_found(daemon['allow'][number - 1])})"
    for version in sorted(FAMILIES.keys() - set(daemon.get("ip_versions", FAMILIES))):
        yield "Note", missing_version(version)


def _exposure(exposure: dict[str, Any]) -> str:
    server, address = (
        printable(exposure["server"]),
        printable(exposure["address"] or "this machine's address"),
    )
    return (
        f"{date_time(float(exposure['time']))}: the server {server} has seen {address} in a request that got out "
        "unseen; its answer was dropped"
    )


def _gap(gap: dict[str, Any]) -> str:
    seconds = float(gap["end"]) - float(gap["start"])
    who = gap["who"] or "an unknown program"
    what = f" ({shortened(gap['what'])})" if gap.get("what") else ""
    held = "; the second lock held" if gap.get("second_lock_held") else ""
    return f"{date_time(float(gap['start']))}, for {seconds:.3f} s: {who} changed the wall{what}{held}"

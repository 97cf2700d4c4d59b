"""`stunwall status`: can STUN leak, why, and what to do next."""

import json
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from stunwall.cli import terminal
from stunwall.cli.options import Json
from stunwall.configfile import reader
from stunwall.control.client import ask
from stunwall.control.protocol import ControlPermissionError, Status
from stunwall.model import FAMILIES
from stunwall.record.reader import RecordReader
from stunwall.record.schema import RecordError
from stunwall.text import count, date_time, missing_version
from stunwall.wall import state
from stunwall.wall.nft import NftPermissionError

_START = "`sudo systemctl start stunwall` (or `sudo stunwalld` in a terminal)"


@dataclass
class _Report:
    """What is found out: `leak` is None where it cannot be told."""

    state: str
    headline: str
    leak: bool | None
    daemon: Status | None = None
    wall: str = "unknown"
    vpn: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    next: str = ""


def status(
    context: typer.Context,
    as_json: Json = False,
) -> None:
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
    settings = reader.load(context.obj)
    report = _report(settings.run_dir)
    blocked = _blocked(settings.state_dir, report)
    if as_json:
        typer.echo(json.dumps(_plain(report, blocked)))
    else:
        _print(report, blocked)
    raise typer.Exit({False: 0, True: 1, None: 4}[report.leak])


def _report(run_dir: Path) -> _Report:
    try:
        daemon = ask(run_dir, {"command": "status"})
    except ControlPermissionError as error:
        return _Report("unknown", "your rights are too few to tell", None, next=_sentence(str(error)))
    return _of_kernel() if daemon is None else _of_daemon(daemon)


def _of_daemon(daemon: Status) -> _Report:
    if "error" in daemon:
        return _Report("unknown", "the daemon did not answer", None, problems=[str(daemon["error"])])
    state, wall = str(daemon.get("state")), str(daemon.get("wall"))
    counting = [entry for entry in daemon.get("interfaces", ()) if entry["counts"]]
    report = _Report(
        state,
        _HEADLINES.get(state, state),
        leak=state in ("open", "paused") or wall != "up",
        daemon=daemon,
        wall=wall,
        vpn=[(entry["interface"], entry["why"]) for entry in counting],
        problems=list(daemon.get("problems", ())) + _trouble(daemon),
        next=_NEXT.get(state, ""),
    )
    if wall != "up":
        report.state, report.headline = (
            "down",
            f"the wall in the kernel is {wall}: STUN can leave by any interface",
        )
        report.next = "Put the wall back with `sudo systemctl restart stunwall`."
    return report


def _of_kernel() -> _Report:
    """The daemon does not run: the kernel knows the rest."""
    try:
        wall = state.read()
    except NftPermissionError:
        return _Report(
            "unknown",
            "stunwalld does not run, and your rights are too few to see whether the wall is up",
            None,
            next=f"Ask the kernel with `sudo stunwall status`, or start the daemon with {_START}.",
        )
    if wall is None or not wall.intact:
        seen = "down" if wall is None else "damaged"
        headline = f"stunwalld does not run and the wall is {seen}: STUN leaves by any interface"
        return _Report("down", headline, True, wall=seen, next=f"Start it with {_START}.")
    if wall.paused:
        headline = f"stunwalld does not run, and a pause goes on for {wall.paused} s: all STUN passes"
        next_ = f"Start it with {_START}, then `sudo stunwall resume`."
        return _Report("paused", headline, True, wall="up", next=next_)
    return _Report(
        "wall-only",
        "stunwalld does not run, but the wall is up: STUN outside the VPN is blocked",
        False,
        wall="up",
        vpn=[
            (str(name), "let through by the wall as stunwalld left it") for name in wall.sets.get("vpn", ())
        ],
        problems=["what is blocked is not recorded, and a VPN that comes up is not noticed"],
        next=f"Start it with {_START}.",
    )


def _trouble(daemon: Status) -> list[str]:
    said = {
        "unrecorded": "blocked, but not recorded: the disk could not keep up",
        "queue_overruns": "blocked in the kernel, unrecorded: more than stunwalld could take",
        "over_limit": "blocked in the kernel, unrecorded: too many at once",
        "unattended": "blocked in the kernel, unrecorded: stunwalld was not ready",
        "unreadable": "blocked as STUN that could not be read",
    }
    counted = daemon | daemon.get("counters", {})
    return [f"{count(int(counted[key]), 'packet')} {what}" for key, what in said.items() if counted.get(key)]


def _blocked(state_dir: Path, report: _Report) -> dict[str, Any] | None:
    """Return what was blocked since midnight, None where the record cannot be read; it says why then."""
    today = time.mktime((*time.localtime()[:3], 0, 0, 0, 0, 0, -1))
    try:
        with closing(RecordReader(state_dir)) as record:
            flows, packets = record.blocked(today)
            redirected = record.redirected(today)[0]
            return {"flows": flows, "packets": packets, "redirected": redirected, "lost": record.lost()}
    except RecordError as error:
        if report.daemon is not None:
            report.problems.append(str(error))
        return None


def _print(report: _Report, blocked: dict[str, Any] | None) -> None:
    colour = {False: typer.colors.GREEN, True: typer.colors.RED, None: typer.colors.YELLOW}[report.leak]
    typer.echo(typer.style(report.state.upper(), fg=colour, bold=True) + f": {report.headline}\n")
    lines = [("VPN", f"{name}: {why}") for name, why in report.vpn] or [
        ("VPN", "none is up" if report.daemon else "not known")
    ]
    lines.append(("Wall", f"{report.wall} (the rules in the kernel)"))
    daemon = report.daemon
    if daemon is not None:
        since = date_time(float(daemon["started"]))
        lines.append(("Daemon", f"runs since {since}, pid {daemon['pid']}, mode {daemon['mode']}"))
        if daemon.get("paused_until"):
            lines.append(("Paused", f"until {date_time(float(daemon['paused_until']))}"))
        lines += [("Gap", _gap(gap)) for gap in daemon.get("gaps", ())]
        missing = FAMILIES.keys() - set(daemon.get("ip_versions", FAMILIES))
        lines += [("Note", missing_version(version)) for version in sorted(missing)]
    elif report.state != "unknown":
        lines.append(("Daemon", "does not run"))
    if blocked is not None:
        flows, packets = blocked["flows"], blocked["packets"]
        lines.append(("Blocked", f"{count(flows, 'flow')} of {count(packets, 'packet')} today"))
        if blocked["redirected"]:
            lines.append(("Redirected", f"{count(blocked['redirected'], 'flow')} today, into the VPN"))
    lines += [("Problem", problem) for problem in report.problems]
    if report.next:
        lines.append(("Next", report.next))
    terminal.rows(lines)


def _gap(gap: dict[str, Any]) -> str:
    seconds = float(gap["end"]) - float(gap["start"])
    who = gap["who"] or "a program that is not known"
    return f"{date_time(float(gap['start']))}, {seconds:.3f} s: rules of the wall were changed by {who}"


def _plain(report: _Report, blocked: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "state": report.state,
        "leak_possible": report.leak,
        "headline": report.headline,
        "wall": report.wall,
        "vpn": [{"interface": name, "why": why} for name, why in report.vpn],
        "blocked_today": blocked,
        "problems": report.problems,
        "next": report.next,
        "daemon": report.daemon,
    }


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."


_HEADLINES = {
    "protected": "STUN leaves through the VPN or not at all",
    "sealed": "no VPN is up, so all STUN is blocked",
    "degraded": "STUN outside the VPN is blocked, but something is wrong",
    "open": 'no VPN is up, and when_vpn_down = "allow": STUN leaves by any interface',
    "paused": "all STUN passes, outside the VPN too",
}
_NEXT = {
    "protected": "`stunwall log` shows what was blocked.",
    "sealed": (
        "Connect your VPN. If it is connected, stunwall does not know it: name its interface "
        'in the configuration, as in interfaces = ["wg0"].'
    ),
    "degraded": "Do what the problem says; `stunwall log` shows what was blocked.",
    "paused": "`sudo stunwall resume` ends the pause; else it ends by itself.",
    "open": 'Connect your VPN, or set when_vpn_down = "block".',
}

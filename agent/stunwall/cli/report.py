"""What `stunwall status` reports: the state, the words for it, and what to do next. status.py prints it."""

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stunwall import hints
from stunwall.config import Config
from stunwall.control.client import ask
from stunwall.control.protocol import ControlPermissionError, Status
from stunwall.record.reader import RecordReader
from stunwall.record.schema import RecordError
from stunwall.text import count
from stunwall.wall import state
from stunwall.wall.nft import NftPermissionError
from stunwall.wall.state import Wall

# The states of a daemon that runs: headline, and what to do next.
STATES = {
    "protected": ("STUN leaves through the VPN or not at all", "`stunwall log` shows what was blocked."),
    "sealed": (
        "no VPN is up, so all STUN is blocked",
        "Connect your VPN. If it is connected, stunwall does not know it: name its interface "
        'in the configuration, as in interfaces = ["wg0"].',
    ),
    "degraded": (
        "STUN outside the VPN is blocked, but something is wrong",
        "Do what the problem says; `stunwall log` shows what was blocked.",
    ),
    "paused": (
        "all STUN passes, outside the VPN too",
        "`sudo stunwall resume` ends the pause; else it ends by itself.",
    ),
    "open": (
        'no VPN is up, and when_vpn_down = "allow": STUN leaves by any interface',
        'Connect your VPN, or set when_vpn_down = "block".',
    ),
}
_LEAKING = ("open", "paused")
# What the daemon counts of packets that are not in the record, by its key in the status or the wall's counters.
_COUNTED = {
    "unrecorded": "blocked, but not recorded: the disk could not keep up",
    "queue_overruns": "blocked in the kernel, unrecorded: more than stunwalld could take",
    "over_limit": "blocked in the kernel, unrecorded: too many at once",
    "unattended": "blocked in the kernel, unrecorded: stunwalld was not ready",
    "unreadable": "blocked as STUN that could not be read",
}


@dataclass
class Report:
    """What `status` says. `leak` is None if that is unknown, `daemon` if it does not run or may not be asked."""

    state: str
    headline: str
    leak: bool | None
    wall: str = "unknown"
    vpn: list[tuple[str, str]] = field(default_factory=list)
    """The interfaces that count as the VPN, and why."""
    problems: list[str] = field(default_factory=list)
    next: str = ""
    daemon: Status | None = None
    blocked: dict[str, int] | None = None
    """What was blocked today; None if the record cannot be read."""


def make(settings: Config) -> Report:
    """Ask the daemon, the kernel if it does not run, and the record."""
    report = _ask(settings.run_dir)
    try:
        report.blocked = _blocked(settings.state_dir)
    except RecordError as error:
        if report.daemon is not None:
            report.problems.append(str(error))
    return report


def _ask(run_dir: Path) -> Report:
    try:
        daemon = ask(run_dir, {"command": "status"})
    except ControlPermissionError as error:
        return Report("unknown", "your rights are too few to tell", None, next=_sentence(str(error)))
    if daemon is not None:
        return _of_daemon(daemon)
    try:
        return _of_kernel(state.read())
    except NftPermissionError:
        return Report(
            "unknown",
            "stunwalld does not run, and your rights are too few to see whether the wall is up",
            leak=None,
            next=f"Ask the kernel with `sudo stunwall status`, or start the daemon with {hints.START}.",
        )


def _of_daemon(daemon: Status) -> Report:
    if "error" in daemon:
        return Report("unknown", "the daemon did not answer", None, problems=[str(daemon["error"])])
    state, wall = str(daemon.get("state")), str(daemon.get("wall"))
    headline, next_ = STATES.get(state, (state, ""))
    report = Report(
        state,
        headline,
        leak=state in _LEAKING or wall != "up",
        wall=wall,
        vpn=[(entry["interface"], entry["why"]) for entry in daemon.get("interfaces", ()) if entry["counts"]],
        problems=list(daemon.get("problems", ())) + _uncounted(daemon),
        next=next_,
        daemon=daemon,
    )
    if wall != "up":
        report.state = "down"
        report.headline = f"the wall in the kernel is {wall}: STUN can leave by any interface"
        report.next = f"Put the wall back with {hints.RESTART}."
    return report


def _of_kernel(wall: Wall | None) -> Report:
    """The daemon does not run: the kernel knows the rest."""
    if wall is None or not wall.intact:
        seen = "down" if wall is None else "damaged"
        headline = f"stunwalld does not run and the wall is {seen}: STUN leaves by any interface"
        return Report("down", headline, leak=True, wall=seen, next=f"Start it with {hints.START}.")
    if wall.paused:
        headline = f"stunwalld does not run, and a pause goes on for {wall.paused} s: all STUN passes"
        next_ = f"Start it with {hints.START}, then `sudo stunwall resume`."
        return Report("paused", headline, leak=True, wall="up", next=next_)
    why = "let through by the wall as stunwalld left it"
    return Report(
        "wall-only",
        "stunwalld does not run, but the wall is up: STUN outside the VPN is blocked",
        leak=False,
        wall="up",
        vpn=[(str(name), why) for name in wall.sets.get("vpn", ())],
        problems=[hints.NO_DAEMON],
        next=f"Start it with {hints.START}.",
    )


def _uncounted(daemon: Status) -> list[str]:
    counted = daemon | daemon.get("counters", {})
    return [
        f"{count(int(counted[key]), 'packet')} {what}" for key, what in _COUNTED.items() if counted.get(key)
    ]


def _blocked(state_dir: Path) -> dict[str, int]:
    """Return what was blocked since midnight. Raises RecordError."""
    midnight = time.mktime((*time.localtime()[:3], 0, 0, 0, 0, 0, -1))
    with closing(RecordReader(state_dir)) as record:
        flows, packets = record.blocked(midnight)
        redirected, _ = record.redirected(midnight)
        return {"flows": flows, "packets": packets, "redirected": redirected, "lost": record.lost()}


def plain(report: Report) -> dict[str, Any]:
    """Return the fields of the JSON."""
    return {
        "state": report.state,
        "leak_possible": report.leak,
        "headline": report.headline,
        "wall": report.wall,
        "vpn": [{"interface": name, "why": why} for name, why in report.vpn],
        "blocked_today": report.blocked,
        "problems": report.problems,
        "next": report.next,
        "daemon": report.daemon,
    }


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."

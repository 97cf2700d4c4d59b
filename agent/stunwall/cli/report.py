"""Decides what `stunwall status` says: the state, its headline, the problems, and what to do next."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from typing import Any

from stunwall import hints
from stunwall.cli.ledger import Exposure, exposure_since
from stunwall.config import Config
from stunwall.control.client import ask
from stunwall.control.protocol import ControlPermissionError, Status
from stunwall.doctor import relay
from stunwall.model import VPN_KINDS
from stunwall.record.reader import RecordReader
from stunwall.record.schema import RecordError
from stunwall.redact.redaction import Redaction
from stunwall.text import count
from stunwall.wall import inspection
from stunwall.wall.inspection import Inspection
from stunwall.wall.nft import NftPermissionError

# While the daemon runs, by its state: the headline, and what to do next.
STATES = {
    "protected": ("STUN leaves through the VPN or not at all", "`stunwall log` shows what was blocked."),
    "sealed": (
        "no VPN is up, so all STUN is blocked",
        "Connect your VPN. If it is connected, stunwall does not recognise it: name its interface "
        'in the configuration, for example interfaces = ["wg0"].',
    ),
    "degraded": (
        "STUN outside the VPN is blocked, but something is wrong",
        "Fix the problem; `sudo stunwall doctor` may say more.",
    ),
    "leaking": (
        "a check has seen STUN leave outside the VPN",
        "`sudo stunwall check` names the way it took. If one of your exceptions lets it out, narrow that exception "
        "(`stunwall allow list`), then run `sudo stunwall check` again.",
    ),
    "paused": (
        "all STUN can leave, even outside the VPN",
        "The pause ends by itself; `sudo stunwall resume` ends it now.",
    ),
    "open": (
        'no VPN is up, and when_vpn_down = "allow": STUN can leave by any interface',
        'Connect your VPN, or set when_vpn_down = "block".',
    ),
}
_WALLS = {
    "down": "the wall is not loaded",
    "damaged": "the wall is damaged",
    "unknown": "the state of the wall is unknown",
}
_AFTER_EXPOSURE = (
    "What a server has seen cannot be undone: close the page or program that asked (`stunwall log` has its port), and "
    "get a new address from your provider if it matters."
)
# The second lock while the daemon is not running.
_GONE, _LEFT = "gone with stunwalld", "up, as stunwalld left it"
_LEAKING = ("open", "paused", "leaking")
_EXPOSURE = 30 * 86400  # seconds, as by default in `stunwall exposure`
# Packets that are missing from the record, by the key of their number in the status or the wall's counters.
UNRECORDED = {
    "unrecorded": "blocked but not recorded: the disk could not keep up",
    "queue_overruns": "blocked by the kernel but not recorded: stunwalld could not keep up",
    "over_flow_limit": "blocked by the kernel but not recorded: repeats of a request that got no answer",
    "over_socket_limit": "blocked by the kernel but not recorded: too many from one socket",
    "over_sender_limit": "blocked by the kernel but not recorded: too many from one user or machine",
    "over_limit": "blocked by the kernel but not recorded: too many at once",
    "unattended": "blocked by the kernel but not recorded: stunwalld was not ready",
}


@dataclass
class Report:
    """What `status` says. `leak` is None if unknown; `daemon` is None if it is not running or cannot be asked."""

    state: str
    headline: str
    leak: bool | None
    wall: str = "unknown"
    vpn: list[tuple[str, str]] = field(default_factory=list)
    """The interfaces that count as the VPN, and why."""
    not_counted: list[tuple[str, str]] = field(default_factory=list)
    """The interfaces of a VPN's kind that do not count, and why."""
    inside: list[tuple[str, str]] = field(default_factory=list)
    """The interfaces that lead only to machines behind this one, and why."""
    second_lock: str = ""
    """The state of the second lock in a few words, "" if unknown."""
    proof: Status | None = None
    """What the last check has shown; None if the daemon is not running, or of a version that keeps no results."""
    problems: list[str] = field(default_factory=list)
    next: str = ""
    daemon: Status | None = None
    blocked: dict[str, int] | None = None
    """What was blocked today; None if the record cannot be read."""
    exposure: Exposure | None = None
    """For how long STUN could leak in the last days; None if the record cannot be read."""
    counters: dict[str, int] = field(default_factory=dict)
    """The named counters of the wall, in packets."""


def make(settings: Config, hidden: Redaction | None = None) -> Report:
    """Ask the daemon, or the kernel if no daemon is running; then read the record. Redact what they say, if wanted."""
    report = current(settings)
    if report.daemon is not None:
        relays = relay.find(report.daemon, settings.state_dir)
        report.problems += [f"{each.sentence}. To allow it: {each.cure}" for each in relays if each.blocked]
    try:
        with closing(RecordReader(settings.state_dir)) as record:
            report.exposure = exposure_since(record, time.time() - _EXPOSURE, report.daemon is not None)
            report.blocked = _blocked(record)
    except RecordError as error:
        if report.daemon is not None:
            report.problems.append(str(error))
    return report if hidden is None else _redacted(report, hidden)


def _redacted(report: Report, hidden: Redaction) -> Report:
    values = {each.name: hidden.value(getattr(report, each.name)) for each in fields(report)}
    exposure = None if report.exposure is None else report.exposure.redacted(hidden)
    return Report(**values | {"exposure": exposure})


def current(settings: Config) -> Report:
    """Return what the daemon says, or the kernel if no daemon is running; nothing of the record."""
    try:
        daemon = ask(settings.run_dir, {"command": "status"})
    except ControlPermissionError as error:
        return Report("unknown", "permission denied", None, next=_sentence(str(error)))
    if daemon is not None:
        return _of_daemon(daemon)
    try:
        return _of_kernel(inspection.inspect(settings))
    except NftPermissionError:
        return Report(
            "unknown",
            "stunwalld is not running, and only root can see whether the wall is up",
            leak=None,
            next=f"Try `sudo stunwall status`, or start stunwalld with {hints.START}.",
        )


def _of_daemon(daemon: Status) -> Report:
    if "error" in daemon:
        return Report("unknown", "the daemon refused to answer", None, problems=[str(daemon["error"])])
    state, wall = str(daemon.get("state")), str(daemon.get("wall"))
    headline, next_ = STATES.get(state, (state, ""))
    report = Report(
        state,
        headline,
        leak=state in _LEAKING or wall != "up",
        wall=wall,
        vpn=_interfaces(daemon, lambda entry: bool(entry["counts"])),
        not_counted=_interfaces(daemon, _resembles_vpn),
        inside=_interfaces(daemon, lambda entry: bool(entry.get("inside"))),
        second_lock=_second_lock(daemon.get("second_lock", {})),
        proof=daemon.get("proof"),
        problems=list(daemon.get("problems", ())) + _unrecorded(daemon),
        next=next_,
        daemon=daemon,
        counters=daemon.get("counters", {}),
    )
    if daemon.get("exposures"):
        report.next = f"{_AFTER_EXPOSURE} {next_}"
    if differences := daemon.get("differences"):
        report.problems.append(_damaged(differences))
    if wall != "up":
        report.state = "down"
        report.headline = f"{_WALLS.get(wall, wall)}: STUN can leave by any interface"
        report.next = f"Restore the wall with {hints.RESTART}."
    return report


def _of_kernel(found: Inspection | None) -> Report:
    """Return what the kernel knows while no daemon is running."""
    if found is None or not found.intact:
        seen = "down" if found is None else "damaged"
        headline = f"stunwalld is not running, and {_WALLS[seen]}: STUN can leave by any interface"
        changed = [_damaged(found.differences)] if found else []
        start = f"Start it with {hints.START}."
        second = _GONE if found is None or found.second_lock is None else _LEFT
        counters = {} if found is None else found.wall.counters
        return Report(
            "down", headline, True, seen, second_lock=second, problems=changed, next=start, counters=counters
        )
    wall, second = found.wall, _GONE if found.second_lock is None else _LEFT
    if wall.paused:
        headline = (
            f"stunwalld is not running, and a pause lasts for another {wall.paused} s: all STUN can leave"
        )
        next_ = f"Start it with {hints.START}, then `sudo stunwall resume`."
        return Report(
            "paused",
            headline,
            leak=True,
            wall="up",
            second_lock=second,
            next=next_,
            counters=wall.counters,
        )
    why = "as stunwalld left it"
    return Report(
        "wall-only",
        "stunwalld is not running, but the wall is up: STUN outside the VPN is blocked",
        leak=False,
        wall="up",
        vpn=[(str(name), why) for name in wall.sets.get("vpn", ())],
        inside=[(str(name), why) for name in wall.sets.get("inside", ())],
        second_lock=second,
        problems=[hints.NO_DAEMON] if found.complete else [hints.NO_DAEMON, hints.LESS_COMPARED],
        next=f"Start it with {hints.START}.",
        counters=wall.counters,
    )


def _second_lock(said: Status) -> str:
    """Return what the daemon says of the second lock, "" if it is of a version without one."""
    if not said:
        return ""
    if said["state"] != "up":
        return f"{said['state']}: {said['why']}"
    dropped = f", dropped {count(said['dropped'], 'packet')}" if said["dropped"] else ""
    wrong = f"; {said['why']}" if said["why"] else ""
    return f"up on {', '.join(said['interfaces']) or 'no interface'}{dropped}{wrong}"


def _damaged(differences: Sequence[str]) -> str:
    return f"the wall is damaged: {hints.changed(differences)}"


def _interfaces(daemon: Status, chosen: Callable[[Status], bool]) -> list[tuple[str, str]]:
    return [(entry["interface"], entry["why"]) for entry in daemon.get("interfaces", ()) if chosen(entry)]


def _resembles_vpn(entry: Status) -> bool:
    return entry["kind"] in VPN_KINDS and not entry["counts"] and not entry.get("inside")


def _unrecorded(daemon: Status) -> list[str]:
    counted = daemon | daemon.get("counters", {})
    return [
        f"{count(int(counted[key]), 'packet')} {what}" for key, what in UNRECORDED.items() if counted.get(key)
    ]


def _blocked(record: RecordReader) -> dict[str, int]:
    """Return what was blocked since midnight. Raises RecordError."""
    midnight = time.mktime((*time.localtime()[:3], 0, 0, 0, 0, 0, -1))
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
        "second_lock": report.second_lock,
        "vpn": [{"interface": name, "why": why} for name, why in report.vpn],
        "inside": [{"interface": name, "why": why} for name, why in report.inside],
        "proof": report.proof,
        "blocked_today": report.blocked,
        "exposure": None if report.exposure is None else report.exposure.plain,
        "problems": report.problems,
        "next": report.next,
        "daemon": report.daemon,
    }


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."

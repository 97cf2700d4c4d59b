"""The check `wall`: whether the wall is loaded and intact, and who has changed it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stunwall.doctor.findings import Finding, ok, problem, unknown, warning
from stunwall.doctor.machine import Machine
from stunwall.hints import LESS_COMPARED, changed, shortened
from stunwall.text import date_time
from stunwall.wall import inspection
from stunwall.wall.inspection import Inspection


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the wall is intact, and has been since the daemon started."""
    found = inspection.inspect(machine.in_effect)
    # The daemon knows better than the configuration, which may have been changed since it was read.
    if found is not None and (machine.daemon or {}).get("wall") in ("up", "damaged"):
        found = replace(
            found, differences=tuple((machine.daemon or {}).get("differences", ())), complete=True
        )
    if found is None or not found.intact:
        what = "not loaded" if found is None else f"damaged: {changed(found.differences)}"
        yield problem("wall", what, why="STUN can leave by any interface", next=machine.restart)
    else:
        yield _state(found, machine)
        if not found.complete:
            yield unknown("wall", LESS_COMPARED, next="run doctor as root, outside a container")
    for gap in (machine.daemon or {}).get("gaps", ()):
        yield _gap(gap)


def _state(found: Inspection, machine: Machine) -> Finding:
    """Return what there is to say about an intact wall."""
    wall = found.wall
    if wall.paused and machine.daemon is None:
        return problem(
            "wall",
            f"paused for another {wall.paused} s, although stunwalld is not running",
            why="all STUN can leave, even outside the VPN",
            next=f"run `{machine.start}`, then `sudo stunwall resume`",
        )
    if wall.queue is None and machine.daemon is not None:
        return problem(
            "wall",
            "no packets are queued, although stunwalld is running",
            why="STUN outside the VPN is dropped without an answer or a record",
            next=machine.restart,
        )
    return ok("wall", "loaded and intact")


def _gap(gap: dict[str, Any]) -> Finding:
    who, seconds = gap["who"] or "an unknown program", gap["end"] - gap["start"]
    what = f" ({shortened(gap['what'])})" if gap.get("what") else ""
    return warning(
        "wall",
        f"{who} changed it at {date_time(gap['start'])}{what}; it was restored after {seconds:.3f} s",
        why="until then, the second lock kept STUN from leaving by any interface"
        if gap.get("second_lock_held")
        else "until then, only the second lock, if it was up, kept STUN from leaving by any interface",
        next="find out why that program changes rules that are not its own",
    )

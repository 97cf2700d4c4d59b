"""The check `wall`: whether the wall is loaded and intact, and who has changed it."""

from collections.abc import Iterator

from stunwall.doctor.findings import Finding, ok, problem, warning
from stunwall.doctor.machine import Machine
from stunwall.hints import DAMAGED
from stunwall.text import date_time
from stunwall.wall import state


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the wall is intact, and has been since the daemon started."""
    wall = state.read()
    if wall is None or not wall.intact:
        what = "not loaded" if wall is None else f"damaged: {DAMAGED}"
        yield problem("wall", what, why="STUN can leave by any interface", next=machine.restart)
    elif wall.paused and machine.daemon is None:
        yield problem(
            "wall",
            f"paused for another {wall.paused} s, although stunwalld is not running",
            why="all STUN can leave, even outside the VPN",
            next=f"run `{machine.start}`, then `sudo stunwall resume`",
        )
    elif wall.queue is None and machine.daemon is not None:
        yield problem(
            "wall",
            "no packets are queued, although stunwalld is running",
            why="STUN outside the VPN is dropped without an answer or a record",
            next=machine.restart,
        )
    else:
        yield ok("wall", "loaded and intact")
    for gap in (machine.daemon or {}).get("gaps", ()):
        who, seconds = gap["who"] or "an unknown program", gap["end"] - gap["start"]
        yield warning(
            "wall",
            f"{who} changed its rules at {date_time(gap['start'])}; they were restored after {seconds:.3f} s",
            why="until then, STUN could leave by any interface",
            next="find out why that program changes rules that are not its own",
        )

"""The check `wall`: whether it is whole and open to the daemon, and who removed rules of it."""

from collections.abc import Iterator

from stunwall.doctor.findings import Finding, ok, problem, warning
from stunwall.doctor.machine import Machine
from stunwall.hints import DAMAGED
from stunwall.text import date_time
from stunwall.wall import state


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the wall stands as it should, and has stood since the daemon started."""
    wall = state.read()
    if wall is None or not wall.intact:
        what = "there is none" if wall is None else f"it is damaged: {DAMAGED}"
        yield problem("wall", what, why="STUN leaves by any interface", next=machine.restart)
    elif wall.paused and machine.daemon is None:
        yield problem(
            "wall",
            f"it is paused for {wall.paused} s more, though no daemon runs",
            why="all STUN passes now",
            next=f"{machine.start}, then `sudo stunwall resume`",
        )
    elif wall.queue is None and machine.daemon is not None:
        yield problem(
            "wall",
            "its door is shut though the daemon runs",
            why="nothing is answered or recorded",
            next=machine.restart,
        )
    else:
        yield ok("wall", "stands, and is whole")
    for gap in (machine.daemon or {}).get("gaps", ()):
        who, seconds = gap["who"] or "an unknown program", gap["end"] - gap["start"]
        yield warning(
            "wall",
            f"{who} removed rules of it at {date_time(gap['start'])}, for {seconds:.3f} s",
            why="STUN could leave in that time",
            next="find out why that program flushes rules that are not its own",
        )

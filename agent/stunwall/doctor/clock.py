"""The check `clock`: whether the time is plausible."""

import time
from collections.abc import Iterator

from stunwall.doctor.findings import Finding, note, ok, problem
from stunwall.doctor.machine import Machine

_RELEASED = 1764547200  # Unix seconds, 2025-12-01: a clock before that is wrong


def check(machine: Machine) -> Iterator[Finding]:
    """Whether times in the record, and the end of a pause, can be right."""
    if time.time() < _RELEASED:
        yield problem(
            "clock",
            f"it shows {time.strftime('%Y-%m-%d')}, before this stunwall was made",
            why="times in the record are wrong",
            next="set it: `timedatectl`",
        )
    elif machine.systemd and machine.output("timedatectl", "show", "-P", "NTPSynchronized").strip() == "no":
        yield note(
            "clock",
            "it is not set by the network",
            why="times in the record may be wrong, and a pause ends when the clock jumps ahead",
            next="timedatectl set-ntp true",
        )
    else:
        yield ok("clock", time.strftime("%Y-%m-%d %H:%M:%S %z"))

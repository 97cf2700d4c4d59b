"""The check `clock`: whether the time is plausible."""

import time
from collections.abc import Iterator

from stunwall.doctor.findings import Finding, note, ok, problem
from stunwall.doctor.machine import Machine

_RELEASED = 1764547200  # Unix seconds, 2025-12-01: a clock before that is wrong


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the times in the record can be right."""
    if time.time() < _RELEASED:
        yield problem(
            "clock",
            f"it shows {time.strftime('%Y-%m-%d')}, which is before this version was released",
            why="the times in the record are wrong",
            next="set it with `sudo timedatectl set-time`",
        )
    elif machine.systemd and machine.output("timedatectl", "show", "-P", "NTPSynchronized").strip() == "no":
        yield note(
            "clock",
            "not synchronised over the network",
            why="the times in the record may be wrong, and a pause ends early if the clock jumps ahead",
            next="sudo timedatectl set-ntp true",
        )
    else:
        yield ok("clock", time.strftime("%Y-%m-%d %H:%M:%S %z"))

"""The checks of `stunwall doctor`, in the order in which they run; one that fails hides no other."""

import subprocess
from pathlib import Path

from stunwall.doctor import (
    clock,
    configuration,
    daemon,
    kernel,
    other_programs,
    permissions,
    record,
    service,
    vpn,
    wall,
)
from stunwall.doctor.findings import Finding, unknown
from stunwall.doctor.machine import Check, Machine
from stunwall.model import StunwallError

# By their names in `doctor --json`. What the first ones learn of the machine, the others use.
CHECKS: dict[str, Check] = {
    "configuration": configuration.check,
    "rights": permissions.check,
    "kernel": kernel.check,
    "daemon": daemon.check,
    "wall": wall.check,
    "queue": other_programs.queue,
    "marks": other_programs.marks,
    "neighbours": other_programs.programs,
    "service": service.check,
    "clock": clock.check,
    "disk": record.disk,
    "record": record.check,
    "vpn": vpn.check,
}


def examine(file: Path) -> list[Finding]:
    """Look at everything; the configuration is in `file`."""
    machine = Machine(file)
    return [finding for name in CHECKS for finding in run(name, machine)]


def run(name: str, machine: Machine) -> list[Finding]:
    """Return what one check finds; if it fails, what it had found before, and that it failed."""
    found: list[Finding] = []
    try:
        found.extend(CHECKS[name](machine))
    except (StunwallError, OSError, subprocess.SubprocessError) as error:
        found.append(unknown(name, f"could not be checked: {error}"))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # nft, ip or the daemon, of another version perhaps, printed something else than is known.
        found.append(unknown(name, f"could not be checked: an answer was not understood ({error!r})"))
    return found

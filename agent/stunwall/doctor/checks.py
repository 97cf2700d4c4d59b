"""Runs the checks of `stunwall doctor` in order. A check that fails does not stop the others."""

from pathlib import Path

from stunwall.doctor import (
    changes,
    clock,
    configuration,
    daemon,
    exceptions,
    gateway,
    kernel,
    other_programs,
    permissions,
    presets,
    record,
    second_lock,
    service,
    vpn,
    wall,
)
from stunwall.doctor.findings import Finding, unknown
from stunwall.doctor.machine import Check, Machine
from stunwall.model import StunwallError

# By name, as in `doctor --json`. Later checks use what earlier ones have put into the Machine.
CHECKS: dict[str, Check] = {
    "configuration": configuration.check,
    "rights": permissions.check,
    "changes": changes.check,
    "kernel": kernel.check,
    "daemon": daemon.check,
    "wall": wall.check,
    "second-lock": second_lock.check,
    "queue": other_programs.queue,
    "marks": other_programs.marks,
    "neighbours": other_programs.programs,
    "service": service.check,
    "clock": clock.check,
    "disk": record.disk,
    "record": record.check,
    "vpn": vpn.check,
    "gateway": gateway.check,
    "exceptions": exceptions.check,
    "presets": presets.check,
}


def examine(file: Path) -> list[Finding]:
    """Run all checks, with the configuration in `file`."""
    machine = Machine(file)
    return [finding for name in CHECKS for finding in run(name, machine)]


def run(name: str, machine: Machine) -> list[Finding]:
    """Return what one check finds. If it fails, that includes what it had found before, and the failure."""
    found: list[Finding] = []
    try:
        found.extend(CHECKS[name](machine))
    except StunwallError as error:
        found.append(unknown(name, f"could not be checked: {error}"))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        found.append(unknown(name, f"could not be checked: {where}{error.strerror}"))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # nft, ip or the daemon, perhaps of another version, answered in an unknown form.
        found.append(unknown(name, f"could not be checked: unexpected answer ({error!r})"))
    return found

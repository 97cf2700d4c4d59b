"""The check `service`: whether the systemd units are installed, enabled and active."""

from collections.abc import Iterator

from stunwall.doctor.findings import Finding, note, ok, problem, unknown, warning
from stunwall.doctor.machine import Machine
from stunwall.hints import NO_DAEMON
from stunwall.text import count

# The units, and what happens if one does not start at boot.
UNITS = {
    "stunwall-wall.service": "after a reboot, nothing is blocked until stunwalld has started",
    "stunwall.service": f"after a reboot, {NO_DAEMON}",
}


# systemd.exec(5): the unit's namespaces could not be set up. systemd 257 needs one for the unit's folder in /run, too.
_NO_NAMESPACE = {"226": "226/NAMESPACE", "233": "233/RUNTIME_DIRECTORY"}


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the wall and the daemon are active now, and start at boot."""
    if not machine.systemd:
        yield note("service", "systemd is not running here, so nothing starts stunwall at boot")
        return
    for unit in UNITS:
        lines = machine.output("systemctl", "show", unit).splitlines()
        yield from _unit(unit, dict(line.split("=", 1) for line in lines if "=" in line))


def _unit(unit: str, shown: dict[str, str]) -> Iterator[Finding]:
    if "LoadState" not in shown:
        yield unknown("service", f"systemctl says nothing about {unit}")
        return
    if shown["LoadState"] == "not-found":
        yield problem(
            "service",
            f"{unit} is not installed",
            why=UNITS[unit],
            next="install stunwall as a service",
        )
        return
    if (state := shown.get("UnitFileState")) != "enabled":
        unmask = f"sudo systemctl unmask {unit}; " if shown["LoadState"] == "masked" else ""
        yield problem(
            "service",
            f"{unit} is {state}",
            why=UNITS[unit],
            next=f"{unmask}sudo systemctl enable {unit}",
        )
    if shown.get("ActiveState") == "active":
        yield ok("service", f"{unit} is active")
    else:
        yield _inactive(unit, shown)
    if shown.get("NeedDaemonReload") == "yes":
        what, why = f"{unit} has changed on disk", "systemd still uses the old version"
        yield warning("service", what, why, next="sudo systemctl daemon-reload")
    if (restarts := int(shown.get("NRestarts") or 0)) > 0:
        yield warning(
            "service",
            f"{unit} was restarted automatically {count(restarts, 'time')}",
            why="it crashed or hung",
            next=f"journalctl -u {unit} -p warning",
        )


def _inactive(unit: str, shown: dict[str, str]) -> Finding:
    if status := _NO_NAMESPACE.get(shown.get("ExecMainStatus", "")):
        return problem(
            "service",
            f"{unit} cannot start: systemd could not give it a mount namespace or a folder in /run ({status})",
            why="a container may not allow it, or /run is full",
            next="allow nesting for the container (LXC, Incus, Proxmox), or install stunwall on its host; "
            f"journalctl -u {unit}",
        )
    # org.freedesktop.systemd1(5): when it last left the state inactive, since boot
    if shown.get("InactiveExitTimestampMonotonic") == "0" and shown.get("UnitFileState") == "enabled":
        return problem(
            "service",
            f"{unit} is enabled, but has not been started since boot",
            why="systemd drops start jobs to break an ordering cycle, which another unit makes, or /opt on a network "
            f"file system; {UNITS[unit]}",
            next=f"sudo systemctl start {unit}; journalctl -b -g 'ordering cycle'",
        )
    what = f"{unit} is {shown.get('ActiveState')} ({shown.get('Result')})"
    return problem("service", what, next=f"sudo systemctl restart {unit}; journalctl -u {unit}")

"""The check `service`: whether systemd's units are there, enabled and active."""

from collections.abc import Iterator

from stunwall.doctor.findings import Finding, note, ok, problem, unknown, warning
from stunwall.doctor.machine import Machine

UNITS = ("stunwall-wall.service", "stunwall.service")


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the wall and the daemon run, and will at the next boot."""
    if not machine.systemd:
        yield note("service", "systemd does not run this machine: nothing starts stunwall at boot")
        return
    for unit in UNITS:
        lines = machine.output("systemctl", "show", unit).splitlines()
        yield from _unit(unit, dict(line.split("=", 1) for line in lines if "=" in line))


def _unit(unit: str, shown: dict[str, str]) -> Iterator[Finding]:
    if "LoadState" not in shown:
        yield unknown("service", f"systemd does not tell of {unit}")
        return
    if shown["LoadState"] == "not-found":
        yield problem(
            "service",
            f"{unit} is not installed",
            why="after the next boot nothing is blocked",
            next="install stunwall as a service",
        )
        return
    if (state := shown.get("UnitFileState")) != "enabled":
        unmask = f"sudo systemctl unmask {unit}; " if shown["LoadState"] == "masked" else ""
        yield problem(
            "service",
            f"{unit} is {state}",
            why="after the next boot it is not there",
            next=f"{unmask}sudo systemctl enable {unit}",
        )
    if shown.get("ActiveState") != "active":
        what = f"{unit} is {shown.get('ActiveState')} ({shown.get('Result')})"
        yield problem("service", what, next=f"sudo systemctl restart {unit}; journalctl -u {unit}")
    else:
        yield ok("service", f"{unit} is active")
    if shown.get("NeedDaemonReload") == "yes":
        what, why = f"{unit} has changed on disk", "systemd uses the old one"
        yield warning("service", what, why, next="sudo systemctl daemon-reload")
    if (restarts := int(shown.get("NRestarts") or 0)) > 0:
        yield warning(
            "service",
            f"{unit} was restarted {restarts} times since it was started",
            why="it failed or hung",
            next=f"journalctl -u {unit} -p warning",
        )

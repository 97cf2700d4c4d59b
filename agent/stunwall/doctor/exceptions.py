"""The check `exceptions`: what those by program apply to now."""

from collections.abc import Iterator
from contextlib import closing
from shlex import quote
from typing import Any

from stunwall.config import Allow
from stunwall.doctor.findings import Finding, note, ok, warning
from stunwall.doctor.machine import Machine, user_name
from stunwall.hints import not_found, shortened
from stunwall.wall import units


def check(machine: Machine) -> Iterator[Finding]:
    """Say what each exception by program applies to; nothing if the daemon is not running."""
    daemon = machine.daemon or {}
    for number, cgroups in enumerate(daemon.get("cgroups", ()), 1):
        rule = daemon["allow"][number - 1]
        what = f"exception {number} ({rule['why']})"
        if cgroups:
            yield ok("exceptions", f"{what} applies to {shortened(cgroups)}")
        elif cgroups is not None:
            yield _not_found(machine, rule, f"{what} applies to nothing now: {not_found(rule)}")


def _not_found(machine: Machine, rule: dict[str, Any], what: str) -> Finding:
    unit = str(rule.get("unit", ""))
    if not unit:
        return note("exceptions", what, next="start it, and look for its unit with `systemd-cgls`")
    if "/" not in unit and "user" not in rule and (users := _users_with(unit)):
        return warning(
            "exceptions",
            what,
            why=f"a unit of this name runs for {' and '.join(users)}, and any user can start one",
            next=f"sudo stunwall allow add --user {users[0]} --unit {quote(unit)} --why {quote(rule['why'])}",
        )
    if machine.systemd and not set(unit) & set("/*?["):
        shown = machine.output("systemctl", "show", "--property=LoadState", unit)
        if "user" not in rule and shown.strip() == "LoadState=not-found":
            return warning(
                "exceptions",
                what,
                why="systemd knows no unit of this name",
                next="look for its name with `systemctl list-units` or `systemd-cgls`",
            )
    return note("exceptions", what, next="nothing, if it is not running")


def _users_with(unit: str) -> list[str]:
    """Return the users whose own service manager runs a unit of this name."""
    with closing(units.UnitWatch()) as watch:
        found = watch.find(Allow("", user=user, unit=unit) for user in units.users())
    return [user_name(rule.user) for rule, cgroups in found.items() if cgroups and rule.user is not None]

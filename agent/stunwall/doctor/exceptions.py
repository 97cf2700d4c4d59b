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

_ONLY_IN_V2 = "cgroup.controllers"  # Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files"


def check(machine: Machine) -> Iterator[Finding]:
    """Say what each exception by program applies to."""
    for number, (rule, cgroups) in enumerate(_exceptions(machine), 1):
        what = f"exception {number} ({rule['why']})"
        if cgroups:
            yield ok("exceptions", f"{what} applies to {shortened(cgroups)}")
        elif cgroups is not None:
            yield _not_found(machine, rule, f"{what} applies to nothing now: {not_found(rule)}")


def _exceptions(machine: Machine) -> list[tuple[dict[str, Any], list[str] | None]]:
    """Return each exception, and the paths of its cgroups, None if it is not by program."""
    if machine.daemon is not None:
        # A daemon of version 0.1.0 does not say.
        return list(zip(machine.daemon["allow"], machine.daemon.get("cgroups", ()), strict=False))
    with closing(units.UnitWatch()) as watch:
        found = watch.find(machine.settings.allow)
    return [
        (rule.plain(), [path for path, _ in found[rule]] if rule.by_program else None)
        for rule in machine.settings.allow
    ]


def _not_found(machine: Machine, rule: dict[str, Any], what: str) -> Finding:
    if not (units.ROOT / _ONLY_IN_V2).exists():
        return warning(
            "exceptions",
            what,
            why=f"cgroup v2 is not mounted on {units.ROOT}, where nft looks for it",
            next="boot with systemd.unified_cgroup_hierarchy=1, on OpenRC with rc_cgroup_mode=unified, or use `user`",
        )
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
    if machine.systemd and not set(unit) & set("/*?[") and "user" not in rule:
        return _unknown(machine, unit, what)
    return note("exceptions", what, next="nothing, if it is not running")


def _unknown(machine: Machine, unit: str, what: str) -> Finding:
    """Return what the system's manager knows of a unit that has no cgroup now."""
    if unit.partition("@")[2].startswith("."):
        return warning(
            "exceptions",
            what,
            why="it is a template, which never runs itself",
            next=f"give one of its instances, or all of them: {quote(unit.replace('@', '@*', 1))}",
        )
    shown = machine.output("systemctl", "show", "--property=Id,LoadState", "--", unit).splitlines()
    if "LoadState=not-found" in shown:
        return warning(
            "exceptions",
            what,
            why="systemd knows no unit of this name",
            next="look for its name with `systemctl list-units` or `systemd-cgls`",
        )
    # The cgroup of a unit has the name of its file, not that of an alias, or one without the suffix.
    name = next((line.removeprefix("Id=") for line in shown if line.startswith("Id=")), unit)
    if name != unit:
        return warning(
            "exceptions",
            what,
            why=f"systemd runs it as {name}",
            next=f"write {quote(name)} instead",
        )
    return note("exceptions", what, next="nothing, if it is not running")


def _users_with(unit: str) -> list[str]:
    """Return the users whose own service manager runs a unit of this name."""
    with closing(units.UnitWatch()) as watch:
        found = watch.find(Allow("", user=user, unit=unit) for user in units.users())
    return [user_name(rule.user) for rule, cgroups in found.items() if cgroups and rule.user is not None]

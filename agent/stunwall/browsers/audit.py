"""What a page can learn from each browser of this machine, and why."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from stunwall.browsers import files, levels, lint, machine, settings
from stunwall.browsers.levels import Level
from stunwall.browsers.machine import Home, Installed, Machine, Profile, Running
from stunwall.browsers.settings import InForce, Kind, Setting

_FLAG_FILES = 20  # of one folder


@dataclass(frozen=True, slots=True)
class Row:
    """One browser as one user runs it. `profile` is None if that user has none, `running` if it does not run."""

    installed: Installed
    home: Home | None
    profile: Profile | None
    running: Running | None
    settings: tuple[Setting, ...]
    force: InForce
    problems: tuple[str, ...] = ()


def rows(here: Machine) -> list[Row]:
    """Return a row for each browser and profile; one without a user for a browser that nobody has used."""
    found = machine.browsers(here)
    alive = machine.running(here)
    return [row for one in found for row in _of(here, one, found, alive)]


def _of(here: Machine, one: Installed, found: list[Installed], alive: list[Running]) -> list[Row]:
    mine = [each for each in alive if machine.installed_of(found, each.executable) is one]
    made = []
    for profile in machine.profiles(here, one):
        running = next((each for each in mine if each.uid == profile.home.uid), None)
        made.append(_row(here, one, profile.home, profile, running))
    seen = {row.home.uid for row in made if row.home is not None}
    for running in mine:
        if running.uid not in seen:
            seen.add(running.uid)
            home = next((each for each in here.homes if each.uid == running.uid), None)
            made.append(_row(here, one, home, None, running))
    return made or [_row(here, one, one.owner, None, None)]


def _row(
    here: Machine, one: Installed, home: Home | None, profile: Profile | None, running: Running | None
) -> Row:
    policies = settings.of_policies(here, one, home)
    own = settings.of_profile(one.browser.engine, profile) if profile is not None else settings.Found()
    switches = settings.of_process(running) if running is not None else []
    everything = (*policies.settings, *own.settings, *flags(here, one, home), *switches)
    force = settings.in_force(one.browser.engine, _usable(one, everything))
    return Row(one, home, profile, running, everything, force, (*policies.problems, *own.problems))


def _usable(one: Installed, everything: tuple[Setting, ...]) -> list[Setting]:
    """Return the settings without the policies of a browser whose keys do not work on Linux."""
    policy = (Kind.MANAGED, Kind.RECOMMENDED)
    dead = one.browser.keys != one.browser.engine.value
    return [each for each in everything if not (dead and each.kind in policy)]


def flags(here: Machine, one: Installed, home: Home | None) -> list[Setting]:
    """Return the switches about WebRTC that a browser's start script adds."""
    found: list[Setting] = []
    for pattern in one.browser.flags:
        if not pattern.startswith("/") and home is None:
            continue
        for place in here.found(pattern, home):
            for path in files.entries(place)[:_FLAG_FILES] if files.is_folder(place) else [place]:
                try:
                    owner = home.uid if home is not None and not pattern.startswith("/") else None
                    text = files.read(path, owner=owner).decode(errors="replace")
                except (FileNotFoundError, files.FileError):
                    continue
                lines = (line for line in text.split("\n") if not line.lstrip().startswith("#"))
                words = (word.strip("\"'") for line in lines for word in line.split())
                found += settings.of_command_line(words, str(path))
    return found


def plain(here: Machine) -> dict[str, Any]:
    """Return everything, as in JSON."""
    made = rows(here)
    return {
        "browsers": [_plain(row) for row in made],
        "others": [
            {"title": other.title, "places": [str(each) for each in places], "says": other.says}
            for other, places in machine.others(here)
        ],
        "findings": [
            finding._asdict()
            for finding in lint.findings(
                here, [(row.installed, row.home, row.settings, row.problems) for row in made]
            )
        ],
    }


def _plain(row: Row) -> dict[str, Any]:
    browser, by = row.installed.browser, row.force.by
    learns = levels.learns(browser.engine, row.force.level)
    return {
        "browser": browser.browser,
        "title": browser.name,
        "package": browser.package.value,
        "where": str(row.installed.where),
        "user": row.home.user if row.home is not None else "",
        "profile": str(row.profile.folder) if row.profile is not None else "",
        "running": row.running.pid if row.running is not None else 0,
        "level": row.force.level.value,
        "by": _setting(by) if by is not None else None,
        "sites": [{"url": url, "handling": handling} for url, handling in row.force.sites],
        "without_microphone": learns.without,
        "with_microphone": learns.microphone,
        "settings": [_setting(each) for each in row.settings],
        "note": browser.built_in,
        "policies_known_by": browser.how,
        "source": browser.source,
    }


def _setting(one: Setting) -> dict[str, Any]:
    return {"kind": one.kind.value, "place": one.place, "key": one.key, "value": one.value}


def in_force(executable: str, uid: int, pid: int = 0, here: Machine | None = None) -> list[str]:
    """Return what a browser's policy is and what a page can learn, in a few sentences for people.

    Args:
        executable: its program, as /proc/PID/exe says it; only the file name is looked at if it is nowhere.
        uid: the user who runs it.
        pid: its process, whose command line counts too; 0 if that is not known.
        here: where to look, None for this machine.

    Returns nothing for a program that is none of the browsers that are known.
    """
    here = here or machine.this_machine()
    row = row_of(here, executable, uid, pid)
    if row is None:
        return []
    learns = levels.learns(row.installed.browser.engine, row.force.level)
    said = [f"{row.installed.browser.name} goes by {described(row.force)}."]
    if learns.without == learns.microphone:
        said.append(f"A page can learn, with the microphone or without: {learns.without}.")
    else:
        said.append(f"A page without the microphone can learn: {learns.without}.")
        said.append(f"A page that may use it can learn: {learns.microphone}.")
    said += [f"For {url} it goes by {handling}." for url, handling in row.force.sites]
    return said


def described(force: InForce) -> str:
    """Return the level and what decides it, such as `default, as nothing is set`."""
    if force.level is Level.OFF and force.by is None:
        return "no WebRTC: it is built without"
    if force.by is None:
        return f"{force.level}, as nothing is set"
    return f"{force.level}, by {force.by.key} in {force.by.place} ({force.by.kind})"


def row_of(here: Machine, executable: str, uid: int, pid: int = 0) -> Row | None:
    """Return the row of a program as a user runs it: of the profile that shows most, if there are several."""
    one = machine.installed_of(machine.browsers(here), executable)
    if one is None:
        return None
    running = machine.process(here, pid) if pid else None
    home = next((each for each in here.homes if each.uid == uid), None)
    mine: list[Profile | None] = [each for each in machine.profiles(here, one) if each.home.uid == uid]
    made = [_row(here, one, home, profile, running) for profile in mine or [None]]
    order = list(Level)
    return min(made, key=lambda row: order.index(row.force.level))


def newest(force: InForce) -> float:
    """Return when the file that decides was last changed, in Unix seconds; 0 if no file decides."""
    try:
        return Path(force.by.place).stat().st_mtime if force.by is not None else 0
    except OSError:
        return 0


def grouped(made: list[dict[str, Any]]) -> list[tuple[tuple[str, str, str], list[dict[str, Any]]]]:
    """Return the browsers of `plain` by their level and what a page learns there."""

    def same(row: dict[str, Any]) -> tuple[str, str, str]:
        return row["level"], row["without_microphone"], row["with_microphone"]

    return [(key, list(each)) for key, each in groupby(sorted(made, key=same), same)]

"""What is on this machine: homes, installed browsers, their profiles, and those that run."""

import os
import platform
import pwd
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from stunwall.browsers import files
from stunwall.browsers.table import Browser, Engine, Other, Package, Table
from stunwall.browsers.table import read as read_table

_FIRST_PERSON, _LAST_PERSON = 1000, 60000  # login.defs(5): UID_MIN, UID_MAX
_MATCHES = 200  # of one glob
_COMMAND_BYTES = 128 << 10  # MAX_ARG_STRLEN, execve(2)


@dataclass(frozen=True, slots=True)
class Home:
    """A user and their home folder."""

    user: str
    uid: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Machine:
    """Where to look: `root` is the file system's, `homes` those of the users who are looked at."""

    root: Path
    homes: tuple[Home, ...]
    table: Table

    def found(self, pattern: str, home: Home | None = None) -> list[Path]:
        """Return what matches a path of the table, below a home folder if it does not start with a slash."""
        base = self.root if pattern.startswith("/") or home is None else home.folder
        relative = pattern.lstrip("/")
        if not set("*?[") & set(relative):
            one = base / relative
            return [one] if os.path.lexists(one) else []
        try:
            return sorted(islice(base.glob(relative), _MATCHES))
        except OSError:  # glob passes over most errors itself
            return []

    def place(self, path: str, home: Home | None = None) -> Path:
        """Return where a path of the table without a glob is."""
        base = self.root if home is None else home.folder
        return base / path.lstrip("/")


@dataclass(frozen=True, slots=True)
class Installed:
    """A browser that is here; `owner` has installed it in their home folder, None for all users."""

    browser: Browser
    where: Path
    owner: Home | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile of a user."""

    home: Home
    folder: Path


@dataclass(frozen=True, slots=True)
class Running:
    """A browser's main process; `executable` is a path, or the kernel's name of 15 characters."""

    pid: int
    uid: int
    executable: str
    arguments: tuple[str, ...]


def this_machine(everyone: bool = True) -> Machine:
    """Return this machine. With `everyone`, root sees the homes of all users; others see their own."""
    uid = os.geteuid()
    people = [
        Home(user.pw_name, user.pw_uid, Path(user.pw_dir))
        for user in pwd.getpwall()
        if user.pw_uid == uid or (everyone and uid == 0 and _FIRST_PERSON <= user.pw_uid <= _LAST_PERSON)
    ]
    return Machine(Path("/"), tuple(people), read_table(platform.machine()))


def browsers(machine: Machine) -> list[Installed]:
    """Return the browsers that are installed, in the order of the table."""
    return [one for browser in machine.table.browsers for one in _installed(machine, browser)]


def _installed(machine: Machine, browser: Browser) -> Iterator[Installed]:
    for pattern in browser.present:
        if not pattern.startswith("{user}") and (found := machine.found(pattern)):
            yield Installed(browser, found[0])
            return
    for home in machine.homes:
        below = [pattern.removeprefix("{user}/") for pattern in browser.present if pattern[0] == "{"]
        if places := [each for pattern in below for each in machine.found(pattern, home)]:
            yield Installed(browser, places[0], home)


def others(machine: Machine) -> list[tuple[Other, list[Path]]]:
    """Return the kinds of programs with a browser inside that are here, and where."""
    found = (
        (other, [each for pattern in other.present for each in machine.found(pattern)])
        for other in machine.table.others
    )
    return [(other, places) for other, places in found if places]


def profiles(machine: Machine, installed: Installed) -> list[Profile]:
    """Return the profiles of all users who are looked at."""
    sign = ("prefs.js", "user.js") if installed.browser.engine is Engine.FIREFOX else ("Preferences",)
    homes = machine.homes if installed.owner is None else (installed.owner,)
    return [
        Profile(home, folder)
        for home in homes
        for below in installed.browser.profiles
        for folder in files.entries(home.folder / below)
        if any(os.path.lexists(folder / name) for name in sign)
    ]


def running(machine: Machine) -> list[Running]:
    """Return the main processes of all browsers of the table that run, as far as this user can see them."""
    names = [name for browser in machine.table.browsers for name in browser.programs]
    found = (process(machine, int(each.name)) for each in _processes(machine))
    return [one for one in found if one is not None and _is_main(one, names)]


def _processes(machine: Machine) -> list[Path]:
    try:
        return [
            each for each in (machine.root / "proc").iterdir() if each.name.isascii() and each.name.isdigit()
        ]
    except OSError:
        return []


def process(machine: Machine, pid: int) -> Running | None:
    """Return a process, None if it is gone."""
    folder = machine.root / "proc" / str(pid)
    try:
        uid = folder.stat().st_uid
        with (folder / "cmdline").open("rb") as file:
            arguments = file.read(_COMMAND_BYTES).decode(errors="replace").rstrip("\0").split("\0")
        with (folder / "comm").open("rb") as file:
            executable = file.read(64).decode(errors="replace").rstrip("\n")
    except OSError:
        return None
    with suppress(OSError):  # another user's: its name has to do
        executable = str((folder / "exe").readlink()).removesuffix(" (deleted)")
    return Running(pid, uid, executable, tuple(arguments[1:]))


def _is_main(one: Running, names: list[str]) -> bool:
    """Whether it is a browser's own process, and not one that it has started for a page."""
    child = any(argument.startswith("--type=") or argument == "-contentproc" for argument in one.arguments)
    return not child and any(
        fnmatchcase(Path(one.executable).name, name[:15] if "/" not in one.executable else name)
        for name in names
    )


def package_of(executable: str) -> Package:
    """Return how the program of a process is packaged, by its path."""
    if executable.startswith(("/snap/", "/var/lib/snapd/")):
        return Package.SNAP
    return Package.FLATPAK if executable.startswith(("/app/", "/newroot/app/")) else Package.SYSTEM


def installed_of(found: list[Installed], executable: str) -> Installed | None:
    """Return which of the installed browsers a program is, None if none of them."""
    name = Path(executable).name
    candidates = [one for one in found if name in one.browser.programs]
    here = Path(executable).parent
    # Chrome's program is also called chrome in the snap of Chromium: the folder tells them apart.
    same = [one for one in candidates if one.where.parent == here]
    packaged = [one for one in candidates if one.browser.package is package_of(executable)]
    return next(iter(same or packaged or candidates), None)

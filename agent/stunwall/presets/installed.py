"""Where the program of a preset runs on this machine, or is installed."""

import pwd
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stunwall.config import Allow
from stunwall.presets.places import Kind, Place

Cgroups = Callable[[Iterable[Allow]], Mapping[Allow, Sequence[tuple[str, int]]]]
"""Finds the control groups that exceptions are about, as wall.units.UnitWatch.find does."""

# systemd.unit(5), "Unit File Load Path"
_UNITS = (
    *("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"),
    *("/usr/lib/systemd/system", "/lib/systemd/system"),
)
# The same for all users, where units are enabled; and for one user, below the home folder.
_USER_UNITS = (
    "/etc/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
    ".config/systemd/user",
)
# Where .desktop files are: of packages, of Flatpaks, of snaps; those without a slash are below the home folder.
_DESKTOP = (
    *("/usr/share/applications", "/usr/local/share/applications", ".local/share/applications"),
    *("/var/lib/flatpak/exports/share/applications", ".local/share/flatpak/exports/share/applications"),
    "/var/lib/snapd/desktop/applications",
)


def find(
    places: Sequence[Place], users: Iterable[int], cgroups: Cgroups, root: Path = Path("/")
) -> list[Place]:
    """Return where a program runs; if it does not run, where it is installed.

    Args:
        places: where it may be.
        users: whose units and applications are looked for.
        cgroups: finds what runs.
        root: the root of the file system.
    """
    users = list(users)
    return _running(places, users, cgroups) or list(_installed(places, users, root))


def _running(places: Sequence[Place], users: Sequence[int], cgroups: Cgroups) -> list[Place]:
    asked = [
        replace(place, user=user)
        for place in places
        for user in ((None,) if place.kind is Kind.UNIT else users)
    ]
    rules = {place: place.applied(Allow("")) for place in asked}
    found = cgroups(rules.values())
    running = []
    for place, rule in rules.items():
        own = "" if place.user is None else f"user.slice/user-{place.user}.slice/user@{place.user}.service/"
        names = [path.rpartition("/")[2] for path, _ in found.get(rule, ()) if path.startswith(own)]
        running += [replace(place, name=name) if place.is_template else place for name in names]
    return list(dict.fromkeys(running))


def _installed(places: Sequence[Place], users: Sequence[int], root: Path) -> Iterator[Place]:
    """Yield the first of the system's units that is installed, of a template its enabled instances, and the others."""
    units = (_of_system(place, root) for place in places if place.kind is Kind.UNIT)
    yield from next(filter(None, units), ())
    for user in users:
        for place in places:
            if place.kind is not Kind.UNIT and _is_of_user(place, user, root):
                yield replace(place, user=user)


def _of_system(place: Place, root: Path) -> list[Place]:
    folders = [_below(folder, root, root) for folder in _UNITS]
    if not place.is_template:
        return [place] if any(map(_is_file, (folder / place.name for folder in folders))) else []
    enabled = (link.name for folder in folders for link in sorted(folder.glob(f"*.wants/{place.glob}")))
    return [replace(place, name=name) for name in dict.fromkeys(enabled)]


def _is_of_user(place: Place, user: int, root: Path) -> bool:
    try:
        home = root / pwd.getpwuid(user).pw_dir.removeprefix("/")
    except KeyError:
        return False
    folders, name = (
        (_DESKTOP, f"{place.name}.desktop")
        if place.kind is Kind.APP
        else (_USER_UNITS, f"default.target.wants/{place.name}")
    )
    return any(_is_file(_below(folder, home, root) / name) for folder in folders)


def _below(folder: str, home: Path, root: Path) -> Path:
    return root / folder.removeprefix("/") if folder.startswith("/") else home / folder


def _is_file(file: Path) -> bool:
    """Whether there is such a file. A unit that is masked is a link to /dev/null (systemctl(1)), so it is none."""
    with suppress(OSError):
        return file.is_file()
    return False

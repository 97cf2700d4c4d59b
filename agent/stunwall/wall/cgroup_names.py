"""The names of the cgroups that an exception by program means, and where they are looked for. No I/O.

systemd gives every unit a cgroup of its name, in a tree of slices. The manager of a user has a tree of its own below
the unit user@UID.service, where that user can make cgroups of any name. So a name alone means a unit of the system's
manager, and one of a user's only in the exceptions of that user: nobody claims an exception of somebody else.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate

from stunwall.config import Allow

SLICE = ".slice"
# systemd.unit(5): the characters of a unit's name. Others could be taken for syntax in a rule, or be too long for nft.
_PATH = re.compile(r"[A-Za-z0-9:_.\\@-]+(/[A-Za-z0-9:_.\\@-]+){0,15}")
_PATH_MAX = 1000


@dataclass(frozen=True, slots=True)
class Search:
    """Where to look for cgroups, and their names.

    `folder`: the path of a cgroup below the root, "" for the root. `deep`: look in the slices below it, too.
    """

    folder: str
    deep: bool
    names: re.Pattern[str]

    def concerns(self, name: str) -> bool:
        """Whether a cgroup of this name is looked for, or looked into."""
        return self.names.fullmatch(name) is not None or (self.deep and name.endswith(SLICE))


def searches(rule: Allow) -> Iterator[Search]:
    """Yield where the cgroups of an exception's programs are, if it is by program."""
    own = "" if rule.user is None else f"user.slice/user-{rule.user}.slice/user@{rule.user}.service"
    if rule.app is not None and own:
        yield Search(own, True, _application(rule.app))
    if rule.unit is not None:
        folder, slash, name = rule.unit.rpartition("/")
        names = re.compile(translate(name))
        yield Search(folder, not slash, names)
        if own and not slash:
            yield Search(own, True, names)


def exactly(name: str) -> re.Pattern[str]:
    """Return a pattern that this name alone fits."""
    return re.compile(re.escape(name))


def is_fit(path: str) -> bool:
    """Whether a rule can have this path of a cgroup."""
    return len(path) <= _PATH_MAX and _PATH.fullmatch(path) is not None


def of_system(path: str) -> bool:
    """Whether only the system's manager makes a cgroup of this path."""
    return all(part.endswith(SLICE) for part in path.split("/")[:-1])


def _application(app: str) -> re.Pattern[str]:
    """Return the names of the units that a desktop starts an application in.

    systemd.io/DESKTOP_ENVIRONMENTS, "XDG standardization for applications": app[-LAUNCHER]-ID[@RANDOM].service and
    app[-LAUNCHER]-ID-RANDOM.scope, where ID is escaped. Flatpak is such a launcher. dbus-broker (src/launch/service.c)
    names the units of what D-Bus starts dbus-:1.CLIENT-ID@NUMBER.service; snapd (sandbox/cgroup/tracking.go) uses
    snap.SNAP.APP-UUID.scope, and SNAP_APP as desktop ID.
    """
    name, snap = re.escape(_escape(app)), re.escape(app)
    apps = [
        rf"app(-[^-]+)?-{name}(@.*)?\.service",
        rf"app(-[^-]+)?-{name}-[^-]+\.scope",
        rf"dbus-:1\.[0-9]+-{name}@[0-9]+\.service",
        rf"snap\.{snap}\.[^.].*\.(scope|service)",
    ]
    if "_" in app:
        first, _, rest = app.partition("_")
        apps.append(rf"snap\.{re.escape(first)}\.{re.escape(rest)}[.-].*\.scope")
    return re.compile("|".join(apps))


def _escape(name: str) -> str:
    """Return a name as systemd-escape(1) does."""
    escaped = re.sub(r"[^A-Za-z0-9:_.]", lambda match: rf"\x{ord(match[0]):02x}", name)
    return rf"\x2e{escaped[1:]}" if escaped.startswith(".") else escaped

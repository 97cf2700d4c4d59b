"""The table of places and keys, `places.toml`, as values. What its fields mean is written there."""

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any


class Engine(StrEnum):
    """Which browser a browser is made of."""

    CHROMIUM = "chromium"
    FIREFOX = "firefox"
    NONE = "none"


class Package(StrEnum):
    """How a browser is packaged; `system` is a package of the distribution or of the vendor, or unpacked."""

    SYSTEM = "system"
    SNAP = "snap"
    FLATPAK = "flatpak"


@dataclass(frozen=True, slots=True)
class Browser:
    """One way in which a browser is packaged. Globs and paths, {arch} put in; `profiles` are below a home folder."""

    browser: str
    title: str
    engine: Engine
    package: Package
    present: tuple[str, ...]
    programs: tuple[str, ...]
    profiles: tuple[str, ...]
    how: str
    source: str
    date: str
    policies: tuple[str, ...] = ()
    write: str = ""
    user_policies: tuple[str, ...] = ()
    user_write: str = ""
    bundled: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    keys: str = ""
    built_in: str = ""

    @property
    def name(self) -> str:
        """Title and package, such as `Chromium (snap)`."""
        return self.title if self.package is Package.SYSTEM else f"{self.title} ({self.package})"


@dataclass(frozen=True, slots=True)
class Other:
    """A kind of programs with a browser inside, and what can be said of it."""

    title: str
    present: tuple[str, ...]
    says: str
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Key:
    """A policy that exists: `type` is JSON's, `weakens` says how it weakens the rest, "" if it does not."""

    engine: str
    name: str
    type: str
    since: str
    source: str
    date: str
    weakens: str = ""


@dataclass(frozen=True, slots=True)
class Dead:
    """A key or switch that does nothing, by its name in lower case; `engine` is "" if in no browser."""

    name: str
    says: str
    engine: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Everything in `places.toml`."""

    browsers: tuple[Browser, ...]
    others: tuple[Other, ...]
    keys: tuple[Key, ...]
    dead: tuple[Dead, ...]

    def key(self, engine: str, name: str) -> Key | None:
        """Return the policy of this name, None if there is none."""
        return next((key for key in self.keys if key.engine == engine and key.name == name), None)

    def dead_key(self, engine: str, name: str) -> Dead | None:
        """Return what is known of a key or switch that does nothing, None if nothing is."""
        known = (dead for dead in self.dead if dead.engine in ("", engine))
        return next((dead for dead in known if dead.name == name.lower()), None)


@cache
def read(arch: str) -> Table:
    """Return the table for a machine, such as `x86_64`."""
    with Path(__file__).with_name("places.toml").open("rb") as file:
        rows = tomllib.load(file)
    return Table(
        tuple(_browser(row, arch) for row in rows["browser"]),
        tuple(Other(**_values(row, arch)) for row in rows["other"]),
        tuple(Key(**_values(row, arch)) for row in rows["key"]),
        tuple(Dead(**_values(row, arch)) for row in rows["dead"]),
    )


def _browser(row: dict[str, Any], arch: str) -> Browser:
    values = _values(row, arch)
    engine, package = Engine(values.pop("engine")), Package(values.pop("package"))
    values.setdefault("keys", engine.value)
    return Browser(engine=engine, package=package, **values)


def _values(row: dict[str, Any], arch: str) -> dict[str, Any]:
    return {
        name: tuple(_text(each, arch) for each in value) if isinstance(value, list) else _text(value, arch)
        for name, value in row.items()
    }


def _text(value: object, arch: str) -> str:
    return str(value).replace("{arch}", arch)

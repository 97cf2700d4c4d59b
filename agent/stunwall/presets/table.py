"""The table of presets, presets.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - a field is called date
from functools import lru_cache
from importlib.resources import files
from typing import Any

from stunwall.config import Allow
from stunwall.model import Transport
from stunwall.presets.places import Kind, Place


@dataclass(frozen=True, slots=True)
class Preset:
    """A program that needs STUN outside the VPN, and the exceptions with which it works.

    `title`: what people call it. `purpose`: what the exceptions are for. `why`: the reason that is written into them.
    `without`: what does not work without them. `reveals`: what they show, and to whom. `sources`: where that is from,
    read on `date`.

    `programs`: the names of its files. `units`: the units of the system's manager that run it, the usual one first; a
    template stands for its instances. `user_units`: those of a user's manager. `apps`: its IDs as a desktop
    application, of a Flatpak, a snap or a .desktop file. `allow`: its exceptions, but for whose packets they are about.

    `server_named`: it runs in a browser, whose pages nothing tells apart; so the user names the server, and the
    exceptions are for this address alone. `server`: the preset for the program that is asked, where that runs.
    """

    name: str
    title: str
    purpose: str
    why: str
    without: str
    reveals: str
    date: Date
    sources: tuple[str, ...]
    allow: tuple[Allow, ...]
    programs: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    user_units: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    server_named: bool = False
    server: str = ""

    @property
    def places(self) -> tuple[Place, ...]:
        """Where its program may run, the usual places first."""
        return (
            *(Place(Kind.UNIT, name) for name in self.units),
            *(Place(Kind.USER_UNIT, name) for name in self.user_units),
            *(Place(Kind.APP, name) for name in self.apps),
        )


@dataclass(frozen=True, slots=True)
class Unneeded:
    """A program that people expect here, and why it needs no exception."""

    preset: str
    title: str
    unneeded: str


@lru_cache(1)
def presets() -> Mapping[str, Preset]:
    """Return the presets by name, in the order of their names."""
    return {name: _preset(name, table) for name, table in _read().items() if "unneeded" not in table}


@lru_cache(1)
def unneeded() -> Mapping[str, Unneeded]:
    """Return the programs that need no exception, by name."""
    return {
        name: Unneeded(name, table["title"], table["unneeded"])
        for name, table in _read().items()
        if "unneeded" in table
    }


def _preset(name: str, table: Mapping[str, Any]) -> Preset:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    values["allow"] = tuple(
        Allow(table["why"], preset=name, **{**part, "protocol": Transport(part["protocol"])})
        for part in table["allow"]
    )
    return Preset(name, **values)


@lru_cache(1)
def _read() -> Mapping[str, Any]:
    return tomllib.loads((files("stunwall.presets") / "presets.toml").read_bytes().decode())

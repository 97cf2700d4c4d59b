"""presets/installed.py: where a program runs, else where it is installed, in a file system and among cgroups."""

import os
import pwd
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from stunwall.presets import installed
from stunwall.presets.places import Kind, Place
from stunwall.presets.table import presets
from stunwall.wall import units

ALICE, BOB = 1000, 1001
MANAGER = "user.slice/user-{0}.slice/user@{0}.service"
SYNCTHING, STEAM, TOR = (presets()[name].places for name in ("syncthing", "steam", "snowflake"))
TAILSCALE = presets()["tailscale"].places


class Machine:
    """A file system and the cgroups, both in a folder."""

    def __init__(self, folder: Path) -> None:
        self.root, self.cgroups = folder / "root", folder / "cgroup"
        self.root.mkdir()
        self.cgroups.mkdir()

    def has(self, *files: str) -> None:
        for file in files:
            path = self.root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def runs(self, *paths: str) -> None:
        for path in paths:
            (self.cgroups / path).mkdir(parents=True)

    def found(self, places: Iterable[Place], *users: int) -> list[Place]:
        with closing(units.UnitWatch()) as watch:
            return installed.find(list(places), users or (ALICE,), watch.find, self.root)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setattr(units, "ROOT", machine.cgroups)
    names = {ALICE: "alice", BOB: "bob"}

    def user(number: int) -> pwd.struct_passwd:
        name = names[number]
        return pwd.struct_passwd((name, "x", number, number, "", f"/home/{name}", "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwuid", user)
    return machine


def unit(name: str) -> Place:
    return Place(Kind.UNIT, name)


def test_where_nothing_is_nothing_is_found(machine: Machine) -> None:
    machine.has("usr/lib/systemd/system/other.service", "etc/systemd/user/default.target.wants/other.service")
    machine.runs("system.slice/other.service", f"{MANAGER.format(ALICE)}/app.slice/app-gnome-other-1.scope")
    for preset in presets().values():
        assert machine.found(preset.places) == []
    assert machine.found(STEAM, 4711) == [], "a user who is gone"


def test_a_unit_is_found_by_its_file_and_the_usual_one_is_taken(machine: Machine) -> None:
    machine.has("etc/systemd/system/snap.tailscale.tailscaled.service")
    assert machine.found(TAILSCALE) == [unit("snap.tailscale.tailscaled.service")]
    machine.has("usr/lib/systemd/system/tailscaled.service")
    assert machine.found(TAILSCALE) == [unit("tailscaled.service")]
    machine.runs("system.slice/snap.tailscale.tailscaled.service")
    assert machine.found(TAILSCALE) == [unit("snap.tailscale.tailscaled.service")], "the one that runs"
    machine.runs("system.slice/tailscaled.service")
    assert machine.found(TAILSCALE) == [unit("tailscaled.service"), unit("snap.tailscale.tailscaled.service")]


def test_debians_tor_is_found_by_the_unit_that_runs_it(machine: Machine) -> None:
    machine.has("lib/systemd/system/tor.service", "lib/systemd/system/tor@default.service")
    assert machine.found(TOR) == [unit("tor@default.service")]


def test_a_masked_unit_is_not_installed(machine: Machine) -> None:
    folder = machine.root / "etc/systemd/system"
    folder.mkdir(parents=True)
    (folder / "tailscaled.service").symlink_to("/dev/null")
    assert machine.found(TAILSCALE) == []


def test_a_template_is_found_by_its_instances(machine: Machine) -> None:
    machine.has("usr/lib/systemd/system/syncthing@.service", "usr/lib/systemd/user/syncthing.service")
    assert machine.found(SYNCTHING) == [], "Debian's package installs both, and enables none"
    machine.has("etc/systemd/system/multi-user.target.wants/syncthing@bob.service")
    assert machine.found(SYNCTHING) == [unit("syncthing@bob.service")]
    machine.runs("system.slice/system-syncthing.slice/syncthing@alice.service")
    assert machine.found(SYNCTHING) == [unit("syncthing@alice.service")]


def test_a_unit_of_a_user_is_found_if_it_is_enabled_or_runs(machine: Machine) -> None:
    own = Place(Kind.USER_UNIT, "syncthing.service", ALICE)
    machine.has("home/alice/.config/systemd/user/default.target.wants/syncthing.service")
    assert machine.found(SYNCTHING) == [own]
    assert machine.found(SYNCTHING, BOB) == []
    machine.runs(f"{MANAGER.format(BOB)}/app.slice/syncthing.service")
    assert machine.found(SYNCTHING) == [own], "bob's is not alice's"
    assert machine.found(SYNCTHING, BOB) == [Place(Kind.USER_UNIT, "syncthing.service", BOB)]
    machine.runs("system.slice/syncthing.service")
    assert machine.found(SYNCTHING) == [own], "the system's is not alice's either"


@pytest.mark.parametrize(
    ("file", "app"),
    [
        ("usr/share/applications/steam.desktop", "steam"),
        (
            "var/lib/flatpak/exports/share/applications/com.valvesoftware.Steam.desktop",
            "com.valvesoftware.Steam",
        ),
        (
            "home/alice/.local/share/flatpak/exports/share/applications/com.valvesoftware.Steam.desktop",
            "com.valvesoftware.Steam",
        ),
        ("var/lib/snapd/desktop/applications/steam_steam.desktop", "steam_steam"),
    ],
)
def test_an_application_is_found_as_a_package_a_flatpak_or_a_snap(
    machine: Machine, file: str, app: str
) -> None:
    machine.has(file)
    assert machine.found(STEAM) == [Place(Kind.APP, app, ALICE)]
    assert machine.found(STEAM, BOB) == ([] if "alice" in file else [Place(Kind.APP, app, BOB)])


def test_the_variant_that_runs_is_taken(machine: Machine) -> None:
    machine.has(
        "usr/share/applications/steam.desktop", "var/lib/snapd/desktop/applications/steam_steam.desktop"
    )
    assert len(machine.found(STEAM)) == 2
    machine.runs(f"{MANAGER.format(ALICE)}/app.slice/app-gnome-steam-4069.scope")
    assert machine.found(STEAM, ALICE, BOB) == [Place(Kind.APP, "steam", ALICE)]


def test_what_may_not_be_looked_at_is_not_found(machine: Machine) -> None:
    machine.has("home/alice/.local/share/applications/steam.desktop")
    (machine.root / "home/alice").chmod(0)
    os.seteuid(65534)
    try:
        assert machine.found(STEAM) == []
    finally:
        os.seteuid(0)
        (machine.root / "home/alice").chmod(0o755)

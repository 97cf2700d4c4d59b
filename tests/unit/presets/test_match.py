"""presets/match.py: a program is recognised by its unit or application, not taken for what it says it is."""

from dataclasses import replace
from typing import Any

import pytest

from stunwall.config import Allow
from stunwall.presets.match import Match, match
from stunwall.presets.places import Kind
from stunwall.presets.table import presets
from unit.recorded import event

BASE = replace(event(40000), uid=0, user="root", executable="/usr/sbin/tailscaled", unit="tailscaled.service")


def found(**values: Any) -> Match | None:
    return match(replace(BASE, **values), presets().values())


def name(**values: Any) -> str:
    """The preset that is found by a unit or an application, "" if none is."""
    one = found(**values)
    return one.preset.name if one is not None and one.place is not None else ""


def by_name(**values: Any) -> str:
    one = found(**values)
    return one.preset.name if one is not None and one.place is None else ""


ALICE = {"uid": 1000, "user": "alice"}
STEAM = ALICE | {"unit": "app-gnome-steam-1.scope", "app": "steam", "executable": "/home/alice/steam/steam"}
SYNCTHING = ALICE | {"executable": "/usr/bin/syncthing", "source_port": 22000}


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, "tailscale"),
        ({"unit": "snap.tailscale.tailscaled.service", "app": "tailscale_tailscaled"}, "tailscale"),
        ({"executable": "tailscaled"}, "tailscale"),
        ({"executable": ""}, "tailscale"),
        ({"destination_port": 0, "source_port": 0, "flows": 3}, "tailscale"),
        (
            {"unit": "coturn.service", "executable": "/usr/bin/turnserver", "uid": 110, "user": "turnserver"},
            "coturn",
        ),
        (
            {"unit": "snowflake-proxy.service", "executable": "snowflake-proxy", "uid": 61184},
            "snowflake-proxy",
        ),
        (STEAM, "steam"),
        (
            STEAM | {"unit": "app-flatpak-com.valvesoftware.Steam-1.scope", "app": "com.valvesoftware.Steam"},
            "steam",
        ),
        (SYNCTHING | {"unit": "syncthing.service"}, "syncthing"),
        (SYNCTHING | {"unit": "syncthing@alice.service"}, "syncthing"),
        (
            SYNCTHING | {"unit": "app-flatpak-x-1.scope", "app": "com.github.zocker_160.SyncThingy"},
            "syncthing",
        ),
        (
            {"unit": "jitsi-videobridge2.service", "uid": 997, "user": "jvb", "executable": "/usr/bin/java"}
            | {"source_port": 10000},
            "jitsi-videobridge",
        ),
    ],
)
def test_a_program_is_known_by_its_unit_or_application(values: dict[str, Any], wanted: str) -> None:
    assert name(**values) == wanted


@pytest.mark.parametrize(
    "values",
    [
        {"verdict": "accepted"},
        {"container": "0123456789ab"},
        {"incoming": "docker0"},
        {"transport": "tcp"},
        {"destination_port": 19302},
        {"executable": "/usr/bin/firefox"},  # opened by it, perhaps
        {"unit": "firefox.service", "executable": "/usr/bin/firefox"},
        STEAM | {"executable": "/home/alice/steam/steamwebhelper"},
        SYNCTHING | {"unit": "syncthing.service", "executable": "/usr/bin/chromium"},
        {"unit": "", "executable": ""},
    ],
)
def test_what_no_preset_is_for_is_not_matched(values: dict[str, Any]) -> None:
    assert found(**values) is None


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (ALICE, "tailscale"),  # a unit of this name in a user's own manager
        (ALICE | {"unit": "session-2.scope"}, "tailscale"),
        (ALICE | {"unit": "session-2.scope", "executable": "/tmp/tailscaled"}, "tailscale"),
        (SYNCTHING | {"unit": "syncthing@bob.service"}, "syncthing"),
        (SYNCTHING | {"unit": "syncthing@.service", "user": ""}, "syncthing"),
        (SYNCTHING | {"unit": ""}, "syncthing"),
    ],
)
def test_a_program_that_only_has_the_name_is_said_to(values: dict[str, Any], wanted: str) -> None:
    assert by_name(**values) == wanted


def test_a_name_that_the_kernel_has_cut_is_known() -> None:
    long = {"unit": "snowflake.service", "executable": "snowflake-clien"}
    assert by_name(**long) == "snowflake"
    assert found(**long | {"executable": "/usr/bin/snowflake-clien"}) is None


def test_the_command_allows_the_user_whose_program_it_is() -> None:
    one = found()
    assert one is not None
    assert one.command == "sudo stunwall allow preset tailscale"
    for unit, user in (("syncthing.service", "alice"), ("syncthing.service", "")):
        one = found(**SYNCTHING | {"unit": unit, "user": user})
        assert one is not None
        assert one.place is not None
        assert (one.place.kind, one.place.user) == (Kind.USER_UNIT, 1000)
        assert one.command == f"sudo stunwall allow preset syncthing --user {user or 1000}"
    one = found(**SYNCTHING | {"unit": "syncthing@alice.service"})
    assert one is not None
    assert one.command == "sudo stunwall allow preset syncthing"


def test_it_is_allowed_if_exceptions_do_all_that_the_preset_does() -> None:
    one = found()
    assert one is not None
    assert not one.is_allowed([])
    assert not one.is_allowed([Allow("w", unit="tailscaled.service", port=1)])
    assert one.is_allowed([Allow("w", port=1), Allow("w", unit="tailscaled.service")])
    two = found(**ALICE)
    assert two is not None
    assert not two.is_allowed([Allow("w", unit="tailscaled.service")]), "it is known by its name alone"

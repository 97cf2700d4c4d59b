"""doctor/presets.py: which preset is proposed, from a real record, and which exceptions are of another preset."""

import time
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from stunwall.config import Allow
from stunwall.doctor import presets as checked
from stunwall.model import Event
from stunwall.presets.table import presets
from stunwall.record.schema import FILE, RecordPermissionError
from unit.fake_machine import NOTE, UNKNOWN, FakeMachine
from unit.recorded import event, record

NOW = time.time()
TAILSCALE = presets()["tailscale"]
(RULE,) = (place.applied(TAILSCALE.allow[0]) for place in TAILSCALE.places[:1])


def blocked(**values: Any) -> Event:
    program: dict[str, Any] = {
        "uid": 0,
        "user": "root",
        "unit": "tailscaled.service",
        "executable": "/usr/sbin/tailscaled",
    }
    return replace(event(40000, NOW - 60), **program | values)


def recorded(fake: FakeMachine, *events: Event) -> None:
    record(fake.folder / "state", *events)


def excepting(fake: FakeMachine, *rules: Allow) -> Any:
    machine = fake.machine
    machine.settings = replace(machine.settings, allow=rules)
    return machine


def test_without_a_record_nothing_is_proposed(fake: FakeMachine) -> None:
    assert fake.find("presets") == {}
    (fake.folder / "state").rmdir()
    assert fake.find("presets") == {}


def test_the_preset_of_a_program_that_was_blocked_is_proposed_with_what_it_reveals(fake: FakeMachine) -> None:
    recorded(fake, blocked(destination="198.51.100.1"), blocked(source_port=40001))
    found = fake.one("presets", NOTE)
    assert found.what.startswith("Tailscale was blocked (tailscaled.service; last to 203.0.113.7:3478, ")
    assert found.why == f"while it is, {TAILSCALE.without}; an exception reveals {TAILSCALE.reveals}"
    assert found.next == "if you want that: sudo stunwall allow preset tailscale"


def test_each_program_is_proposed_once(fake: FakeMachine) -> None:
    syncthing = {"unit": "syncthing.service", "executable": "/usr/bin/syncthing", "source_port": 22000}
    recorded(
        fake,
        *(blocked(source_port=port) for port in range(1, 4)),
        blocked(**syncthing, uid=1000, user="alice"),
        blocked(**syncthing, uid=1001, user="bob", destination="198.51.100.1"),
    )
    found = fake.find("presets")[NOTE]
    assert found[0].what.startswith("Syncthing was blocked (syncthing.service of alice; last to ")
    assert [each.next.partition(": ")[2] for each in found] == [
        "sudo stunwall allow preset syncthing --user alice",
        "sudo stunwall allow preset syncthing --user bob",
        "sudo stunwall allow preset tailscale",
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"last_time": NOW - 90000, "time": NOW - 90000},
        {"verdict": "accepted"},
        {"executable": "/usr/bin/firefox"},
        {"transport": "tcp"},
        {"unit": "a.service", "executable": "/usr/bin/a"},
    ],
)
def test_what_is_old_or_not_for_a_preset_is_not_proposed(fake: FakeMachine, values: dict[str, Any]) -> None:
    recorded(fake, blocked(**values))
    assert fake.find("presets") == {}


def test_a_name_alone_is_said_to_be_one(fake: FakeMachine) -> None:
    recorded(fake, blocked(unit="session-2.scope", uid=1000, user="alice"))
    found = fake.one("presets", NOTE)
    assert found.what.startswith("a program called tailscaled was blocked (in session-2.scope; last to ")
    assert found.what.endswith("); it is known by its name only")
    assert found.why == (
        "any program can have this name; Tailscale usually runs as tailscaled.service or "
        "snap.tailscale.tailscaled.service"
    )
    assert found.next == "if it is Tailscale, run it as that, then `sudo stunwall allow preset tailscale`"


def test_what_an_exception_allows_by_now_is_not_proposed(fake: FakeMachine) -> None:
    recorded(fake, blocked())
    for rule in (RULE, Allow("w", unit="tailscaled.service")):
        assert fake.find("presets", excepting(fake, rule)) == {}
    for rule in (Allow("w", unit="tailscaled.service", port=5), replace(RULE, user=1000)):
        assert len(fake.find("presets", excepting(fake, rule))[NOTE]) == 1


def test_an_exception_of_another_version_of_a_preset_is_a_note(fake: FakeMachine) -> None:
    old = replace(RULE, port=5)
    machine = excepting(fake, Allow("w", port=1), old, RULE, replace(RULE, preset="of-the-future", port=5))
    (found,) = fake.find("presets", machine)[NOTE]
    assert found.what == f"exception 2 is not as the preset tailscale of {TAILSCALE.date} has it"
    assert found.next == "sudo stunwall allow preset tailscale"
    of_user = Allow("w", port=5, user=0, to=ip_network("203.0.113.7"), preset="jitsi")
    (found,) = fake.find("presets", excepting(fake, of_user))[NOTE]
    assert found.next == "sudo stunwall allow preset jitsi --user root --to 203.0.113.7/32"


def test_a_record_that_may_not_be_read_is_unknown_and_a_damaged_one_is_left_to_its_check(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(fake, blocked())
    (fake.folder / "state" / FILE).write_bytes(b"x" * 10000)
    assert fake.find("presets") == {}

    def refuse(folder: object) -> None:
        raise RecordPermissionError("no")

    monkeypatch.setattr(checked, "RecordReader", refuse)
    assert fake.one("presets", UNKNOWN).what == "could not be checked: no"

"""The check `presets`: programs that were blocked lately and have a preset, and exceptions of older presets."""

import time
from collections.abc import Iterator
from contextlib import closing

from stunwall.config import Allow
from stunwall.doctor.findings import Finding, note
from stunwall.doctor.machine import Machine, look, user_name
from stunwall.model import Event, Verdict
from stunwall.presets.match import Match, match
from stunwall.presets.table import Preset, presets
from stunwall.record.filter import Filter
from stunwall.record.reader import RecordReader
from stunwall.record.schema import RecordError, RecordPermissionError
from stunwall.text import date_time, endpoint

_RECENT = 86400  # seconds: what was blocked before that does not count
_EVENTS_MAX = 100  # entries of the record for one name


def check(machine: Machine) -> Iterator[Finding]:
    """Propose the presets of programs that were blocked, and say which exceptions are of an older preset."""
    for number, rule in enumerate(machine.settings.allow, 1):
        known = presets().get(rule.preset or "")
        if known is not None and not any(
            (rule.protocol, rule.port, rule.source_port) == (each.protocol, each.port, each.source_port)
            for each in known.allow
        ):
            yield note(
                "presets",
                f"exception {number} is not as the preset {known.name} of {known.date} has it",
                next=f"sudo stunwall allow preset {known.name}{_options(rule)}",
            )
    for found, event in _blocked(machine):
        if not found.is_allowed(machine.settings.allow):
            yield _proposal(found, event)


def _options(rule: Allow) -> str:
    """Return the options with which a preset replaces an exception."""
    user = "" if rule.user is None else f" --user {user_name(rule.user)}"
    return user if rule.to is None else f"{user} --to {rule.to}"


def _blocked(machine: Machine) -> Iterator[tuple[Match, Event]]:
    """Yield each program with a preset that was blocked lately, with the last entry about it."""
    if look(machine.settings.state_dir) is None:
        return
    found: dict[Match, Event] = {}
    try:
        with closing(RecordReader(machine.settings.state_dir)) as record:
            for preset in presets().values():
                for event in _entries(record, preset):
                    if (matched := match(event, [preset])) is not None:
                        found[matched] = event
    except RecordPermissionError:
        raise
    except RecordError:  # the check `record` reports it
        return
    yield from found.items()


def _entries(record: RecordReader, preset: Preset) -> Iterator[Event]:
    since = time.time() - _RECENT
    for name in dict.fromkeys((*(place.glob for place in preset.places), *preset.programs)):
        wanted = Filter(since=since, verdict=Verdict.BLOCK, app=name)
        yield from (event for _, event in record.events(wanted, limit=_EVENTS_MAX))


def _proposal(found: Match, event: Event) -> Finding:
    preset = found.preset
    to = endpoint(event.destination, event.destination_port) or "several servers"
    last = f"last to {to}, {date_time(event.last_time)}"
    if found.place is None:
        called = event.executable.rpartition("/")[2]
        where = f"in {event.unit}" if event.unit else "in no unit"
        places = " or ".join(map(str, preset.places))
        return note(
            "presets",
            f"a program called {called} was blocked ({where}; {last}); it is known by its name only",
            why=f"any program can have this name; {preset.title} usually runs as {places}",
            next=f"if it is {preset.title}, run it as that, then `{found.command}`",
        )
    whose = "" if found.place.user is None else f" of {found.user}"
    return note(
        "presets",
        f"{preset.title} was blocked ({found.place}{whose}; {last})",
        why=f"while it is, {preset.without}; an exception reveals {preset.reveals}",
        next=f"if you want that: {found.command}",
    )

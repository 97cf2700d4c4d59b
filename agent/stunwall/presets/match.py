"""Which preset is for the program that sent a blocked packet. No I/O.

The kernel tells the control group of a program, and with it the unit or the application. Its name it chooses itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from shlex import quote

from stunwall.config import Allow
from stunwall.model import Event, Transport, Verdict
from stunwall.presets.places import Kind, Place, covers
from stunwall.presets.table import Preset

_NAME = 15  # characters of a program's name, where its path is not known (linux/sched.h, TASK_COMM_LEN)
_ROOT = 0
# systemd.io/UIDS-GIDS: people have the numbers from 1000 on, but services may have these for as long as they run.
_FIRST_PERSON, _DYNAMIC = 1000, range(61184, 65520)


@dataclass(frozen=True, slots=True)
class Match:
    """A preset for a program of `user`.

    `place` is the unit or application that it was recognised by, None if it was by its name alone.
    """

    preset: Preset
    place: Place | None
    user: str

    @property
    def command(self) -> str:
        """The command that allows it, if it runs in a place of the preset."""
        of_user = self.place is not None and self.place.user is not None
        return f"sudo stunwall allow preset {self.preset.name}" + (
            f" --user {quote(self.user)}" if of_user else ""
        )

    def is_allowed(self, rules: Iterable[Allow]) -> bool:
        """Whether these exceptions let through all that the preset does."""
        if self.place is None:
            return False
        there, place = list(rules), self.place
        return all(any(covers(each, place.applied(rule)) for each in there) for rule in self.preset.allow)


def match(event: Event, presets: Iterable[Preset]) -> Match | None:
    """Return the preset whose exception would have let through what was blocked, None if there is none.

    A program that runs in none of a preset's places is found by its name alone.
    """
    if event.verdict != Verdict.BLOCK or event.container or event.incoming:
        return None
    named, user = None, event.user or str(event.uid)
    for preset in presets:
        if preset.server_named or not any(_fits(rule, event) for rule in preset.allow):
            continue
        known = _is_called(event, preset)
        place = next((found for each in preset.places if (found := _at(each, event)) is not None), None)
        # In the unit of the preset there may be others, as a browser that the program has opened.
        if place is not None and (known or not (event.executable and preset.programs)):
            return Match(preset, place, user)
        if place is None and known and event.executable:
            named = named or Match(preset, None, user)
    return named


def _fits(rule: Allow, event: Event) -> bool:
    """Whether a part of a preset is about this packet; an entry that stands for several has no ports."""
    return (
        rule.protocol in (None, _transport(event))
        and (rule.port is None or event.destination_port in (0, rule.port))
        and (rule.source_port is None or event.source_port in (0, rule.source_port))
    )


def _transport(event: Event) -> Transport | None:
    return next((each for each in Transport if each == event.transport), None)


def _is_called(event: Event, preset: Preset) -> bool:
    path, _, name = event.executable.rpartition("/")
    return any(name == (each if path else each[:_NAME]) for each in preset.programs)


def _at(place: Place, event: Event) -> Place | None:
    """Return the place, of its instance and user, if the packet came from there."""
    if place.kind is Kind.APP:
        return replace(place, user=event.uid) if event.uid >= 0 and place.fits(event.app) else None
    if not place.fits(event.unit):
        return None
    here = replace(place, name=event.unit)
    if place.kind is Kind.USER_UNIT:
        return replace(here, user=event.uid) if event.uid >= 0 else None
    # A user can give units of their own any name, but not run them as a service's user.
    service = _ROOT <= event.uid < _FIRST_PERSON or event.uid in _DYNAMIC
    instance = place.is_template and event.unit.partition("@")[2].rpartition(".")[0] == event.user != ""
    return here if service or instance else None

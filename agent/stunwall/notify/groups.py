"""Groups blocked attempts by program, and says when which of them is to be shown. No I/O."""

from dataclasses import dataclass
from math import inf

from stunwall.model import Event
from stunwall.notify import words
from stunwall.notify.words import Note

PERIOD = 60.0  # seconds between two notifications about one program
_NEW_MAX = 5  # programs that get a notification of their own in that time
_GROUPS_MAX = 64  # that are remembered
_OTHERS = ""


@dataclass(slots=True)
class Group:
    """The attempts of one program.

    `notification`, `details`: the ids of those that are open, 0 if they are not. `pending`: something is to be shown.
    `shown`: when that was done last, in seconds of the caller's clock; `told`: the id and event that were shown then.
    """

    number: int
    event: Event
    since: float
    others: bool
    attempts: int = 0
    notification: int = 0
    details: int = 0
    pending: bool = False
    shown: float = -inf
    told: tuple[int, Event] | None = None

    def note(self, length: int) -> Note:
        """Return what to show; `length` is that of words.blocked."""
        return words.blocked(self.event, self.attempts, self.since, length, self.others)


class Groups:
    """The groups, by program. The times that the methods take are seconds of one clock."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}  # the one that had an attempt last is the last

    def add(self, number: int, event: Event, now: float) -> None:
        """Take an entry of the record."""
        key = event.app or event.unit or event.executable or event.destination
        if key not in self._groups and self._recent(now) >= _NEW_MAX:
            key = _OTHERS
        group = self._groups.pop(key, None)
        if group is None:
            group = Group(number, event, event.time, key == _OTHERS)
            self._make_room()
        self._groups[key] = group
        if not group.notification and not group.pending:  # the user has read, or closed, the last one
            group.attempts, group.since = 0, event.time
        group.number, group.event = number, event
        group.attempts += event.flows
        group.pending = True

    def add_more(self, attempts: int) -> None:
        """Count attempts of which nothing else is known."""
        if self._groups:
            group = next(reversed(self._groups.values()))
            group.attempts += attempts

    def due(self, now: float) -> list[Group]:
        """Return the groups that are to be shown now; `shown` is to be called for each."""
        return [each for each in self._groups.values() if each.pending and now - each.shown >= PERIOD]

    def wait(self, now: float) -> float | None:
        """Return the seconds until one is due, None if nothing is to be shown."""
        return min(
            (max(0.0, each.shown + PERIOD - now) for each in self._groups.values() if each.pending),
            default=None,
        )

    @staticmethod
    def shown(group: Group, notification: int, now: float) -> None:
        """Say that a group is shown, under this id."""
        group.notification, group.pending, group.shown = notification, False, now
        group.told = group.number, group.event

    def of(self, notification: int) -> Group | None:
        """Return the group that is shown under an id, None if none is."""
        shown = (each for each in self._groups.values() if notification in (each.notification, each.details))
        return next(shown, None) if notification else None

    def closed(self, notification: int | None) -> None:
        """Say that a notification is closed; with None, that all are."""
        for each in self._groups.values():
            if notification in (None, each.notification):
                each.notification = 0
            if notification in (None, each.details):
                each.details = 0

    def _recent(self, now: float) -> int:
        return sum(each.pending or now - each.shown < PERIOD for each in self._groups.values())

    def _make_room(self) -> None:
        if len(self._groups) >= _GROUPS_MAX:
            del self._groups[next(iter(self._groups))]

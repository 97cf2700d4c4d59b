"""groups.py: which attempts become one notification, and when."""

from dataclasses import replace

from stunwall.notify.groups import PERIOD, Group, Groups
from unit.recorded import event


class Shown(Groups):
    """Shows what is due, with the ids 1, 2, 3 …"""

    def __init__(self) -> None:
        super().__init__()
        self.ids = 0

    def attempt(self, app: str, now: float, flows: int = 1) -> None:
        self.add(1, replace(event(), app=app, flows=flows), now)

    def show(self, now: float) -> list[tuple[str, int]]:
        """Show it, and return the program and the number of attempts of each."""
        due = self.due(now)
        for group in due:
            self.ids += 1
            self.shown(group, group.notification or self.ids, now)
        return [(_name(group), group.attempts) for group in due]


def _name(group: Group) -> str:
    return "others" if group.others else group.event.app


def test_the_first_attempt_is_shown_at_once_and_the_next_ones_together_a_minute_later() -> None:
    groups = Shown()
    assert groups.wait(0) is None
    groups.attempt("a", 0)
    assert groups.wait(0) == 0
    assert groups.show(0) == [("a", 1)]
    assert groups.wait(0) is None
    for second in range(1, 50):
        groups.attempt("a", second)
        assert groups.show(second) == []
    assert groups.wait(50) == PERIOD - 50
    assert groups.show(PERIOD) == [("a", 50)]
    assert groups.wait(PERIOD) is None


def test_each_program_has_its_own() -> None:
    groups = Shown()
    groups.attempt("a", 0)
    assert groups.show(0) == [("a", 1)]
    groups.attempt("b", 1, flows=3)
    groups.attempt("b", 1)
    assert groups.show(1) == [("b", 4)]


def test_one_that_is_open_is_replaced_and_one_that_was_closed_counts_from_anew() -> None:
    groups = Shown()
    groups.attempt("a", 0)
    groups.show(0)
    groups.attempt("a", 100)
    assert groups.show(100) == [("a", 2)]
    group = groups.of(1)
    assert group is not None
    group.details = 9
    groups.closed(1)
    assert groups.of(1) is None
    assert groups.of(9) is group
    groups.closed(9)
    assert groups.of(9) is None
    groups.attempt("a", 200)
    assert groups.show(200) == [("a", 1)]
    groups.closed(None)
    assert groups.of(3) is None
    assert groups.of(0) is None, "no notification has this id"


def test_many_programs_at_once_share_one_notification() -> None:
    groups = Shown()
    for number in range(1000):
        groups.attempt(f"app{number}", 0)
    shown = groups.show(0)
    assert shown == [*((f"app{n}", 1) for n in range(5)), ("others", 995)]
    groups.attempt("late", PERIOD)
    assert groups.show(PERIOD) == [("late", 1)]


def test_attempts_of_which_only_the_number_is_known_are_counted() -> None:
    groups = Shown()
    groups.add_more(5)
    groups.attempt("a", 0)
    groups.add_more(5)
    assert groups.show(0) == [("a", 6)]


def test_no_more_than_some_are_remembered() -> None:
    groups = Shown()
    for number in range(1000):
        groups.attempt(f"app{number}", number * PERIOD)
        groups.show(number * PERIOD)
    assert len(groups._groups) <= 64
    assert groups.of(1000) is not None


def test_what_was_shown_stays_what_the_user_chooses_about() -> None:
    groups = Shown()
    first, second = (replace(event(), executable="/a", destination=f"203.0.113.{n}") for n in (7, 8))
    groups.add(1, first, 0)
    groups.show(0)
    groups.add(2, second, 1)
    group = groups.of(1)
    assert group is not None
    assert group.told == (1, first)
    groups.show(PERIOD)
    assert group.told == (2, second)

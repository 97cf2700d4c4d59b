"""answers.py: a sender that floods is not answered any more, and takes nothing from others."""

import pytest

from stunwall.daemon.answers import BURST, RATE, SENDERS, Answers


def answered(answers: Answers, sender: object, packets: int, now: float = 0.0) -> int:
    return sum(answers.take(sender, now) for _ in range(packets))


def test_a_sender_is_answered_up_to_its_limit() -> None:
    assert answered(Answers(), "flooder", int(BURST) + 50) == BURST


def test_another_sender_loses_nothing_by_it() -> None:
    answers = Answers()
    answered(answers, "flooder", 10_000)
    assert answered(answers, "other", 40) == 40


def test_answers_come_back_with_time_but_never_more_than_at_first() -> None:
    answers = Answers()
    answered(answers, "flooder", 10_000)
    assert answered(answers, "flooder", 10_000, now=1.0) == RATE
    assert answered(answers, "flooder", 10_000, now=1000.0) == BURST


@pytest.mark.parametrize("pace", [1.25, 4, 10])
def test_a_flood_that_goes_on_gets_as_many_as_come_back(pace: float) -> None:
    """Whoever forges a victim's address must not use up all of its answers."""
    answers = Answers()
    answered(answers, "flooder", int(BURST))
    packets = int(pace * RATE)
    given = sum(answers.take("flooder", number / packets) for number in range(packets))
    assert RATE - 2 <= given <= RATE


def test_more_senders_than_are_told_apart_share() -> None:
    answers = Answers()
    assert answered(answers, "known", 10) == 10
    given = sum(answered(answers, number, 1) for number in range(5000))
    assert given == SENDERS - 1 + BURST
    assert len(answers._left) <= SENDERS + 1
    assert answered(answers, "known", 10) == 10


def test_who_has_everything_again_makes_room() -> None:
    answers = Answers()
    for number in range(SENDERS):
        answered(answers, number, 1)
    answered(answers, "late", int(BURST), now=1.0)
    assert len(answers._left) == 1


def test_they_suffice_until_a_sender_has_none_left_and_a_second_later() -> None:
    answers = Answers()
    assert answered(answers, "flooder", int(BURST) - 1) == BURST - 1
    assert answers.suffice(0.0)
    assert answers.take("flooder", 0.0)
    assert not answers.suffice(0.5)
    assert answers.suffice(1.0)

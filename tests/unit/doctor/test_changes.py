"""doctor/changes.py: who may change what."""

from typing import Any

import pytest

from stunwall.doctor.findings import Result
from stunwall.polkit import ACTIONS, PAUSE, PolkitError
from unit.fake_machine import OK, PROBLEM, UNKNOWN, FakeMachine


@pytest.mark.parametrize(
    ("known", "result", "words"),
    [
        (None, OK, "polkit does not run here"),
        (frozenset(ACTIONS), OK, "polkit decides"),
        (frozenset(ACTIONS) - {PAUSE}, PROBLEM, f"polkit does not know {PAUSE}"),
        (PolkitError("it is ill"), UNKNOWN, "it is ill"),
    ],
)
def test_it_says_who_decides(fake: FakeMachine, known: Any, result: Result, words: str) -> None:
    fake.known_actions = known
    assert words in fake.one("changes", result).what

"""doctor/checks.py: all the checks together."""

import subprocess
from collections.abc import Iterator

import pytest

from stunwall.doctor import checks
from stunwall.doctor.findings import Finding, ok, warning
from stunwall.doctor.machine import Machine
from stunwall.model import StunwallError
from unit.fake_machine import OK, UNKNOWN, FakeMachine
from unit.recorded import event, record


def test_of_a_machine_that_is_well_every_check_says_so(fake: FakeMachine) -> None:
    record(fake.folder / "state", event())
    found = checks.examine(fake.machine.file)
    assert {each.result for each in found} == {OK}
    # Of neighbours there is nothing to say.
    assert {each.check for each in found} == checks.CHECKS.keys() - {"neighbours"}


ERRORS = [
    StunwallError("broken"),
    OSError(5, "broken"),
    subprocess.TimeoutExpired("nft", 10),
    ValueError("broken"),
    KeyError("broken"),
    TypeError("broken"),
    AttributeError("broken"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_check_that_fails_hides_neither_what_it_found_before_nor_the_others(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(machine: Machine) -> Iterator[Finding]:
        yield warning("one", "found before")
        raise error

    def fine(machine: Machine) -> Iterator[Finding]:
        yield ok("two", "well")

    monkeypatch.setattr(checks, "CHECKS", {"one": failing, "two": fine})
    before, failed, other = checks.examine(fake.machine.file)
    assert (before, other) == (warning("one", "found before"), ok("two", "well"))
    assert (failed.check, failed.result) == ("one", UNKNOWN)
    assert failed.what.startswith("could not be checked: ")

"""doctor/checks.py: all the checks together."""

from collections.abc import Iterator

import pytest

from stunwall.doctor import checks
from stunwall.doctor.findings import Finding, ok, warning
from stunwall.doctor.machine import Machine
from stunwall.model import StunwallError
from unit.fake_machine import OK, UNKNOWN, FakeMachine
from unit.recorded import event, record


def test_on_a_healthy_machine_every_check_passes(fake: FakeMachine) -> None:
    record(fake.folder / "state", event())
    found = checks.examine(fake.machine.file)
    assert {each.result for each in found} == {OK}
    # There are no other programs to report, no exceptions, and no presets to propose, and it is no gateway.
    assert {each.check for each in found} == checks.CHECKS.keys() - {
        "neighbours",
        "gateway",
        "exceptions",
        "presets",
    }


ERRORS = [
    StunwallError("broken"),
    OSError(5, "broken"),
    ValueError("broken"),
    KeyError("broken"),
    TypeError("broken"),
    AttributeError("broken"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_check_that_fails_hides_neither_its_earlier_findings_nor_the_other_checks(
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
    assert "broken" in failed.what or type(error).__name__ in failed.what

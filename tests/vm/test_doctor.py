"""`stunwall doctor` on a system as its users have it."""

import json

import pytest

from vm.machine import Machine
from vm.service import systemctl


def findings(machine: Machine, code: int) -> list[dict[str, str]]:
    """What it found, where it ended with `code`."""
    done = machine.attempt("stunwall", "doctor", "--json")
    assert done.code == code, str(done)
    found: list[dict[str, str]] = json.loads(done.output)
    return found


def test_healthy_system_has_no_problem(machine: Machine) -> None:
    results = {(finding["check"], finding["result"]) for finding in findings(machine, 0)}
    for check in (
        "configuration",
        "rights",
        "kernel",
        "daemon",
        "wall",
        "queue",
        "marks",
        "service",
        "disk",
        "record",
    ):
        assert (check, "ok") in results


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_other_firewall_is_found_and_a_stopped_service_is_a_problem(machine: Machine) -> None:
    machine.run("ufw", "--force", "enable")
    systemctl(machine, "stop")
    found = {(finding["check"], finding["result"]): finding for finding in findings(machine, 1)}
    assert found["neighbours", "note"]["what"].startswith("found ufw (")
    assert "stunwall.service is inactive" in found["service", "problem"]["what"]
    assert found["wall", "problem"]["next"] == "sudo systemctl restart stunwall"

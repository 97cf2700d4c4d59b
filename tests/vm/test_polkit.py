"""Who may change what, where systemd starts the system bus, polkit and the locked-down service."""

import pytest

from lab.deadline import until
from vm.early import SLOW
from vm.machine import Machine
from vm.service import log, status, systemctl

RULES = "/etc/polkit-1/rules.d/50-test.rules"
RULE = """
polkit.addRule(function(action, subject) {
    if (action.id == "org.stunwall.pause" && subject.user == "nobody") return polkit.Result.YES;
});
"""


@pytest.fixture
def member(machine: Machine) -> tuple[str, ...]:
    """Runs a command as a member of the group, without a session or a terminal."""
    group = machine.run("getent", "group", "stunwall").split(":")[2]
    return ("setpriv", "--reuid=nobody", "--regid=nogroup", f"--groups={group}")


def test_a_member_changes_what_polkit_permits_and_nothing_else(
    machine: Machine, member: tuple[str, ...]
) -> None:
    refused = machine.attempt(*member, "stunwall", "pause", "1h", seconds=SLOW)
    assert (refused.code, "polkit did not allow it (it needs" in refused.errors) == (4, True), refused
    assert status(machine)["state"] != "paused"
    machine.run("tee", RULES, text=RULE)
    # polkit notices the file by itself.
    until(
        lambda: machine.attempt(*member, "stunwall", "pause", "1h", seconds=SLOW).code == 0,
        SLOW,
        "polkit's permission",
    )
    assert status(machine)["state"] == "paused"
    until(lambda: any(event["verdict"] == "paused" for event in log(machine)), SLOW, "it in the record")
    (paused,) = (event for event in log(machine) if event["verdict"] == "paused")
    assert (paused["user"], "allowed by polkit" in paused["reason"]) == ("nobody", True)
    refused = machine.attempt(*member, "stunwall", "allow", "add", "--port", "7", "--why", "w", seconds=SLOW)
    assert refused.code == 4, refused
    machine.run(*member, "stunwall", "resume", seconds=SLOW)
    systemctl(machine, "reload")  # by the service's own user, about whom polkit is not asked

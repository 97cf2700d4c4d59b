"""Systems that lack something: mount namespaces for services, or the modules of the running kernel."""

from typing import Any

import pytest

from lab.deadline import until
from vm.early import SLOW, under_traffic, wait_leak
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import UNIT, WALL_UNIT, journal, ready, shown, systemctl, table_exists
from vm.test_doctor import findings

QUEUE_MODULES = {"nft_queue", "nfnetlink_queue"}


def problem(machine: Machine, check: str) -> dict[str, Any]:
    """The first problem of that check."""
    return next(
        each for each in findings(machine, 1) if (each["check"], each["result"]) == (check, "problem")
    )


@pytest.mark.any_kernel
def test_the_wall_is_loaded_where_services_get_no_mount_namespace(lab: MachineLab, machine: Machine) -> None:
    systemctl(machine, "stop")
    wait_leak(lab, machine)
    # As in a container without nesting: whoever asks for a namespace gets an error.
    machine.run("sysctl", "user.max_mnt_namespaces=0")
    machine.attempt("systemctl", "start", UNIT, seconds=SLOW)
    until(
        # 233 is how systemd 257 fails.
        lambda: shown(machine, "ExecMainStatus") in ("226", "233"),
        SLOW,
        "the daemon to fail by its namespace",
    )
    assert machine.run("systemctl", "is-active", WALL_UNIT) == "active\n"
    assert table_exists(machine)
    with under_traffic(lab, machine):

        def told() -> bool:
            found = problem(machine, "service")
            return "cannot start" in found["what"] and "allow nesting" in found["next"]

        until(told, SLOW, "doctor to see why")  # while systemd tries again, there is no status
    machine.run("sysctl", "user.max_mnt_namespaces=1000")
    ready(machine)  # systemd keeps trying to start it


def loaded(machine: Machine) -> set[str]:
    """The modules of the queue that are loaded."""
    return {line.split()[0] for line in machine.run("cat", "/proc/modules").splitlines()} & QUEUE_MODULES


def stop_and_unload(machine: Machine) -> None:
    systemctl(machine, "stop")
    machine.run("rmmod", *sorted(QUEUE_MODULES, reverse=True))
    assert not loaded(machine)


@pytest.mark.any_kernel
def test_the_modules_of_the_queue_are_loaded_with_the_wall(lab: MachineLab, machine: Machine) -> None:
    stop_and_unload(machine)
    systemctl(machine, "start", WALL_UNIT)
    until(lambda: loaded(machine) == QUEUE_MODULES, SLOW, "the modules of the queue")
    lose_modules(machine)
    with under_traffic(lab, machine):
        systemctl(machine, "start")
        ready(machine)


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_modules_that_an_upgrade_removed_are_told_with_a_reboot_as_the_cure(
    lab: MachineLab, machine: Machine
) -> None:
    stop_and_unload(machine)
    wait_leak(lab, machine)
    lose_modules(machine)
    machine.attempt("systemctl", "start", UNIT, seconds=SLOW)
    assert table_exists(machine)
    with under_traffic(lab, machine):
        until(lambda: "reboot" in journal(machine), SLOW, "the daemon to say what to do")
        found = problem(machine, "kernel")
    print(found, journal(machine).splitlines()[-3:])
    assert found["next"].startswith("reboot, since /lib/modules has no modules of the running kernel")
    assert "modprobe" not in journal(machine) + str(found)


def lose_modules(machine: Machine) -> None:
    """As an upgrade of the kernel, which leaves the new one's modules only."""
    machine.run("sh", "-c", "mv /lib/modules/$(uname -r) /lib/modules/newer")

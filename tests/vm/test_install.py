"""install.sh and uninstall.sh on a running system, as from a checkout: pip's packages come from a folder."""

import pytest

from vm.early import under_traffic, wait_leak
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import (
    assert_browsers_are_as_before,
    assert_nothing_remains,
    assert_upgrade_keeps_settings_and_record,
    configure,
    kill_for_good,
    redirect_into,
    set_a_browser,
    systemctl,
    table_exists,
    wait_event,
)

SCRIPTS = "/run/checkout/systemd"
OFFLINE = ("env", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/run/checkout/wheels", "PIP_NO_COMPILE=1")


def install(machine: Machine) -> str:
    return machine.run(*OFFLINE, f"{SCRIPTS}/install.sh", seconds=900)


def replace_package(lab: MachineLab, machine: Machine) -> None:
    """Removes the package, and installs the checkout in its place; offline, so that apt-get has nothing to fetch."""
    machine.run("dpkg", "--purge", "stunwall", seconds=300)
    machine.run("sh", "-c", "rm -rf /etc/apt/sources.list*")  # all that apt-get is asked for is there
    wait_leak(lab, machine)
    print(install(machine))
    configure(machine, 'on_block = "drop"\n')
    systemctl(machine, "reload")


@pytest.mark.older
def test_installed_and_uninstalled(lab: MachineLab, machine: Machine) -> None:
    replace_package(lab, machine)
    with under_traffic(lab, machine):
        wait_event(machine, "blocked")
    set_a_browser(machine)
    redirect_into(machine, "wg0")
    kill_for_good(machine)  # what it left in the kernel must be removed too
    print(machine.run(f"{SCRIPTS}/uninstall.sh", seconds=300))
    assert not table_exists(machine)
    assert_browsers_are_as_before(machine)
    assert machine.run("ls", "/etc/stunwall") == "conf.d\nstunwall.toml\n"
    assert machine.run("ls", "/var/lib/stunwall").startswith("events.db\n")
    print(machine.run(f"{SCRIPTS}/uninstall.sh", "--purge", seconds=300))
    assert_nothing_remains(machine)


@pytest.mark.thorough  # an installation takes minutes of emulation; test_package.py upgrades in a run of everything
@pytest.mark.older
def test_upgraded(lab: MachineLab, machine: Machine) -> None:
    replace_package(lab, machine)
    with under_traffic(lab, machine):
        wait_event(machine, "blocked")
        assert_upgrade_keeps_settings_and_record(machine, lambda: install(machine))

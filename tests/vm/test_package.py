"""stunwall's Debian package on a running system: installed, upgraded, removed and purged."""

import subprocess
from pathlib import Path

import pytest

from vm.early import under_traffic, wait_leak
from vm.machine import Machine
from vm.outside import MachineLab
from vm.package import NEXT
from vm.service import (
    assert_browsers_are_as_before,
    assert_nothing_remains,
    assert_upgrade_keeps_settings_and_record,
    configure,
    kill_for_good,
    ready,
    redirect_into,
    set_a_browser,
    systemctl,
    table_exists,
    wait_event,
)


def install(machine: Machine, deb: str) -> None:
    machine.run("dpkg", "-i", f"/run/checkout/{deb}", seconds=300)


def test_lintian_finds_no_error(deb: Path) -> None:
    command = ["lintian", "--allow-root", "--fail-on", "error", str(deb)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.older
def test_upgrade_of_the_package(lab: MachineLab, machine: Machine) -> None:
    configure(machine, 'on_block = "drop"\n')
    systemctl(machine, "restart")
    with under_traffic(lab, machine):
        wait_event(machine, "blocked")
        assert_upgrade_keeps_settings_and_record(machine, lambda: install(machine, "next.deb"))
        assert machine.run("dpkg-query", "-W", "-f", "${Version}", "stunwall") == NEXT


@pytest.mark.any_kernel
def test_purge_leaves_nothing_and_installation_protects_at_once(lab: MachineLab, machine: Machine) -> None:
    set_a_browser(machine)
    redirect_into(machine, "wg0")
    kill_for_good(machine)  # what it left in the kernel must be removed too
    machine.run("dpkg", "--remove", "stunwall", seconds=300)
    assert not table_exists(machine)
    assert_browsers_are_as_before(machine)
    assert machine.run("ls", "/etc/stunwall") == "conf.d\nstunwall.toml\n"
    machine.run("dpkg", "--purge", "stunwall", seconds=300)
    assert_nothing_remains(machine)
    wait_leak(lab, machine)  # shows that a leak would be seen
    install(machine, "stunwall.deb")
    with under_traffic(lab, machine):
        ready(machine)

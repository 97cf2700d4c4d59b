"""stunwall's Debian package on a running system: installed, upgraded, removed and purged."""

import subprocess
from pathlib import Path

import pytest

from vm.early import under_traffic, wait_leak
from vm.machine import Machine
from vm.outside import MachineLab
from vm.package import NEXT
from vm.service import (
    assert_nothing_remains,
    begun,
    configure,
    kill_for_good,
    ready,
    redirect_into,
    shown,
    status,
    systemctl,
    table_stands,
    wait_event,
)


def test_lintian_finds_no_error(deb: Path) -> None:
    command = ["lintian", "--allow-root", "--fail-on", "error", str(deb)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_upgrade_of_the_package(lab: MachineLab, machine: Machine) -> None:
    configure(machine, 'on_block = "drop"\n')
    systemctl(machine, "restart")
    with under_traffic(lab, machine):
        wait_event(machine, "blocked")
        known = begun(machine)
        before = shown(machine, "MainPID")
        machine.run("dpkg", "-i", "/run/checkout/next.deb", seconds=300)
        ready(machine)
        assert machine.run("dpkg-query", "-W", "-f", "${Version}", "stunwall") == NEXT
        assert shown(machine, "MainPID") != before
        assert status(machine)["daemon"]["on_block"] == "drop"
        assert begun(machine)[: len(known)] == known


@pytest.mark.any_kernel
def test_purged_package_leaves_nothing_and_an_installed_one_seals_at_once(
    lab: MachineLab, machine: Machine
) -> None:
    redirect_into(machine, "wg0")
    kill_for_good(machine)  # what it left has to go too
    machine.run("dpkg", "--remove", "stunwall", seconds=300)
    assert not table_stands(machine)
    assert machine.run("ls", "/etc/stunwall") == "conf.d\nstunwall.toml\n"
    machine.run("dpkg", "--purge", "stunwall", seconds=300)
    assert_nothing_remains(machine)
    wait_leak(lab, machine)  # so the tests here would have seen one
    machine.run("dpkg", "-i", "/run/checkout/stunwall.deb", seconds=300)
    with under_traffic(lab, machine):
        ready(machine)

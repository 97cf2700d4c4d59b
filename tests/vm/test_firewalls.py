"""nftables.service, which flushes all rules: in the forms that distributions have, at boot and later."""

from pathlib import Path

import pytest

from lab.wire import Wire
from vectors.units import FIREWALLS
from vm.boots import Boot, observe
from vm.early import SLOW, under_traffic, wait_leak
from vm.image import Image
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import kill_daemon, ready, systemctl, table_exists
from vm.test_boot import report

FIREWALL = "nftables.service"
FORMS = ("nftables.service of Debian", "nftables.service of Fedora and Arch")
DROP_IN = "/lib/systemd/system/nftables.service.d/stunwall.conf"
RULES = "flush ruleset\ntable inet theirs {\n}\n"
CYCLE = "ordering cycle"


def enable(machine: Machine, form: str) -> None:
    """Has nftables.service, in that form, flush all rules from the next boot on."""
    unit, text = FIREWALLS[form]
    machine.run("tee", f"/etc/systemd/system/{unit}", text=text)
    machine.run("tee", "/etc/nftables.conf", text=RULES)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", unit)


def boot_again(lab: MachineLab, built: Image, checkout: Path, machine: Machine) -> tuple[Boot, str]:
    """Powers the machine off and on again; returns what was seen, and what its journal says."""
    machine.begin_power_off()
    machine.wait_off()
    with (
        Wire(lab) as wire,
        Machine(lab.isp, built, machine.disk, checkout, options="early_stun") as again,
    ):
        boot = observe(lab, again, wire)
        assert "table inet theirs" in again.run("nft", "list", "tables")
        return boot, again.run("journalctl", "-b", "--no-pager", seconds=SLOW)


@pytest.mark.any_kernel
@pytest.mark.parametrize("form", [pytest.param(FORMS[0], marks=pytest.mark.thorough), FORMS[1]])
def test_nothing_leaves_at_a_boot_with_an_nftables_service_that_flushes_all_rules(
    lab: MachineLab, built: Image, checkout: Path, machine: Machine, kernel: str, form: str
) -> None:
    enable(machine, form)
    boot, journal = boot_again(lab, built, checkout, machine)
    report(kernel, f"with {form}", boot)
    assert not boot.leaks
    assert not boot.failed
    assert CYCLE not in journal
    assert boot.timeline["early.service"] < boot.timeline["stunwall-wall.service"]
    assert boot.timeline["stunwall-wall.service"] < boot.timeline["systemd-networkd.service"]


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_without_the_drop_in_stun_leaves_at_such_a_boot(
    lab: MachineLab, built: Image, checkout: Path, machine: Machine, kernel: str
) -> None:
    enable(machine, FORMS[-1])
    machine.run("rm", DROP_IN)
    boot, _ = boot_again(lab, built, checkout, machine)
    report(kernel, "without the drop-in", boot)
    assert boot.leaks


@pytest.mark.any_kernel
def test_nftables_service_loads_the_wall_again_while_the_daemon_is_dead(
    lab: MachineLab, machine: Machine
) -> None:
    enable(machine, FORMS[-1])
    kill_daemon(machine)
    for verb in ("start", "reload", "restart", "stop"):
        systemctl(machine, verb, FIREWALL)
        assert table_exists(machine), verb
        assert ("table inet theirs" in machine.run("nft", "list", "tables")) == (verb != "stop")
    with under_traffic(lab, machine):
        systemctl(machine, "start")
        ready(machine)


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_nftables_service_leaves_alone_a_wall_that_was_removed(lab: MachineLab, machine: Machine) -> None:
    enable(machine, FORMS[-1])
    systemctl(machine, "stop")
    for verb in ("start", "reload", "restart", "stop"):
        systemctl(machine, verb, FIREWALL)
        assert not table_exists(machine), verb
    wait_leak(lab, machine)

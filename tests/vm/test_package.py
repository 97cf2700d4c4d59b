"""stunwall's Debian package on a running system: installed, upgraded, removed and purged."""

from vm.early import SLOW, under_traffic, wait_leak
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import UNIT, configure, log, ready, status, systemctl, table_stands, wait_event


def begun(machine: Machine) -> list[tuple[int, float]]:
    """Number and time of each event in the record; what else an event has may still change."""
    return [(event["id"], event["time"]) for event in log(machine)]


def test_upgrade_of_the_package(lab: MachineLab, machine: Machine) -> None:
    configure(machine, 'on_block = "drop"\n')
    systemctl(machine, "restart")
    with under_traffic(lab, machine):
        wait_event(machine, "blocked")
        known = begun(machine)
        machine.run("dpkg", "-i", "/run/checkout/next.deb", seconds=300)
        ready(machine)
        assert status(machine)["daemon"]["on_block"] == "drop"
        assert begun(machine)[: len(known)] == known


def test_purged_package_leaves_nothing_and_an_installed_one_seals_at_once(
    lab: MachineLab, machine: Machine
) -> None:
    configure(machine, 'mode = "redirect"\n')
    systemctl(machine, "restart")
    machine.run("systemctl", "kill", "-s", "KILL", UNIT)  # what a killed daemon left has to go too
    machine.run("dpkg", "--remove", "stunwall", seconds=300)
    assert not table_stands(machine)
    assert machine.run("ls", "/etc/stunwall") == "conf.d\nstunwall.toml\n"
    machine.run("dpkg", "--purge", "stunwall", seconds=300)
    found = machine.run(
        "sh", "-c", "find / -xdev -name '*stunwall*' -not -path '/sys/*' -not -path '/run/checkout/*' "
        "-not -path '/var/lib/systemd/catalog/*' -not -path '/run/systemd/*'", seconds=SLOW,
    )  # fmt: skip
    assert found == ""
    for family in ("-4", "-6"):
        assert "4780" not in machine.run("ip", family, "rule")
        assert machine.attempt("ip", family, "route", "show", "table", "4780").output == ""
    for database in ("passwd", "group"):
        assert machine.attempt("getent", database, "stunwall").code != 0
    wait_leak(lab, machine)  # so the tests here would have seen one
    machine.run("dpkg", "-i", "/run/checkout/stunwall.deb", seconds=300)
    with under_traffic(lab, machine):
        ready(machine)

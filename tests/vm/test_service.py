"""The service under systemd, with STUN sent all the while: whatever becomes of it, nothing leaves."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.deadline import until
from lab.wire import Wire
from vm.early import PROGRAM, SLOW, wait_round
from vm.machine import Machine
from vm.outside import MachineLab

UNIT = "stunwall.service"
EXPOSURE = 1.5  # of 10, as systemd-analyze counts

# Kills the daemon as soon as it is there, in every stage of its start; every twentieth time it may get ready before.
KILLER = """
last=0
for number in $(seq 100); do
    until pid=$(systemctl show -P MainPID stunwall) && [ "$pid" != 0 ] && [ "$pid" != "$last" ]; do :; done
    if [ $((number % 20)) = 0 ]; then until [ "$(systemctl is-active stunwall)" = active ]; do :; done; fi
    kill -KILL "$pid"
    last=$pid
done
"""


@contextmanager
def under_traffic(lab: MachineLab, machine: Machine) -> Iterator[Wire]:
    """STUN is sent past the VPN all the while; none of it may be seen outside."""
    with Wire(lab) as wire:
        sender = machine.start(PROGRAM)
        try:
            wait_round(machine)
            yield wire
            last = wait_round(machine)
            sender.stop()
            leaks = wire.stun()
            print(f"STUN outside: {len(leaks)} of {len(wire.packets())} packets, {last} rounds of STUN sent")
            assert not leaks
        finally:
            sender.stop()


def status(machine: Machine) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(machine.attempt("stunwall", "status", "--json").output)
    return said


def ready(machine: Machine) -> None:
    until(lambda: status(machine)["daemon"] is not None, SLOW, "the daemon's answer")


def shown(machine: Machine, name: str) -> str:
    return machine.run("systemctl", "show", "-P", name, UNIT).strip()


def table_stands(machine: Machine) -> bool:
    return machine.attempt("nft", "list", "table", "inet", "stunwall").code == 0


def configure(machine: Machine, text: str) -> None:
    machine.run("tee", "/etc/stunwall/conf.d/10-test.toml", text=text)


def test_service_works_locked_down(machine: Machine) -> None:
    said = machine.run("systemd-analyze", "security", "--no-pager", UNIT)
    print(said.strip().splitlines()[-1])
    exposure = re.search(r"Overall exposure level for stunwall.service: ([0-9.]+)", said)
    assert exposure is not None
    assert float(exposure[1]) <= EXPOSURE
    assert shown(machine, "ActiveState") == "active"
    process = machine.run("cat", f"/proc/{shown(machine, 'MainPID')}/status")
    assert re.search(r"^CapEff:\s0000000000003000$", process, re.M), process  # CAP_NET_ADMIN, CAP_NET_RAW
    assert re.search(r"^NoNewPrivs:\s1$", process, re.M)
    assert re.search(r"^Seccomp:\s2$", process, re.M)
    user = machine.run("id", "-u", "stunwall").strip()
    assert re.search(rf"^Uid:\s{user}\s{user}\s", process, re.M)


def test_blocked_packets_are_answered_and_recorded_by_the_locked_down_service(
    lab: MachineLab, machine: Machine
) -> None:
    with under_traffic(lab, machine):
        until(lambda: '"verdict": "blocked"' in log(machine), SLOW, "an event in the record")


def log(machine: Machine) -> str:
    return machine.attempt("stunwall", "log", "--json").output


def test_daemon_killed_a_hundred_times(lab: MachineLab, machine: Machine) -> None:
    machine.run("mkdir", "-p", f"/run/systemd/system/{UNIT}.d")
    machine.run("tee", f"/run/systemd/system/{UNIT}.d/quick.conf", text="[Service]\nRestartSec=100ms\n")
    machine.run("systemctl", "daemon-reload")
    with under_traffic(lab, machine):
        machine.run("sh", "-c", KILLER, seconds=600)
        ready(machine)
        assert int(shown(machine, "NRestarts")) >= 100


def test_daemon_that_hangs_is_replaced_by_the_watchdog(lab: MachineLab, machine: Machine) -> None:
    with under_traffic(lab, machine):
        pid = shown(machine, "MainPID")
        machine.run("kill", "-STOP", pid)
        until(lambda: shown(machine, "MainPID") not in (pid, "0"), SLOW, "another daemon")
        ready(machine)
        assert "watchdog" in machine.run("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").lower()


def test_restart(lab: MachineLab, machine: Machine) -> None:
    with under_traffic(lab, machine):
        for _ in range(3):
            machine.run("systemctl", "restart", UNIT, seconds=SLOW)
            machine.run("systemctl", "restart", "stunwall-wall.service", seconds=SLOW)
        ready(machine)


def test_reload_takes_a_good_configuration_and_refuses_a_bad_one(lab: MachineLab, machine: Machine) -> None:
    with under_traffic(lab, machine):
        configure(machine, 'mode = "redirect"\n')
        machine.run("systemctl", "reload", UNIT, seconds=SLOW)
        assert status(machine)["daemon"]["mode"] == "redirect"
        configure(machine, 'mode = "open"\n')
        assert machine.attempt("systemctl", "reload", UNIT, seconds=SLOW).code != 0
        said = machine.run("journalctl", "-u", UNIT, "-o", "cat", "--no-pager")
        assert "10-test.toml, line 1: mode:" in said
        configure(machine, "")
        assert status(machine)["daemon"]["mode"] == "redirect"


def test_rules_that_are_flushed_come_back_and_the_gap_is_told(lab: MachineLab, machine: Machine) -> None:
    with under_traffic(lab, machine):
        machine.run("true")
    machine.run("nft", "flush", "ruleset")
    until(lambda: bool(status(machine)["daemon"]["gaps"]), SLOW, "the gap to be told")
    (gap,) = status(machine)["daemon"]["gaps"]
    print(f"the gap lasted {(gap['end'] - gap['start']) * 1000:.0f} ms here, by {gap['who']}")
    assert gap["who"].startswith("nft (pid ")
    assert table_stands(machine)
    with under_traffic(lab, machine):
        assert status(machine)["state"] == "sealed"


def test_full_disk_stops_no_blocking_and_loses_nothing(lab: MachineLab, machine: Machine) -> None:
    with under_traffic(lab, machine):
        free = machine.run("df", "--output=avail", "-B1", "/var").split()[1]
        machine.attempt("fallocate", "-l", free, "/var/full")
        machine.attempt("dd", "if=/dev/zero", "of=/var/fuller", "bs=4k")
        until(lambda: status(machine)["state"] == "degraded", SLOW, "the state 'degraded'")
        (problem,) = status(machine)["problems"]
        assert "Make room on the disk" in problem
        machine.run("rm", "/var/full", "/var/fuller")
        until(lambda: status(machine)["state"] == "sealed", SLOW, "the state 'sealed'")
        assert status(machine)["blocked_today"]["lost"] == 0


def test_upgrade_of_the_package(lab: MachineLab, machine: Machine) -> None:
    configure(machine, 'on_block = "drop"\n')
    machine.run("systemctl", "restart", UNIT, seconds=SLOW)
    with under_traffic(lab, machine):
        until(lambda: '"verdict": "blocked"' in log(machine), SLOW, "an event in the record")
        known = log(machine).splitlines()[0]
        machine.run("dpkg", "-i", "/run/checkout/next.deb", seconds=300)
        ready(machine)
        assert status(machine)["daemon"]["on_block"] == "drop"
        assert json.loads(known)["id"] == json.loads(log(machine).splitlines()[0])["id"]


def test_stop_takes_the_wall_down_unless_told_otherwise(lab: MachineLab, machine: Machine) -> None:
    machine.run("systemctl", "stop", UNIT, seconds=SLOW)
    assert not table_stands(machine)
    configure(machine, "leave_wall_on_stop = true\n")
    machine.run("systemctl", "start", UNIT, seconds=SLOW)
    with under_traffic(lab, machine):
        machine.run("systemctl", "stop", UNIT, seconds=SLOW)
        assert table_stands(machine)


def test_purged_package_leaves_nothing_and_the_leak_is_back(lab: MachineLab, machine: Machine) -> None:
    configure(machine, 'mode = "redirect"\n')
    machine.run("systemctl", "restart", UNIT, seconds=SLOW)
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
    with Wire(lab) as wire:
        sender = machine.start(PROGRAM)
        until(lambda: bool(wire.stun()), SLOW, "the leak")  # so the tests above would have seen one
        sender.stop()

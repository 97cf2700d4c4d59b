"""Exceptions by program where systemd makes the cgroups, and the service is locked down."""

import json

import pytest

from lab.deadline import until
from vm.early import SLOW
from vm.machine import Machine
from vm.service import daemon_status, shown

TEMPLATE = "stunwall-lab@1.service"
PATH = f"system.slice/system-stunwall\\x2dlab.slice/{TEMPLATE}"
DEPTH = 2100  # too deep for nft, see lab/test_allow_programs.py
NEST = f"""
import os
os.mkdir("/sys/fs/cgroup/nested")
os.chdir("/sys/fs/cgroup/nested")
for _ in range({DEPTH}):
    os.mkdir("d")
    os.chdir("d")
"""


def cgroups(machine: Machine) -> list[str]:
    """Those that the exception applies to."""
    (exception,) = json.loads(machine.run("stunwall", "allow", "list", "--json"))["allow"]
    return list(exception["cgroups"])


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_a_template_unit_is_found_when_it_starts_and_nested_cgroups_do_not_stop_the_service(
    machine: Machine,
) -> None:
    machine.run("stunwall", "allow", "add", "--unit", TEMPLATE, "--why", "a test")
    assert cgroups(machine) == []
    machine.run("systemd-run", f"--unit={TEMPLATE}", "sleep", "infinity")
    until(lambda: cgroups(machine) == [PATH], SLOW, "the unit to be found")
    pid = shown(machine, "MainPID")
    machine.run("python3", "-c", NEST)
    machine.run("nft", "add", "rule", "inet", "stunwall", "decide", "accept")
    until(lambda: bool((daemon_status(machine) or {}).get("gaps")), SLOW, "the repair of the wall")
    assert shown(machine, "MainPID") == pid
    machine.run("systemctl", "stop", TEMPLATE)
    until(lambda: cgroups(machine) == [], SLOW, "the unit's end to be noticed")

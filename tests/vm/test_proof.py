"""Checks that systemd starts when the VPN comes up, and a service that runs only while STUN is proved to be sealed."""

import re
from collections.abc import Iterator
from functools import partial
from socket import AF_INET
from typing import Any

import pytest

from lab.addresses import CLIENT
from lab.deadline import until
from lab.test_check import limit
from vm.early import SLOW
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import daemon_status, status
from vm.wireguard import WireGuard, configured

pytestmark = pytest.mark.any_kernel

EXPOSURE = 1.5  # of 10, as systemd-analyze counts
CHECK, TARGET, GUARDED = "stunwall-check.service", "stunwall-sealed.target", "guarded.service"
SERVICE = f"""
[Unit]
Requires={TARGET}
After={TARGET}
[Service]
ExecStart=/bin/sleep infinity
"""


@pytest.fixture
def wireguard(lab: MachineLab, machine: Machine) -> Iterator[WireGuard]:
    limit(lab, 0)
    with configured(machine) as wireguard:
        yield wireguard


def proof(machine: Machine) -> dict[str, Any]:
    """What root's status says of it."""
    said: dict[str, Any] = (daemon_status(machine) or {}).get("proof") or {}
    return said


def active(machine: Machine) -> dict[str, str]:
    """The states of what is proved and what needs it."""
    units = (TARGET, GUARDED)
    return {unit: machine.attempt("systemctl", "is-active", unit).output.strip() for unit in units}


def are(machine: Machine, state: str) -> bool:
    return set(active(machine).values()) == {state}


def said(machine: Machine) -> str:
    """What the units said of checks, for who reads the test's output."""
    return machine.run("journalctl", "-o", "cat", "--no-pager", "-u", CHECK, "-u", "stunwall-proof.service")


def test_the_vpn_comes_up_it_is_proved_and_only_then_runs_what_needs_that(
    machine: Machine, wireguard: WireGuard
) -> None:
    for unit in (CHECK, "stunwall-proof.service"):
        analyzed = machine.run("systemd-analyze", "security", "--no-pager", unit).strip().splitlines()[-1]
        print(analyzed)
        exposure = re.search(r"([0-9.]+) ", analyzed.partition(": ")[2])
        assert exposure is not None
        assert float(exposure[1]) <= EXPOSURE
    machine.run("tee", f"/etc/systemd/system/{GUARDED}", text=SERVICE)
    machine.run("systemctl", "daemon-reload")
    machine.run("stunwall", "check", "--every-vpn-up", "on")

    wireguard.up()
    until(lambda: proof(machine).get("verdict"), SLOW, "a check by itself")
    print(machine.attempt("stunwall", "status").output, said(machine))
    assert (proof(machine)["verdict"], proof(machine)["for_all"]) == ("sealed", True)
    assert are(machine, "inactive"), "nobody wants them yet"
    machine.run("systemctl", "start", GUARDED, seconds=SLOW)
    assert are(machine, "active")

    machine.run("stunwall", "allow", "add", "--from", CLIENT[AF_INET], "--why", "a test", seconds=SLOW)
    wireguard.down()
    wireguard.up()
    until(partial(are, machine, "inactive"), SLOW, "the end of what needs a proof")
    found = status(machine)
    assert (found["state"], found["leak_possible"]) == ("leaking", True)
    print(machine.attempt("stunwall", "status").output, said(machine))
    assert machine.attempt("systemctl", "start", GUARDED, seconds=SLOW).code != 0
    assert are(machine, "inactive")

    machine.run("stunwall", "allow", "remove", "1", seconds=SLOW)
    machine.run("systemctl", "start", GUARDED, seconds=SLOW)
    assert are(machine, "active")
    assert status(machine)["state"] == "protected"
    machine.run("systemctl", "stop", "stunwall", seconds=SLOW)
    assert are(machine, "inactive")

"""A system whose IPv6 is disabled by the kernel's command line: stunwall guards IPv4, and says so."""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET

import pytest

from lab.addresses import STUN_SERVER
from vm.boots import wait_network
from vm.early import under_traffic, wait_leak
from vm.image import Image
from vm.machine import Machine, layer
from vm.outside import IPv4Only, MachineLab
from vm.service import UNIT, WALL_UNIT, journal, ready, status, systemctl, wait_event

NOTICE = "IPv6 is not available on this system: stunwall guards IPv4 alone"


@pytest.fixture
def without_ipv6(
    lab: MachineLab, built: Image, deb: Path, kernel: str, checkout: Path, tmp_path: Path
) -> Iterator[Machine]:
    """A machine with stunwall installed, after its first boot."""
    disk = layer(built.with_package(deb), tmp_path / "disk.qcow2")
    with Machine(lab.isp, built, kernel, disk, checkout, options="ipv6.disable=1") as machine:
        lab.machine = machine
        machine.wait_ready()
        wait_network(machine, [AF_INET])
        yield machine


@pytest.mark.any_kernel
def test_ipv4_is_guarded_where_ipv6_is_disabled(lab: MachineLab, without_ipv6: Machine) -> None:
    machine = without_ipv6
    assert machine.attempt("test", "-e", "/proc/net/if_inet6").code != 0
    ready(machine)
    assert machine.run("systemctl", "is-active", UNIT, WALL_UNIT) == "active\nactive\n"
    said = status(machine)
    assert said["daemon"]["ip_versions"] == [4]
    assert said["problems"] == []
    assert NOTICE in machine.run("stunwall", "status")
    assert NOTICE in journal(machine)
    watched = IPv4Only(lab)
    with under_traffic(watched, machine):
        event = wait_event(machine, "blocked")
    print(event)
    assert ip_address(event["destination"]) == ip_address(STUN_SERVER[AF_INET])
    systemctl(machine, "stop")
    wait_leak(watched, machine)

"""A system whose IPv6 is disabled by the kernel's command line: stunwall guards IPv4, and says so."""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6

import pytest

from lab.addresses import STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.deadline import until
from lab.messages import binding_request, reflexive_address
from lab.wgquick import ADDRESS, INTERFACE, Account
from vm.boots import wait_network
from vm.early import SLOW, under_traffic, wait_leak
from vm.image import Image
from vm.machine import Machine, layer
from vm.outside import IPv4Only, MachineLab
from vm.service import UNIT, WALL_UNIT, journal, ready, status, systemctl, wait_event

NOTICE = "IPv6 is not available on this system: stunwall guards only IPv4"


@pytest.fixture
def without_ipv6(
    lab: MachineLab, built: Image, deb: Path, checkout: Path, tmp_path: Path
) -> Iterator[Machine]:
    """A machine with stunwall installed, after its first boot."""
    disk = layer(built.with_package(deb), tmp_path / "disk.qcow2")
    with Machine(lab.isp, built, disk, checkout, options="ipv6.disable=1") as machine:
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
    assert NOTICE in " ".join(machine.run("stunwall", "status").split())
    assert NOTICE in journal(machine)
    watched = IPv4Only(lab)
    with under_traffic(watched, machine):
        event = wait_event(machine, "blocked")
    print(event)
    assert ip_address(event["destination"]) == ip_address(STUN_SERVER[AF_INET])
    assert_vpn_carries_stun(lab, machine)
    systemctl(machine, "stop")
    wait_leak(watched, machine)


def assert_vpn_carries_stun(lab: MachineLab, machine: Machine) -> None:
    """STUN inside WireGuard, which has IPv4 only, is let through."""
    account = Account()
    config = account.config.replace(f", {ADDRESS[AF_INET6]}/128", "").replace(", ::/0", "")
    machine.run("install", "-m", "600", "/dev/stdin", f"/etc/wireguard/{INTERFACE}.conf", text=config)
    machine.run("wg-quick", "up", INTERFACE, seconds=SLOW)
    server = STUN_SERVER[AF_INET], STUN_PORT
    until(
        lambda: reflexive_address(lab.ask(server, binding_request())) == VPN_SERVER[AF_INET],
        SLOW,
        "STUN through the VPN",
    )
    assert status(machine)["state"] == "protected"
    machine.run("wg-quick", "down", INTERFACE, seconds=SLOW)
    account.close()

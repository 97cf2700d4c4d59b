"""VPNs in the kernel: STUN passes through them, and STUN that would bypass them is blocked."""

from collections.abc import Iterator
from socket import AF_INET
from typing import Protocol

import pytest

from lab.addresses import CLIENT, FAMILIES, PHYSICAL, REAL, STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.deadline import until
from lab.messages import binding_request, reflexive_address
from lab.probe import UNBOUND, Binding
from vm.early import SLOW, under_traffic
from vm.image import image
from vm.ipsec import PREFERENCE, Gateway, Tunnel
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import configure, ready, status, systemctl, wait_state
from vm.wireguard import AROUND_RULES, WireGuard, configured

CYCLES = 3
AROUND = {family: Binding(source=CLIENT[family]) for family in FAMILIES}
"""A socket that is bound to the physical address, from which AROUND_RULES lead past the VPN."""


class Vpn(Protocol):
    def up(self) -> None: ...
    def down(self) -> None: ...


@pytest.fixture
def wireguard(lab: MachineLab, machine: Machine) -> Iterator[WireGuard]:
    with configured(machine) as wireguard:
        yield wireguard


@pytest.fixture(scope="session")
def gateway(lab: MachineLab) -> Iterator[Gateway]:
    # Debian 12's for both machines: Debian 13's does not get as far as to listen here.
    gateway = Gateway(lab.server, image("6.1"))
    yield gateway
    gateway.close()


@pytest.fixture
def policies(gateway: Gateway, machine: Machine) -> Tunnel:
    return ipsec(machine, routed=False)


@pytest.fixture
def interface(gateway: Gateway, machine: Machine) -> Tunnel:
    return ipsec(machine, routed=True)


def ipsec(machine: Machine, routed: bool) -> Tunnel:
    tunnel = Tunnel(machine, routed)
    tunnel.configure()
    for rule in AROUND_RULES:
        machine.run(*rule.split(), "pref", str(PREFERENCE // 10))
    return tunnel


def address_seen(lab: MachineLab, family: int, binding: Binding = UNBOUND) -> str | None:
    """The machine's address as the STUN server sees it, or None if it sees nothing."""
    return reflexive_address(lab.ask((STUN_SERVER[family], STUN_PORT), binding_request(), binding))


def wait_passes(lab: MachineLab, family: int, binding: Binding = UNBOUND) -> None:
    until(lambda: address_seen(lab, family, binding) == VPN_SERVER[family], SLOW, "STUN through the VPN")


def assert_leaks_without_stunwall(lab: MachineLab, machine: Machine, vpn: Vpn) -> None:
    systemctl(machine, "stop")
    vpn.up()
    for family in FAMILIES:
        wait_passes(lab, family)
        until(
            lambda family=family: address_seen(lab, family, AROUND[family]) == REAL[family],  # type: ignore[misc]
            SLOW,
            "a leak: without one the test shows nothing",
        )
    vpn.down()
    systemctl(machine, "start")
    ready(machine)


def assert_no_leak_while_it_goes_up_and_down(lab: MachineLab, machine: Machine, vpn: Vpn) -> None:
    with under_traffic(lab, machine):
        for _ in range(CYCLES):
            vpn.up()
            for family in FAMILIES:
                wait_passes(lab, family)
                assert address_seen(lab, family, AROUND[family]) is None
            vpn.down()
            for family in FAMILIES:
                assert address_seen(lab, family) is None


def test_wireguard(lab: MachineLab, machine: Machine, wireguard: WireGuard) -> None:
    assert_leaks_without_stunwall(lab, machine, wireguard)
    assert_no_leak_while_it_goes_up_and_down(lab, machine, wireguard)


def test_redirect_mode_sends_through_wireguard_what_would_bypass_it(
    lab: MachineLab, machine: Machine, wireguard: WireGuard
) -> None:
    configure(machine, 'mode = "redirect"\n')
    systemctl(machine, "reload")
    with under_traffic(lab, machine):
        wireguard.up()
        for family in FAMILIES:
            wait_passes(lab, family, AROUND[family])
            # A socket bound to a device cannot be redirected.
            assert address_seen(lab, family, Binding(device=PHYSICAL)) is None
        wireguard.down()


CONNECT = """
import socket, sys
own = socket.socket()
own.bind((sys.argv[1], 0))
try:
    own.connect((sys.argv[2], int(sys.argv[3])))
    print("connected")
except OSError as error:
    print(type(error).__name__)
"""


def test_a_browsers_connection_around_wireguard_is_refused_though_the_service_sees_no_other_process(
    lab: MachineLab, machine: Machine, wireguard: WireGuard
) -> None:
    machine.run("sh", "-c", 'ln -s "$(readlink -f /usr/bin/python3)" /run/firefox')

    def connects(program: str) -> str:
        arguments = (CLIENT[AF_INET], STUN_SERVER[AF_INET], str(STUN_PORT))
        return machine.run(program, "-c", CONNECT, *arguments, seconds=SLOW).strip()

    ready(machine)
    wireguard.up()
    wait_state(machine, "protected")
    assert connects("/run/firefox") == "ConnectionRefusedError"
    until(lambda: connects("/usr/bin/python3") == "connected", SLOW, "another program's connection")
    wireguard.down()


def test_ipsec_by_policies(lab: MachineLab, machine: Machine, policies: Tunnel) -> None:
    assert_leaks_without_stunwall(lab, machine, policies)
    assert_no_leak_while_it_goes_up_and_down(lab, machine, policies)


@pytest.mark.thorough
def test_ipsec_with_an_interface(lab: MachineLab, machine: Machine, interface: Tunnel) -> None:
    assert_leaks_without_stunwall(lab, machine, interface)
    assert_no_leak_while_it_goes_up_and_down(lab, machine, interface)


@pytest.mark.thorough
@pytest.mark.older
def test_vpn_that_is_up_is_reported(lab: MachineLab, machine: Machine, wireguard: WireGuard) -> None:
    assert status(machine)["state"] == "sealed"
    wireguard.up()
    wait_state(machine, "protected")
    assert status(machine)["state"] == "protected"

"""VRFs, which the kernel that runs the lab may not have: a VPN in one counts, and the device itself is no way out."""

from socket import AF_INET6

import pytest

from lab.addresses import CLIENT, FAMILIES, PHYSICAL, REAL, ROUTER, STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.deadline import until
from lab.messages import binding_request, new_transaction, reflexive_address
from lab.observe import NO_LEAK
from lab.probe import Binding
from lab.wgquick import ADDRESS, INTERFACE, Account
from lab.wire import Wire
from vm.early import SLOW
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import configure, daemon_status, ready, systemctl, wait_state

VRF, TABLE = "red", 77
IN_VRF = Binding(device=VRF)
"""As `ip vrf exec` binds the sockets of a program."""
# Joining a VRF takes the IPv6 addresses and all routes away (Documentation/networking/vrf.rst).
JOIN = f"""
    link set {{0}} master {VRF}
    -6 addr replace {{1}} dev {{0}} nodad
"""


def ip(machine: Machine, script: str) -> None:
    """Runs each line as one `ip` command."""
    for line in filter(None, map(str.split, script.split("\n"))):
        machine.run("ip", *line)


def make_vrf(machine: Machine, qdisc: str = "") -> None:
    # What it has set stays, and it does not set it again.
    machine.run("systemctl", "stop", "systemd-networkd.socket", "systemd-networkd.service", seconds=SLOW)
    ip(machine, f"link add {VRF} type vrf table {TABLE}\nlink set {VRF} up")
    if qdisc:
        machine.run("tc", "qdisc", "add", "dev", VRF, "root", qdisc)


def address_seen(lab: MachineLab, family: int) -> str | None:
    """The address of a program in the VRF as the STUN server sees it, or None if it sees nothing."""
    return reflexive_address(lab.ask((STUN_SERVER[family], STUN_PORT), binding_request(), IN_VRF))


def leaks(lab: MachineLab, family: int) -> bool:
    """Whether the wire shows STUN of a program in the VRF."""
    transaction = new_transaction()
    with Wire(lab) as wire:
        lab.ask((STUN_SERVER[family], STUN_PORT), binding_request(transaction), IN_VRF)
        return bool(wire.leaks(transaction))


def wait_place(machine: Machine, interface: str, counts: bool, inside: bool) -> None:
    """Returns once the interface counts as the VPN, or is inside, as said."""

    def there() -> bool:
        listed = (daemon_status(machine) or {"interfaces": []})["interfaces"]
        return (interface, counts, inside) in [(e["interface"], e["counts"], e["inside"]) for e in listed]

    until(there, SLOW, f"{interface}: VPN {counts}, inside {inside}")


def test_a_vpn_in_a_vrf_counts(lab: MachineLab, machine: Machine) -> None:
    make_vrf(machine)
    account = Account()
    try:
        config = account.config.replace("[Peer]", "Table = off\n[Peer]")
        machine.run("install", "-m", "600", "/dev/stdin", f"/etc/wireguard/{INTERFACE}.conf", text=config)
        machine.run("wg-quick", "up", INTERFACE, seconds=SLOW)
        ip(machine, JOIN.format(INTERFACE, f"{ADDRESS[AF_INET6]}/128"))
        wait_place(machine, INTERFACE, counts=False, inside=False)
        for default in ("0.0.0.0/0", "::/0"):
            ip(machine, f"route add {default} dev {INTERFACE} table {TABLE}")
        wait_state(machine, "protected")
        wait_place(machine, INTERFACE, counts=True, inside=False)
        wait_place(machine, VRF, counts=False, inside=True)
        for family in FAMILIES:
            until(
                lambda family=family: address_seen(lab, family) == VPN_SERVER[family],  # type: ignore[misc]
                SLOW,
                "STUN through the VPN",
            )
    finally:
        account.close()


@pytest.mark.thorough
@pytest.mark.any_kernel
@pytest.mark.parametrize("qdisc", ["", "pfifo"], ids=["without a qdisc", "with a qdisc"])
def test_stun_in_a_vrf_that_leads_out_is_judged_by_the_interface_that_it_takes(
    lab: MachineLab, machine: Machine, qdisc: str
) -> None:
    """With a qdisc of its own, the device sends each packet through it before it routes it (drivers/net/vrf.c)."""
    systemctl(machine, "stop")
    make_vrf(machine, qdisc)
    ip(machine, JOIN.format(PHYSICAL, f"{CLIENT[AF_INET6]}/64"))
    for default, family in zip(("0.0.0.0/0", "::/0"), FAMILIES, strict=True):
        ip(machine, f"route replace {default} via {ROUTER[family]} dev {PHYSICAL} table {TABLE}")
    for family in FAMILIES:
        until(lambda family=family: leaks(lab, family), SLOW, NO_LEAK)  # type: ignore[misc]
    systemctl(machine, "start")
    ready(machine)
    wait_place(machine, VRF, counts=False, inside=True)
    wait_place(machine, PHYSICAL, counts=False, inside=False)
    for family in FAMILIES:
        assert not leaks(lab, family)
    configure(machine, f'[[allow]]\nport = {STUN_PORT}\nwhy = "a test"\n')
    systemctl(machine, "reload")
    for family in FAMILIES:
        assert address_seen(lab, family) == REAL[family]

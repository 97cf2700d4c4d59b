"""Sealed until power is off: a program that sends STUN to the last gets nothing out."""

from lab.frame import Packet
from lab.messages import COOKIE
from lab.wire import Wire
from vm.early import wait_round
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import systemctl


def shut_down(lab: MachineLab, machine: Machine) -> list[Packet]:
    """STUN outside, from the order to shut down until the machine is off."""
    systemctl(machine, "start", "early")  # systemd ends it last of all
    wait_round(machine)
    with Wire(lab) as wire:
        machine.power_off()
    leaks = wire.seen(COOKIE)
    print(f"STUN outside during the shutdown: {len(leaks)} of {len(wire.packets())} packets")
    return leaks


def test_shutdown_leaks_without_stunwall(lab: MachineLab, machine: Machine) -> None:
    systemctl(machine, "stop")
    assert shut_down(lab, machine)


def test_nothing_leaves_during_a_clean_shutdown(lab: MachineLab, machine: Machine) -> None:
    assert not shut_down(lab, machine)
    assert "reboot: Power down" in machine.console

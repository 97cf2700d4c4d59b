"""Protected until power-off: a program that sends STUN until the end of the shutdown leaks nothing."""

from lab.deadline import until
from lab.messages import COOKIE
from lab.wire import Wire
from vm.early import SLOW, UNIT, assert_had_a_way_out, wait_round
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import systemctl

LATE = "Stopped target network.target"
"""What systemd says when all that wants a network has ended; the daemon is being stopped then, too."""


def shut_down(lab: MachineLab, machine: Machine) -> tuple[int, int]:
    """How many STUN packets were outside: from the order to shut down until LATE, and from then until power-off."""
    systemctl(machine, "start", "early")  # systemd ends it last of all
    wait_round(machine, UNIT)
    assert_had_a_way_out(machine, UNIT)
    with Wire(lab) as wire:
        machine.begin_power_off()
        until(lambda: LATE in machine.console or not machine.running, SLOW, LATE)
        sooner = len(wire.seen(COOKIE))
        machine.wait_off()
    later = len(wire.seen(COOKIE)) - sooner
    print(f"STUN outside during the shutdown: {sooner} and {later} of {len(wire.packets())} packets")
    assert LATE in machine.console
    assert "reboot: Power down" in machine.console
    return sooner, later


def test_shutdown_leaks_to_the_end_without_stunwall(lab: MachineLab, machine: Machine) -> None:
    systemctl(machine, "stop")
    assert shut_down(lab, machine)[1] > 0


def test_nothing_leaves_during_a_clean_shutdown(lab: MachineLab, machine: Machine) -> None:
    assert shut_down(lab, machine) == (0, 0)

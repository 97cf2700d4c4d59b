"""A pause ends on time even if the machine sleeps or its clock is changed."""

import time

import pytest

from lab.deadline import until
from lab.messages import COOKIE
from lab.wire import Wire
from vm.early import SLOW, sending, wait_round
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import status, wait_event, wait_state

PAUSE = 30  # seconds, so that the machine sleeps well before it is over
CLOCK = 2  # seconds by which the machine's own may differ: it is set anew from its battery's when it wakes


@pytest.mark.any_kernel
def test_pause_goes_on_while_the_machine_sleeps(lab: MachineLab, machine: Machine) -> None:
    with Wire(lab) as wire, sending(machine):
        machine.run("stunwall", "pause", f"{PAUSE}s")
        end = time.monotonic() + PAUSE + CLOCK
        until(lambda: bool(wire.stun()), SLOW, "STUN, which is free now")
        machine.sleep()
        free = len(wire.seen(COOKIE))
        assert time.monotonic() < end, "it fell asleep too late to show anything: this machine is too slow"
        until(lambda: time.monotonic() > end, PAUSE + CLOCK, "the end of the pause")
        machine.wake()
        wait_round(machine)
        late = wire.stun()[free:]
        print(f"STUN outside: {free} packets in the pause, {len(late)} after it, from the first moment awake")
        assert not late
        assert status(machine)["state"] == "sealed"


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_pause_is_no_longer_when_the_clock_is_set_back(lab: MachineLab, machine: Machine) -> None:
    with Wire(lab) as wire, sending(machine):
        machine.run("stunwall", "pause", f"{PAUSE}s")
        until(lambda: bool(wire.stun()), SLOW, "STUN, which is free now")
        machine.run("date", "--set", "-1 hour")
        wait_state(machine, "sealed")
        wait_event(machine, "resumed")
        free = len(wire.stun())
        wait_round(machine)
        assert len(wire.stun()) == free

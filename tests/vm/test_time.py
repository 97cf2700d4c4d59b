"""A pause ends on time, whatever becomes of the machine's clock."""

import time

from lab.deadline import until
from lab.messages import COOKIE
from lab.wire import Wire
from vm.early import PROGRAM, SLOW, wait_round
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import status, wait_event

PAUSE = 20  # seconds, so that the machine sleeps well before it is over


def test_pause_goes_on_while_the_machine_sleeps(lab: MachineLab, machine: Machine) -> None:
    with Wire(lab) as wire:
        sender = machine.start(PROGRAM)
        machine.run("stunwall", "pause", f"{PAUSE}s")
        end = time.monotonic() + PAUSE
        until(lambda: bool(wire.stun()), SLOW, "STUN, which is free now")
        machine.sleep()
        free = len(wire.seen(COOKIE))
        assert time.monotonic() < end, "it fell asleep too late to show anything"
        until(lambda: time.monotonic() > end, PAUSE, "the end of the pause")
        machine.wake()
        wait_round(machine)
        sender.stop()
        late = wire.stun()[free:]
        print(f"STUN outside: {free} packets in the pause, {len(late)} after it, from the first moment awake")
        assert not late
        assert status(machine)["state"] == "sealed"


def test_pause_is_no_longer_when_the_clock_is_set_back(lab: MachineLab, machine: Machine) -> None:
    with Wire(lab) as wire:
        sender = machine.start(PROGRAM)
        machine.run("stunwall", "pause", "5s")
        machine.run("date", "--set", "-1 hour")
        until(lambda: status(machine)["state"] == "sealed", SLOW, "the end of the pause")
        wait_event(machine, "resumed")
        free = len(wire.stun())
        wait_round(machine)
        sender.stop()
        assert len(wire.stun()) == free

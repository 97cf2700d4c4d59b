"""guest/early.c, which sends STUN for as long as it runs: what it says of its doings."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab.deadline import until
from lab.wire import Wire
from vm.machine import Machine
from vm.outside import MachineLab

PROGRAM = "/usr/local/lib/machine/early"
SLOW = 120  # seconds that something may take in an emulated machine before it counts as never


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the kernel said to one of its senders from a certain moment on."""

    what: str
    """'IPv4 phys0': the IP version, and what the socket is bound to."""
    outcome: str
    """The error's name, or 'sent'."""
    at: float
    """Seconds since the kernel's start."""
    tried: int
    """How many packets it had tried by then."""


def outcomes(machine: Machine) -> list[Outcome]:
    """Since it began, oldest first."""
    return [Outcome(**json.loads(line)) for line in machine.run("cat", "/run/early").splitlines()]


def rounds(machine: Machine) -> int:
    """How often it has sent by each way so far."""
    return int(machine.attempt("cat", "/run/early.rounds").output or 0)


def wait_round(machine: Machine) -> int:
    """Returns when it has sent by each way since the call, and how often altogether."""
    last = rounds(machine)
    until(lambda: rounds(machine) > last + 1, SLOW, "a whole round of STUN to be sent")
    return last


@contextmanager
def under_traffic(lab: MachineLab, machine: Machine) -> Iterator[Wire]:
    """STUN is sent past the VPN all the while; none of it may be seen outside."""
    with Wire(lab) as wire:
        sender = machine.start(PROGRAM)
        try:
            wait_round(machine)
            yield wire
            last = wait_round(machine)
            sender.stop()
            leaks = wire.stun()
            print(f"STUN outside: {len(leaks)} of {len(wire.packets())} packets, {last} rounds of STUN sent")
            assert not leaks
        finally:
            sender.stop()


def wait_leak(lab: MachineLab, machine: Machine) -> None:
    """Returns once STUN was seen outside: what a test asks for before or after stunwall was at work."""
    with Wire(lab) as wire:
        sender = machine.start(PROGRAM)
        try:
            until(lambda: bool(wire.stun()), SLOW, "a leak, without which there is nothing to keep in")
        finally:
            sender.stop()

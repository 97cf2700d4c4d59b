"""Runs guest/early.c, which sends STUN until it is stopped, and reads the outcomes it reports."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab.addresses import PHYSICAL
from lab.deadline import until
from lab.wire import Watched, Wire
from vm.machine import Machine

PROGRAM = "/usr/local/lib/machine/early"
UNIT, HERE = "/run/early", "/run/sender"
"""What the sender of the unit `early` says, and the one that a test has started."""
NO_NETWORK = {"ENETUNREACH", "ENODEV", "ENETDOWN", "EADDRNOTAVAIL"}
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


def outcomes(machine: Machine, sender: str = HERE) -> list[Outcome]:
    """Since it began, oldest first."""
    return [Outcome(**json.loads(line)) for line in machine.run("cat", sender).splitlines()]


def rounds(machine: Machine, sender: str = HERE) -> int:
    """How often it has sent by each way so far."""
    return int(machine.attempt("cat", f"{sender}.rounds").output or 0)


def wait_round(machine: Machine, sender: str = HERE) -> int:
    """Returns once it has sent by each way since the call; the result is the number of rounds before that."""
    last = rounds(machine, sender)
    until(lambda: rounds(machine, sender) > last + 1, SLOW, "a whole round of STUN to be sent")
    return last


@contextmanager
def sending(machine: Machine) -> Iterator[None]:
    """Sends STUN outside the VPN for the duration of the block."""
    machine.run("rm", "-f", HERE, f"{HERE}.rounds")
    sender = machine.start(PROGRAM, HERE)
    try:
        wait_round(machine)
        yield
    finally:
        sender.stop()


@contextmanager
def under_traffic(lab: Watched, machine: Machine) -> Iterator[Wire]:
    """Sends STUN outside the VPN for the duration of the block; none of it may leave the machine."""
    with Wire(lab) as wire:
        with sending(machine):
            yield wire
            last = wait_round(machine)
        leaks = wire.stun()
        print(f"STUN outside: {len(leaks)} of {len(wire.packets())} packets, {last} rounds of STUN sent")
        assert not leaks
    assert_had_a_way_out(machine)


def assert_had_a_way_out(machine: Machine, sender: str = HERE) -> None:
    """The physical interface had a network, so what did not leave was blocked."""
    ways = {outcome.outcome for outcome in outcomes(machine, sender) if outcome.what.endswith(PHYSICAL)}
    assert ways
    assert not ways & NO_NETWORK, f"STUN could not have leaked, as the network was missing: {ways}"


def wait_leak(lab: Watched, machine: Machine) -> None:
    """Returns once STUN leaves the machine: the half of a leak test in which stunwall does not run."""
    with Wire(lab) as wire, sending(machine):
        until(lambda: bool(wire.stun()), SLOW, "a leak: without one the test shows nothing")

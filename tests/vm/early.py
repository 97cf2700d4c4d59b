"""guest/early.c, which sends STUN for as long as it runs: what it says of its doings."""

import json
from dataclasses import dataclass

from lab.deadline import until
from vm.machine import Machine

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

"""Two boots of a machine that sends STUN from its first moment: as Debian made it, and with stunwall installed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from lab.addresses import CLIENT, FAMILIES, STUN_SERVER
from lab.deadline import until
from lab.frame import Packet
from lab.wire import Wire
from vm.early import UNIT, Outcome, outcomes, wait_round
from vm.machine import BOOT_SECONDS, Machine, Snapshot
from vm.outside import MachineLab

UNITS = ("early.service", "stunwall-wall.service", "systemd-networkd.service", "stunwall.service")


@dataclass(frozen=True, slots=True)
class Boot:
    """What was seen of one boot, from power-on until all was started and guest/early.c had sent by every way."""

    leaks: list[Packet]
    """STUN on the wire."""
    packets: list[Packet]
    """All that the machine sent."""
    outcomes: list[Outcome]
    timeline: dict[str, float]
    """Seconds from the kernel's start until each of UNITS was up."""
    failed: str
    """The units that failed."""


@dataclass(frozen=True, slots=True)
class Boots:
    """Both, and the machine after the second one."""

    without: Boot
    protected: Boot
    snapshot: Snapshot

    @classmethod
    def observe(cls, lab: MachineLab, start: Callable[[bool], Machine], memory: Path) -> Self:
        """`start(installed)` powers a machine on, on whose disk stunwall is or is not."""
        with Wire(lab) as wire, start(False) as machine:
            without = observe(lab, machine, wire)
        with Wire(lab) as wire, start(True) as machine:
            protected = observe(lab, machine, wire)
            return cls(without, protected, machine.freeze(memory))


def observe(lab: MachineLab, machine: Machine, wire: Wire) -> Boot:
    """What is seen of the boot of a machine that has just been powered on with `early_stun`."""
    lab.machine = machine
    machine.wait_ready()
    wait_network(machine)
    wait_round(machine, UNIT)
    # The wire settles only without new packets; what it recorded so far stays.
    machine.run("systemctl", "stop", "early")
    return Boot(
        leaks=wire.stun(),
        packets=wire.packets(),
        outcomes=outcomes(machine, UNIT),
        timeline={unit: _up(machine, unit) for unit in UNITS},
        failed=machine.run("systemctl", "--failed", "--plain", "--no-legend"),
    )


def wait_network(machine: Machine, families: Iterable[int] = FAMILIES) -> None:
    """Returns once the machine sends from its own addresses of these families."""
    for family in families:
        address = CLIENT[family]
        until(partial(_sends, machine, address, STUN_SERVER[family]), BOOT_SECONDS, f"{address} to be used")


def _sends(machine: Machine, source: str, target: str) -> bool:
    return f"src {source} " in machine.attempt("ip", "route", "get", target).output


def _up(machine: Machine, unit: str) -> float:
    shown = machine.run("systemctl", "show", "--value", "-p", "ActiveEnterTimestampMonotonic", unit)
    return int(shown) / 1_000_000

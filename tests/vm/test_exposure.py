"""`stunwall exposure` across a reboot: unknown until the wall is loaded, which is before the daemon is started."""

from pathlib import Path

import pytest

from lab.deadline import until
from vm.early import SLOW
from vm.image import Image
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import UNIT, ready


def seconds_at(machine: Machine, unit: str, moment: str) -> float:
    return int(machine.run("systemctl", "show", "-P", f"{moment}TimestampMonotonic", unit)) / 1_000_000


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_a_boot_is_sealed_from_the_wall_on(
    lab: MachineLab, built: Image, checkout: Path, machine: Machine, kernel: str
) -> None:
    machine.begin_power_off()
    machine.wait_off()
    with Machine(lab.isp, built, machine.disk, checkout) as again:
        lab.machine = again
        again.wait_ready()
        ready(again)
        until(lambda: again.channel.call("vm.inside:ledger")[-1][0] == "sealed", SLOW, "the ledger")
        rows = again.channel.call("vm.inside:ledger")
        (known,) = [end for kind, end in rows if kind == "unknown"]
        begun, up = (
            seconds_at(again, "stunwall-wall.service", moment) for moment in ("ExecMainStart", "ExecMainExit")
        )
        daemon = seconds_at(again, UNIT, "ExecMainStart")
        print(
            f"\nLinux {kernel}: unknown until {known:.2f} s; the wall was loaded from {begun:.2f} to {up:.2f} s, "
        )
        print(f"the daemon was started at {daemon:.2f} s; the ledger: {rows}")
        assert begun < known < daemon

"""What AppArmor in the machine says of stunwalld."""

from vm.machine import Machine
from vm.service import shown

PROFILE = "stunwalld"


def confined(machine: Machine) -> str:
    """The profile of the running daemon, and its mode."""
    return machine.run("cat", f"/proc/{shown(machine, 'MainPID')}/attr/current").strip()


def assert_nothing_denied(machine: Machine) -> None:
    """Unless the machine is off: then nobody can be asked."""
    if machine.running:
        denied = denials(machine)
        assert not denied, denied


def denials(machine: Machine) -> list[str]:
    """What the kernel has denied the profile so far."""
    lines = machine.run("dmesg").splitlines()
    return [line for line in lines if 'apparmor="DENIED"' in line and f'profile="{PROFILE}"' in line]

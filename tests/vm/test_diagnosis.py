"""diagnosis.py: what a failed test reports about its machine."""

import pytest

from lab.addresses import PHYSICAL
from lab.deadline import until
from vm.diagnosis import COMMANDS, CONSOLE, describe
from vm.machine import Machine

# What each command has to show of a machine with a working stunwall.
EXPECTED = (
    "Active: active (running)",
    "ActiveState=active",
    "No jobs running",
    "0 loaded units listed",
    "systemd",
    "table inet stunwall",
    PHYSICAL,
    "lookup main",
    "lookup main",
    f"default via 192.168.1.1 dev {PHYSICAL}",
    f"default via 2001:db8:1::1 dev {PHYSICAL}",
)


def write_to_console(machine: Machine, text: str) -> None:
    machine.run("tee", "/dev/console", text=f"{text}\n")
    until(lambda: text in machine.console, 20, "the text on the console")


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_running_machine_is_described_by_every_command_and_its_console(machine: Machine) -> None:
    write_to_console(machine, "a line on the console")
    sections = describe(machine)
    assert [title for title, _ in sections] == [
        *(f"the machine's {command}" for command in COMMANDS),
        CONSOLE,
    ]
    for (title, text), expected in zip(sections, (*EXPECTED, "a line on the console"), strict=True):
        assert expected in text, title


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_machine_that_hangs_or_is_off_is_described_by_one_line_and_its_console(machine: Machine) -> None:
    write_to_console(machine, "a line on the console")
    machine.ask("stop")
    (hung, (title, text)) = describe(machine, seconds=1)
    assert hung[1].startswith("does not answer: TimeoutError(")
    assert title == CONSOLE
    assert "a line on the console" in text
    machine.ask("quit")
    until(lambda: not machine.running, 20, "qemu to end")
    assert describe(machine) == [("the machine", "is powered off"), (CONSOLE, text)]

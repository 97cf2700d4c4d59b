"""The check `daemon`: whether it runs, what it complains of, and whether it does what the configuration says."""

from collections.abc import Iterator
from dataclasses import asdict

from stunwall import __version__
from stunwall.config import FIXED_KEYS
from stunwall.control.client import ask
from stunwall.control.protocol import ControlError, ControlPermissionError, Status
from stunwall.doctor.findings import Finding, ok, problem, unknown, warning
from stunwall.doctor.machine import Machine
from stunwall.hints import NO_DAEMON

# What `status` tells of the configuration in force.
_COMPARED = ("mode", "on_block", "when_vpn_down", "queue", "mark_mask", "allow")


def check(machine: Machine) -> Iterator[Finding]:
    """Ask the daemon for its status, and keep it in `machine`."""
    try:
        daemon = ask(machine.settings.run_dir, {"command": "status"})
    except ControlPermissionError:
        raise
    except ControlError as error:
        yield problem("daemon", str(error), why=NO_DAEMON, next=machine.restart)
        return
    if daemon is None and not machine.readable:
        what = f"nothing answers in {machine.settings.run_dir}; the configuration may name another folder"
        yield unknown("daemon", what, next="see to the configuration first")
    elif daemon is None:
        yield problem("daemon", "it does not run", why=NO_DAEMON, next=machine.start)
    elif "error" in daemon:
        yield unknown("daemon", str(daemon["error"]))
    else:
        machine.daemon = daemon
        yield from _running(machine, daemon)
        if machine.readable:
            yield from _in_force(machine, daemon)


def _running(machine: Machine, daemon: Status) -> Iterator[Finding]:
    if daemon["version"] != __version__:
        yield warning(
            "daemon",
            f"version {daemon['version']} runs, {__version__} is installed",
            why="an upgrade has not taken hold",
            next=machine.restart,
        )
    for text in daemon["problems"]:
        yield problem("daemon", text)
    if daemon["state"] in ("open", "paused"):
        paused = daemon["state"] == "paused"
        yield problem(
            "daemon",
            f"its state is {daemon['state']}",
            why="all STUN passes now",
            next="`sudo stunwall resume`" if paused else 'connect the VPN, or when_vpn_down = "block"',
        )
    if daemon["queue_overruns"]:
        yield warning(
            "daemon",
            f"{daemon['queue_overruns']} packets were more than it could take",
            why="they were blocked, but are not in the record",
            next="look for the program that sends so many: `stunwall log`",
        )
    if not daemon["problems"]:
        yield ok("daemon", f"runs as process {daemon['pid']}, {daemon['state']}")


def _in_force(machine: Machine, daemon: Status) -> Iterator[Finding]:
    """What the configuration says and the daemon does not do."""
    said = asdict(machine.settings) | {"allow": [rule.plain() for rule in machine.settings.allow]}
    differing = [key for key in _COMPARED if said[key] != daemon.get(key, said[key])]
    if differing:
        fixed = any(key in FIXED_KEYS for key in differing)
        yield warning(
            "daemon",
            f"not in force yet: {', '.join(differing)} as the configuration has it",
            why="the daemon still works by what it was before",
            next=machine.restart if fixed else "sudo stunwall reload",
        )

"""The check `daemon`: whether it is running, what problems it reports, and whether its configuration is current."""

from collections.abc import Iterator
from dataclasses import asdict

from stunwall import __version__
from stunwall.config import FIXED_KEYS
from stunwall.control.client import ask
from stunwall.control.protocol import ControlError, ControlPermissionError, Status
from stunwall.doctor.findings import Finding, ok, problem, unknown, warning
from stunwall.doctor.machine import Machine
from stunwall.hints import NO_DAEMON
from stunwall.text import count

# The keys whose values in effect are in the status.
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
        what = f"nothing answers in {machine.settings.run_dir}, but the configuration may set another run_dir"
        yield unknown("daemon", what, next="fix the configuration first")
    elif daemon is None:
        yield problem("daemon", "not running", why=NO_DAEMON, next=machine.start)
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
            f"version {daemon['version']} is running, but {__version__} is installed",
            why="the daemon was not restarted after an upgrade",
            next=machine.restart,
        )
    for text in daemon["problems"]:
        yield problem("daemon", text)
    if daemon["state"] in ("open", "paused"):
        paused = daemon["state"] == "paused"
        yield problem(
            "daemon",
            f"its state is {daemon['state']}",
            why="all STUN can leave, even outside the VPN",
            next="sudo stunwall resume" if paused else 'connect the VPN, or set when_vpn_down = "block"',
        )
    if daemon["queue_overruns"]:
        yield warning(
            "daemon",
            f"unable to keep up with {count(daemon['queue_overruns'], 'packet')}",
            why="they were blocked, but not recorded",
            next="check `stunwall log` for what is sending so many",
        )
    if not daemon["problems"]:
        yield ok("daemon", f"running (pid {daemon['pid']}, {daemon['state']})")


def _in_force(machine: Machine, daemon: Status) -> Iterator[Finding]:
    """Yield what has changed in the configuration, but is not in effect."""
    said = asdict(machine.settings) | {"allow": [rule.plain() for rule in machine.settings.allow]}
    differing = [key for key in _COMPARED if said[key] != daemon.get(key, said[key])]
    if differing:
        fixed = any(key in FIXED_KEYS for key in differing)
        yield warning(
            "daemon",
            f"changes of the configuration are not in effect yet: {', '.join(differing)}",
            why="the daemon still uses the old values",
            next=machine.restart if fixed else "sudo stunwall reload",
        )

"""The check `configuration`: mistakes in it, and values that let STUN out."""

from collections.abc import Iterator

from stunwall.config import Allow, WhenVpnDown
from stunwall.configfile import reader
from stunwall.configfile.errors import ConfigError, ConfigPermissionError
from stunwall.doctor.findings import Finding, ok, problem, warning
from stunwall.doctor.machine import Machine

_NARROW = {4: 8, 6: 16}  # bits: a network with fewer is half the world
_FIRST_USER = 1000  # numbers of people begin there (login.defs(5), UID_MIN)


def check(machine: Machine) -> Iterator[Finding]:
    """Read the configuration into `machine`, and look for what lets STUN out."""
    try:
        machine.settings = reader.load(machine.file)
    except ConfigPermissionError:
        machine.readable = False
        raise
    except ConfigError as error:
        machine.readable = False
        yield problem(
            "configuration",
            str(error),
            why="a daemon that is started with it ends at once; the wall stays shut, and nothing is recorded",
            next="mend it, then `stunwall config check`",
        )
        return
    said = "is fine" if machine.file.exists() else "is not there: the defaults are in force"
    yield ok("configuration", f"{machine.file} {said}")
    if machine.settings.when_vpn_down is WhenVpnDown.ALLOW:
        yield warning(
            "configuration",
            'when_vpn_down = "allow"',
            why="while the VPN reconnects, or fails, pages see the real address",
            next='set it to "block" unless you mean it',
        )
    for number, rule in enumerate(machine.settings.allow, 1):
        if whose := _wide(rule):
            yield warning(
                "configuration",
                f"exception {number} ({rule.why}) holds for {whose}",
                why="whoever is asked by STUN in that way learns the real address",
                next="narrow it with `to`, or with the `unit` of one program",
            )


def _wide(rule: Allow) -> str:
    """Whom an exception lets out that a web page can use, "" if it is narrow."""
    if rule.to is not None and rule.to.prefixlen >= _NARROW[rule.to.version]:
        return ""
    if rule.unit is not None:
        everybody = rule.unit.strip("/").split("/")[0] == "user.slice" and "service" not in rule.unit
        return "every program of who is logged in" if everybody else ""
    if rule.user is not None:
        return "every program of a user, browsers too" if rule.user >= _FIRST_USER else ""
    return "every destination"

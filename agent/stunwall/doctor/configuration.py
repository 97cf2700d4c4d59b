"""The check `configuration`: errors in the configuration, and values that let STUN out."""

from collections.abc import Iterator

from stunwall.config import Allow, WhenVpnDown
from stunwall.configfile import reader
from stunwall.configfile.errors import ConfigError, ConfigPermissionError
from stunwall.doctor.findings import Finding, ok, problem, warning
from stunwall.doctor.machine import Machine

_NARROW = {4: 8, 6: 16}  # by IP version: a network with a shorter prefix counts as wide
_FIRST_USER = 1000  # UID_MIN in login.defs(5): the first user ID of a person


def check(machine: Machine) -> Iterator[Finding]:
    """Read the configuration into `machine`, and warn about values that let STUN out."""
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
            why="stunwalld does not start with it: the wall keeps blocking, but nothing is recorded",
            next="correct it, then run `stunwall config check`",
        )
        return
    said = "is valid" if machine.file.exists() else "does not exist, so the defaults apply"
    yield ok("configuration", f"{machine.file} {said}")
    if machine.settings.when_vpn_down is WhenVpnDown.ALLOW:
        yield warning(
            "configuration",
            'when_vpn_down = "allow"',
            why="while the VPN is down or reconnecting, web pages can see your real address",
            next='set it to "block" unless this is intended',
        )
    for number, rule in enumerate(machine.settings.allow, 1):
        if whose := _wide(rule):
            yield warning(
                "configuration",
                f"exception {number} ({rule.why}) applies to {whose}",
                why="any STUN server that is reached this way learns your real address",
                next="narrow it with `to`, or with the `unit` of a single program",
            )


def _wide(rule: Allow) -> str:
    """Return whom an exception applies to if it is so wide that a web page could exploit it, otherwise ""."""
    if rule.to is not None and rule.to.prefixlen >= _NARROW[rule.to.version]:
        return ""
    if rule.app is not None:
        return ""
    if rule.unit is not None:
        folder, _, name = rule.unit.rpartition("/")
        of_user = rule.user is not None or folder.startswith("user.slice")
        session = name.startswith(("user.", "user-", "user@", "session-"))
        return "every program in a login session" if session or (of_user and name.endswith(".slice")) else ""
    if rule.user is not None:
        return "every program of a user, browsers included" if rule.user >= _FIRST_USER else ""
    return "every destination"

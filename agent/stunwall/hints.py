"""Phrases that several messages share: what is wrong, and what to do next. No I/O."""

from collections.abc import Mapping, Sequence

from stunwall.model import GROUP

_START = "sudo systemctl start stunwall"
_RESTART = "sudo systemctl restart stunwall"
_FOREGROUND = "sudo stunwalld"  # without systemd

# For whoever does not know whether systemd runs the machine.
START = f"`{_START}` (without systemd: `{_FOREGROUND}`)"
RESTART = f"`{_RESTART}`"

NO_DAEMON = "blocked packets are not recorded, and a VPN that comes up is not let through"
LESS_COMPARED = (
    "only the comments of the wall's rules were compared: this process may not make a network namespace "
    "(CAP_SYS_ADMIN), in which it would load them to compare everything"
)
_SHOWN = 3  # changes that a sentence names


def changed(what: Sequence[str]) -> str:
    """Return how the wall is damaged, from the list of differences, for the end of a sentence."""
    return f"it is not as stunwall left it: {shortened(what)}"


def shortened(what: Sequence[str]) -> str:
    """Return a list of differences as a part of a sentence."""
    more = f" and {len(what) - _SHOWN} more" if len(what) > _SHOWN else ""
    return ", ".join(what[:_SHOWN]) + more


def not_found(rule: Mapping[str, object]) -> str:
    """Return why an exception by program, as in JSON, applies to nothing now."""
    if "app" in rule:
        return f"not found: user {rule['user']} runs no application of this ID in a unit of its own"
    if "/" in str(rule["unit"]):
        return "not found: there is no such cgroup"
    if "user" in rule:
        return f"not found: neither the system nor user {rule['user']} runs such a unit"
    return "not found: the system runs no such unit; for a unit of a user, give `user`, too"


def start(systemd: bool) -> str:
    """Return the command that starts the daemon; `systemd` says whether systemd runs the machine."""
    return _START if systemd else _FOREGROUND


def restart(systemd: bool) -> str:
    """Return how to restart the daemon: a command, if a single one does it."""
    return _RESTART if systemd else f"stop stunwalld if it is running, then run `{_FOREGROUND}`"


def then_restart(systemd: bool) -> str:
    """Return the end of a sentence that says to restart the daemon after something else."""
    return f"then run `{_RESTART}`" if systemd else f"then stop stunwalld and run `{_FOREGROUND}`"


def members_only(action: str) -> str:
    """Return why the user may not do something that members of the group may, and how to become one."""
    return (
        f"only root and the group {GROUP} can {action}: use sudo, or join the group with "
        f"`sudo usermod -aG {GROUP} $USER` and log in again"
    )

"""The check `changes`: who may pause stunwall, add exceptions and reload the configuration."""

from collections.abc import Iterator

from stunwall import polkit
from stunwall.doctor.findings import Finding, ok, problem, unknown
from stunwall.doctor.machine import Machine
from stunwall.model import GROUP

_WHAT = "pause stunwall, add exceptions and reload the configuration"


def check(_: Machine) -> Iterator[Finding]:
    """Whether polkit decides, or root and the group alone."""
    try:
        known = polkit.known_actions()
    except polkit.PolkitError as error:
        why = f"members of the group {GROUP} cannot {_WHAT} before polkit answers"
        yield unknown("changes", f"polkit: {error}", why, "systemctl status polkit")
        return
    if known is None:
        yield ok("changes", f"root and members of the group {GROUP} may {_WHAT}: polkit does not run here")
    elif missing := set(polkit.ACTIONS) - known:
        yield problem(
            "changes",
            f"polkit does not know {', '.join(sorted(missing))}",
            f"it refuses members of the group {GROUP} what they want to change",
            "install stunwall again: /usr/share/polkit-1/actions/org.stunwall.policy is missing or damaged",
        )
    else:
        yield ok("changes", f"polkit decides whether members of the group {GROUP} may {_WHAT}")

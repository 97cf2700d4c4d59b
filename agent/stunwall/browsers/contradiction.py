"""An attempt in the record that the browser's own policy forbids: then the policy is not in force."""

from stunwall.browsers import audit
from stunwall.browsers.levels import Level
from stunwall.browsers.machine import Machine

# At these levels a browser sends nothing from a socket that is bound to another route than the default one's.
_ONE_ROUTE = (Level.PUBLIC_AND_PRIVATE, Level.PUBLIC_ONLY)


def contradiction(here: Machine, executable: str, uid: int, udp: bool, bound: bool, time: float) -> str:
    """Return what to say if a policy forbids an attempt, "" if none does, or the policy is newer than the attempt.

    Args:
        here: where the browser is.
        executable: the program that made the attempt, as in the record.
        uid: its user, -1 if not known.
        udp: whether it was UDP.
        bound: whether only a socket that is bound to an address or interface can have sent it.
        time: when it was made last, in Unix seconds.
    """
    row = audit.row_of(here, executable, uid)
    if row is None or row.force.by is None or row.force.sites or audit.newest(row.force) > time:
        return ""
    level = row.force.level
    forbids = (
        level is Level.OFF
        or (level is Level.PROXIED_ONLY and udp)
        or (level in _ONE_ROUTE and bound)
        or (level is Level.RELAY_ONLY and bound)
    )
    if not forbids:
        return ""
    return (
        f"the policy {level} in {row.force.by.place} forbids {row.installed.browser.name} this attempt, so it was not "
        "in force: is it the wrong folder, or was the browser not restarted?"
    )

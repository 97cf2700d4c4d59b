"""The check `second-lock`: whether the second lock is on every way out."""

from collections.abc import Iterator

from stunwall.doctor.findings import Finding, ok, warning
from stunwall.doctor.machine import Machine

_WHY = (
    "STUN leaves while another program flushes all rules, and by packet sockets, macvlan interfaces, bridged machines "
    "and flowtables"
)


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the second lock is up, and complete."""
    if machine.daemon is None:
        yield warning("second-lock", "gone with stunwalld", why=_WHY, next=machine.start)
        return
    said = machine.daemon.get("second_lock") or {
        "state": "missing",
        "why": "stunwalld is of an older version",
    }
    if said["state"] != "up":
        next_ = "use a kernel that has it" if said["state"] == "unsupported" else machine.restart
        yield warning("second-lock", f"{said['state']}: {said['why']}", why=_WHY, next=next_)
    elif said["why"]:
        yield warning("second-lock", f"not on every way out: {said['why']}", why=_WHY)
    else:
        yield ok(
            "second-lock", f"up on {', '.join(said['interfaces']) or 'no interface: there is no way out'}"
        )

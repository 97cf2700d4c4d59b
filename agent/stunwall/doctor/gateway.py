"""The check `gateway`: whether the LAN side of a machine that forwards is known, and connections have room."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from stunwall.doctor.findings import Finding, note, warning
from stunwall.doctor.machine import Machine

_PROC = Path("/proc")
_NEARLY_FULL = 0.9  # of what connection tracking may hold


def check(machine: Machine) -> Iterator[Finding]:
    """Nothing where nothing is wrong: most machines are no gateway."""
    for name in _lan_sides(machine):
        yield note(
            "gateway",
            f"packets are forwarded from {name}, which is not inside",
            why="if it is your LAN: its clients' STUN outside the VPN is blocked, but they are not told, so they wait "
            "for a time-out; and STUN into the LAN is blocked, too",
            next=f'if only machines behind this one are there, set inside = ["{name}"] in the configuration',
        )
    yield from _connections()


def _lan_sides(machine: Machine) -> list[str]:
    """Return the interfaces that look like a LAN side, and are neither the VPN nor inside."""
    known = (machine.daemon or {}).get("interfaces", [])
    others = [each["interface"] for each in known if not each["counts"] and not each.get("inside")]
    networks, ways_out = _routed()
    return [name for name in others if name != "lo" and name in networks - ways_out and _forwards(name)]


def _routed() -> tuple[set[str], set[str]]:
    """Return the interfaces with a network of their own, and those with a default route (proc_net(5))."""
    networks, ways_out = set(), set()
    for line in _lines("net/route")[1:]:
        name, destination, gateway, *_ = line.split()
        if destination == "00000000":
            ways_out.add(name)
        elif gateway == "00000000":
            networks.add(name)
    for line in _lines("net/ipv6_route"):
        destination, length, *_, name = line.split()
        # The kernel has a route of its own for all that is not reachable, by lo.
        if length == "00" and set(destination) == {"0"}:
            ways_out.add(name)
    return networks, ways_out


def _forwards(name: str) -> bool:
    return any("1" in _lines(f"sys/net/{ip}/conf/{name}/forwarding") for ip in ("ipv4", "ipv6"))


def _connections() -> Iterator[Finding]:
    """Nothing unless the kernel tracks connections, and has hardly any room for more."""
    limit, used = (_lines(f"sys/net/netfilter/nf_conntrack_{what}") for what in ("max", "count"))
    if not limit or not used or int(used[0]) < int(limit[0]) * _NEARLY_FULL:
        return
    yield warning(
        "gateway",
        f"connection tracking is nearly full: {int(used[0]):,} of {int(limit[0]):,} connections",
        why="once it is full, the kernel drops new connections before stunwall sees them: STUN does not leave, but it "
        "is neither answered nor recorded",
        next=f"raise the limit, for example `sudo sysctl net.netfilter.nf_conntrack_max={2 * int(limit[0])}`, or find "
        "out who opens so many",
    )


def _lines(file: str) -> list[str]:
    """Return a file's lines, none if the kernel does not have it."""
    with suppress(FileNotFoundError):
        return (_PROC / file).read_text().splitlines()
    return []

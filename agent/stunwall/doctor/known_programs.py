"""Programs that stunwall knows by their tables, chains, interfaces or marks, and what each means for it. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass

from stunwall.doctor.other_rules import Ruleset


@dataclass(frozen=True, slots=True)
class Advice:
    """What it means for stunwall that a program is here, and what to do."""

    why: str
    next: str


@dataclass(frozen=True, slots=True)
class Presence:
    """A program that is here: its name, what it was known by, and what that means."""

    name: str
    seen: str
    advice: Advice


_FORWARDED = Advice(
    "STUN of its containers and machines is blocked outside the VPN like any other, and never redirected; "
    "an exception by `unit` or `user` does not reach it, one by `to` does",
    "nothing to do; where one of them needs STUN: `sudo stunwall allow add --to ADDRESS --port PORT --why ...`",
)
_FIREWALL = Advice(
    "no rule of it can let out what stunwall drops, and its reload leaves stunwall's table alone",
    "nothing to do",
)
_OWN_KILL_SWITCH = Advice(
    "its own firewall drops what is outside its VPN too; both may stand together",
    "nothing to do",
)
OPENSNITCH = Advice(
    "it asks about connections before stunwall sees them; what it allows is blocked all the same where it is STUN",
    "nothing to do; a program that needs STUN outside the VPN needs an exception here: `stunwall allow add --help`",
)
QUEUE_READER = Advice(
    "what leaves needs the leave of both: what it allows is blocked all the same where it is STUN",
    "nothing to do",
)


def _finds_peers(unit: str) -> Advice:
    return Advice(
        "it finds its peers by STUN, outside any other VPN: that is blocked until an [[allow]] lets it",
        f'if you want that: `sudo stunwall allow add --unit {unit} --why "finds its peers by STUN"`',
    )


# A program, and what it is known by: the whole name of a table, or the beginning of another name.
_PROGRAMS = (
    ("Docker", "chain", "DOCKER", _FORWARDED),
    ("Docker", "interface", "docker", _FORWARDED),
    ("Podman", "table", "netavark", _FORWARDED),
    ("Podman", "chain", "NETAVARK", _FORWARDED),
    ("Podman", "interface", "podman", _FORWARDED),
    ("libvirt", "chain", "LIBVIRT", _FORWARDED),
    ("libvirt", "table", "libvirt_network", _FORWARDED),
    ("libvirt", "interface", "virbr", _FORWARDED),
    ("firewalld", "table", "firewalld", _FIREWALL),
    ("ufw", "chain", "ufw-", _FIREWALL),
    ("OpenSnitch", "table", "opensnitch", OPENSNITCH),
    ("OpenSnitch", "chain", "opensnitch", OPENSNITCH),
    ("Mullvad", "table", "mullvad", _OWN_KILL_SWITCH),
    ("Tailscale", "chain", "ts-", _finds_peers("tailscaled.service")),
    ("Tailscale", "interface", "tailscale", _finds_peers("tailscaled.service")),
    ("NetBird", "table", "netbird", _finds_peers("netbird.service")),
    ("NetBird", "interface", "wt", _finds_peers("netbird.service")),
)

# Marks that programs are known by, to name who has a bit of ours.
_MARKS = {
    0xCA6C: "wg-quick",
    0x6D6F6C65: "Mullvad",
    0x80000: "Tailscale",
    0x40000: "Tailscale",
    0x4000: "kube-proxy",
    0x8000: "kube-proxy",
    0x1BD00: "NetBird",
    0x2023: "sing-box",
    0x2024: "sing-box",
}


def present(ruleset: Ruleset, interfaces: Iterable[str]) -> list[Presence]:
    """Return the programs that are known by their tables, chains and interfaces, each once."""
    names = {
        "table": {item["table"]["name"] for item in ruleset if "table" in item},
        "chain": {item["chain"]["name"] for item in ruleset if "chain" in item},
        "interface": set(interfaces),
    }
    found: dict[str, Presence] = {}
    for program, kind, known, advice in _PROGRAMS:
        for name in sorted(names[kind]):
            if name == known or (kind != "table" and name.startswith(known)):
                found.setdefault(program, Presence(program, f"{kind} {name}", advice))
    return list(found.values())


def by_mark(mark: int) -> str:
    """Return who uses such a mark, "" if it is not known."""
    return _MARKS.get(mark, "")

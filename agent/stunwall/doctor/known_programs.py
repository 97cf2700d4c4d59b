"""Recognises programs by their tables, chains, interfaces or marks, and says what each means for stunwall. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass

from stunwall.doctor.other_rules import Ruleset


@dataclass(frozen=True, slots=True)
class Advice:
    """What the presence of a program means for stunwall, and what to do."""

    why: str
    next: str


@dataclass(frozen=True, slots=True)
class Presence:
    """A program that was found: its name, what it was recognised by, and what it means."""

    name: str
    seen: str
    advice: Advice


_FORWARDED = Advice(
    "STUN from its containers or virtual machines is blocked outside the VPN, but never redirected; STUN to them "
    "passes. Exceptions by `unit` or `user` do not apply to what they send; exceptions by `to` and `from` do",
    "nothing to do; if one of them needs STUN: `sudo stunwall allow add --to ADDRESS --port PORT --why ...`; if it "
    "serves others: `sudo stunwall allow add --from ITS-ADDRESS --source-port PORT --why ...`",
)
_FIREWALL = Advice(
    "none of its rules can let out what stunwall drops, and reloading it leaves stunwall's table alone",
    "nothing to do",
)
_OWN_KILL_SWITCH = Advice(
    "its own firewall also drops traffic outside its VPN; the two do not get in each other's way",
    "nothing to do",
)
OPENSNITCH = Advice(
    "it asks you about a connection before stunwall sees it; if that is STUN outside the VPN, stunwall still blocks it",
    "nothing to do; if a program needs STUN outside the VPN, add an exception: see `stunwall allow add --help`",
)
QUEUE_READER = Advice(
    "a packet leaves only if both programs accept it, so stunwall still blocks STUN that the other one accepts",
    "nothing to do",
)


def _finds_peers(unit: str) -> Advice:
    return Advice(
        "it uses STUN outside any other VPN to find its peers, which stunwall blocks unless an exception allows it",
        f'to allow it: `sudo stunwall allow add --unit {unit} --why "finds its peers by STUN"`',
    )


# Program, and what it is recognised by: the full name of a table, or the beginning of another name.
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

# Marks that are typical of a program.
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
    """Return the programs that are recognised by their tables, chains and interfaces, each once."""
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
    """Return the program that typically uses this mark, "" if none is known."""
    return _MARKS.get(mark, "")

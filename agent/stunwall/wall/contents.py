"""What stunwalld puts into the table's sets and chains, as nft statements. No I/O."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from stunwall.config import Allow, Network, mark_bits
from stunwall.model import Address
from stunwall.wall.listing import normal

TABLE = "inet stunwall"
CHECKSUM = "checksum"
_MAPS = ("vpn_address4", "vpn_address6")
_NAMES = ("vpn", "inside")  # sets of interfaces
# A thousand interfaces may be inside, the same ones as before but for one.
_normal = lru_cache(4096)(normal)

Cgroup = tuple[str, int]
"""Its path below the root of the hierarchy, and its number, which is another one after a restart: a rule means the
number that the path had when it was loaded (net/netfilter/nft_socket.c)."""


class Addition(StrEnum):
    """A file that is loaded after stunwall.nft when the configuration needs it, in this order."""

    OUTPUT = "output.nft"
    REDIRECT = "redirect.nft"
    VPN_DOWN = "vpn_down.nft"
    BOUND_TCP = "bound_tcp.nft"


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that stunwalld puts into the table's sets and chains.

    `vpn`, `inside`: names of interfaces. `guard_ports`: ports. `families`: IP versions (4, 6) that can be redirected.
    `addresses`: the VPN's own, as (interface, address). `transport`: (address, UDP port) of the VPN's own
    endpoints. `lan`: (network, interface). `allow`: the exceptions in their order. `cgroups`: those of each exception
    by program. `redirect`: whether flows may be, or have been, redirected. `vpn_down_allowed`: whether stunwalld lets
    STUN out while no VPN is up. `bound_tcp`: whether TCP connections are judged that a socket's binding takes around
    the VPN.
    """

    vpn: frozenset[str]
    guard_ports: frozenset[int]
    families: frozenset[int] = frozenset()
    addresses: frozenset[tuple[str, Address]] = frozenset()
    transport: frozenset[tuple[Address, int]] = frozenset()
    lan: frozenset[tuple[Network, str]] = frozenset()
    allow: tuple[Allow, ...] = ()
    cgroups: Mapping[Allow, tuple[Cgroup, ...]] = field(default_factory=dict)
    inside: frozenset[str] = frozenset()
    redirect: bool = False
    vpn_down_allowed: bool = False
    bound_tcp: bool = False

    @property
    def additions(self) -> frozenset[Addition]:
        """The files that are loaded after stunwall.nft."""
        needed = {
            Addition.OUTPUT: self.redirect or any(rule.by_program for rule in self.allow),
            Addition.REDIRECT: self.redirect,
            Addition.VPN_DOWN: self.vpn_down_allowed,
            Addition.BOUND_TCP: self.bound_tcp,
        }
        return frozenset(addition for addition, is_needed in needed.items() if is_needed)


def marks(mask: int) -> dict[str, int]:
    """Return the values of the files' definitions, by their names, for a mask of two mark bits."""
    redirected, passed = mark_bits(mask)
    return {
        "redirected": redirected,
        "passed": passed,
        "both": mask,
        "others": mask ^ 0xFFFFFFFF,
        "unredirected": redirected ^ 0xFFFFFFFF,
    }


def elements(contents: Contents) -> dict[str, list[str]]:
    """Return the elements of every set that stunwalld fills, by its name."""
    networks = {4: "lan4", 6: "lan6"}
    by_program = any(rule.by_program for rule in contents.allow)
    sets: dict[str, list[str]] = {
        "vpn": [f'"{name}"' for name in contents.vpn],
        "inside": [f'"{name}"' for name in contents.inside],
        "guard_ports": [str(port) for port in contents.guard_ports],
        "by_program": ["ipv4", "ipv6"] if by_program else [],
        "lan4": [],
        "lan6": [],
        "vpn_transport4": [],
        "vpn_transport6": [],
    }
    for network, interface in contents.lan:
        sets[networks[network.version]].append(f'{network} . "{interface}"')
    for address, port in contents.transport:
        sets[f"vpn_transport{address.version}"].append(f"{address} . {port}")
    if contents.bound_tcp:
        sets["carried"] = [f"ipv{version}" for version in {own.version for _, own in contents.addresses}]
    if not contents.redirect:
        return sets
    sets["redirectable"] = [f"ipv{version}" for version in contents.families]
    maps: dict[str, list[str]] = {name: [] for name in _MAPS}
    for interface, own in contents.addresses:
        maps[f"vpn_address{own.version}"].append(f'"{interface}" : {own}')
    return sets | maps


def fill_sets(contents: Contents, before: Contents | None = None) -> str:
    """Return the statements that replace the elements of every set and map, and their checksum.

    `before`: what they hold, if that is known. Then only what is another now is replaced; a machine may have a thousand
    interfaces that are inside.
    """
    filled, known = elements(contents), {} if before is None else elements(before)
    filled[CHECKSUM] = [f"{checksum(filled):#010x}"]
    text = ""
    for name, some in filled.items():
        new, gone = set(some), set(known.get(name, ()))
        if name in known and name in _NAMES:
            text += _elements("delete", name, gone - new) + _elements("add", name, new - gone)
        elif name not in known or new != gone:
            kind = "map" if name in _MAPS else "set"
            text += f"flush {kind} {TABLE} {name}\n" + _elements("add", name, new)
    return text


def _elements(verb: str, name: str, some: Iterable[str]) -> str:
    listed = ", ".join(sorted(some))
    return f"{verb} element {TABLE} {name} {{ {listed} }}\n" if listed else ""


def checksum(filled: Mapping[str, Iterable[str]]) -> int:
    """Return the checksum of the elements that stunwalld put into its sets, by the names of the sets.

    The set `checksum` holds it, so that a process that does not know what belongs in the sets sees whether another
    program has changed them. It leaves out `guard_ports`, to which loading the file again adds the default ports.
    """
    lines = (
        f"{name} {element}\n"
        for name in sorted(filled.keys() - {"guard_ports", CHECKSUM})
        for element in sorted(map(_normal, filled[name]))
    )
    return zlib.crc32("".join(lines).encode(errors="surrogateescape"))


def fill_exceptions(contents: Contents, mask: int) -> str:
    """Return the statements that replace the rules of the exceptions."""
    asked = Addition.OUTPUT in contents.additions
    text = "".join(
        f"flush chain {TABLE} {chain}\n" for chain in ("allow_rules", *(("allow_programs",) if asked else ()))
    )
    permit = f"meta mark set meta mark | {mark_bits(mask)[1]:#010x} accept"
    for number, rule in enumerate(contents.allow, 1):
        conditions = _conditions(rule)
        comment = f'comment "allow {number}"'
        if not rule.by_program:
            text += f"add rule {TABLE} allow_rules {conditions} counter goto pass {comment}\n"
        elif asked:
            for path, _ in contents.cgroups.get(rule, ()):
                cgroup = f'socket cgroupv2 level {path.count("/") + 1} "{path}"'
                text += f"add rule {TABLE} allow_programs {cgroup} {conditions} counter {permit} {comment}\n"
    return text


def _conditions(rule: Allow) -> str:
    parts = []
    if rule.until is not None:  # the kernel ends it, with or without the daemon
        parts.append(f"meta time < {rule.until}")
    if rule.to is not None:
        parts.append(f"{'ip' if rule.to.version == 4 else 'ip6'} daddr {rule.to}")
    if rule.source is not None:
        parts.append(f"{'ip' if rule.source.version == 4 else 'ip6'} saddr {rule.source}")
    ports = [("sport", rule.source_port), ("dport", rule.port)]
    matches = [f"th {side} {port}" for side, port in ports if port is not None]
    if rule.protocol is not None:
        parts.append(f"meta l4proto {rule.protocol.value}")
    elif matches:
        parts.append("meta l4proto { udp, tcp }")
    parts += matches
    if rule.user is not None:
        parts.append(f"meta skuid {rule.user}")
    if rule.interface is not None:
        parts.append(f'oifname "{rule.interface}"')
    return " ".join(parts)

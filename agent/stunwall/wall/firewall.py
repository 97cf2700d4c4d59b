"""The wall in the kernel: load it, fill its sets, open and close its door, read it, remove it (nftables)."""

import json
import os
import re
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from pathlib import Path
from shutil import which
from typing import Any

from stunwall.config import Allow, Network
from stunwall.model import Address, StunwallError
from stunwall.wall import requirements

TABLE = "inet stunwall"
_NFPROTO_INET = 1  # linux/netfilter.h
_NFT_TIMEOUT = 10  # seconds; a transaction takes milliseconds
# The chains that lead to stunwalld, and the beginning of the comment of the rule that counts there.
DOORS = {"listener": "to stunwalld on queue", "redirector": "output: to stunwalld on queue"}
# What stunwalld puts rules into; the others must be as in the file.
_FILLED_CHAINS = frozenset({*DOORS, "allowed", "programs"})
SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"


class FirewallError(StunwallError):
    """The wall could not be changed or read; the text names the cause and a cure."""


class FirewallRightsError(FirewallError):
    """Reading or changing the kernel's rules needs rights that this process lacks."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as loaded: its comment, what it ends in, and its counter, if it has one."""

    chain: str
    comment: str
    packets: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Wall:
    """The wall as the kernel has it: `counters` in packets; `queue` is None while the door is shut.

    `paused`: the seconds that are left of a pause.
    """

    rules: tuple[Rule, ...]
    sets: dict[str, tuple[str | int, ...]]
    counters: dict[str, int]
    queue: int | None
    paused: int = 0

    @property
    def whole(self) -> bool:
        """Whether every rule of the file is there, in its place."""
        loaded = [(rule.chain, rule.comment) for rule in self.rules if rule.chain not in _FILLED_CHAINS]
        # Chain by chain: an upgrade adds new chains behind the old ones. sorted() keeps the order in each.
        by_chain = itemgetter(0)
        return sorted(loaded, key=by_chain) == sorted(expected(rules()), key=by_chain)


@cache
def rules() -> str:
    """Return the text of stunwall.nft, read once: an upgrade may change the file under a daemon that still runs."""
    return rules_file().read_text()


def rules_file() -> Path:
    """Return where stunwall.nft is: in the installed package, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "rules" / "stunwall.nft"
    return installed if installed.exists() else package.parents[1] / "rules" / "stunwall.nft"


def expected(text: str) -> list[tuple[str, str]]:
    """Return (chain, comment) of each rule in the text of stunwall.nft, in order."""
    found: list[tuple[str, str]] = []
    chain = ""
    for line in text.splitlines():
        if match := re.match(r"\s*chain (\w+) \{", line):
            chain = match[1]
        elif (match := re.search(r' comment "([^"]*)"$', line)) and not line.lstrip().startswith("#"):
            found.append((chain, match[1]))
    return found


@dataclass(frozen=True, slots=True)
class Contents:
    """All that stunwalld puts into the wall's sets and chains.

    `families`: the IP versions (4, 6) that can be redirected. `addresses`: (interface, address) that redirected
    flows get. `transport`: the VPN's own endpoints. `lan`:
    (network, interface). `allow`: the exceptions in their order; `cgroups`: (path, number) of the units in them.
    """

    vpn: frozenset[str]
    guard_ports: frozenset[int]
    families: frozenset[int] = frozenset()
    addresses: frozenset[tuple[str, Address]] = frozenset()
    transport: frozenset[tuple[Address, int]] = frozenset()
    lan: frozenset[tuple[Network, str]] = frozenset()
    allow: tuple[Allow, ...] = ()
    cgroups: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def load(contents: Contents, mask: int) -> None:
    """Put the whole wall in place, filled, its door shut, in one transaction; `mask` has two mark bits.

    Raises FirewallError, which names the kernel piece that is missing.
    """
    try:
        _nft(
            "-f",
            "-",
            text=_marked(rules(), mask) + _sets(contents) + _allowed(contents, mask),
        )
    except FirewallRightsError:
        raise
    except FirewallError as error:
        lacking = requirements.missing(refused)
        raise (FirewallError(lacking) if lacking else error) from error


def fill(contents: Contents, mask: int, before: Contents | None) -> None:
    """Replace what is in the sets and chains, in one transaction; `before` is what the wall holds, if known.

    Exceptions that stay the same keep their counters.
    """
    same = before is not None and (before.allow, before.cgroups) == (contents.allow, contents.cgroups)
    _nft("-f", "-", text=_sets(contents) + ("" if same else _allowed(contents, mask)))


def pause(seconds: int, now: int) -> None:
    """Let all STUN pass for so many seconds from `now` (Unix seconds), or stop that with 0 seconds."""
    text = f"flush set {TABLE} paused\n"
    if seconds:
        # From a second ago, so that no rounding delays it.
        text += f"add element {TABLE} paused {{ {now - 1}-{now + seconds} timeout {seconds}s }}\n"
    _nft("-f", "-", text=text)


def open_door(queue: int) -> None:
    """Put the queue rules in front of the drop. Without a listener on `queue` they drop all the same.

    Native `queue` where the kernel has it, else the xtables target NFQUEUE. Raises FirewallError.
    """
    # The counting rule names the queue, as the fallback's rule cannot be read back by nft.
    counted = "".join(
        f'flush chain {TABLE} {chain}\nadd rule {TABLE} {chain} counter comment "{comment} {queue}"\n'
        for chain, comment in DOORS.items()
    )
    queued = "".join(f"add rule {TABLE} {chain} queue to {queue}\n" for chain in DOORS)
    try:
        _nft("-f", "-", text=counted + queued)
    except FirewallRightsError:
        raise
    except FirewallError as native:
        _nft("-f", "-", text=counted)
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            _open_door_by_target(queue)
        except (NetlinkError, OSError) as error:
            raise FirewallError(
                "the kernel has no way to hand packets to a program: neither nftables' `queue` "
                f"(CONFIG_NFT_QUEUE, module nft_queue: {native}) nor the xtables target NFQUEUE "
                f"(CONFIG_NETFILTER_XT_TARGET_NFQUEUE and CONFIG_NFT_COMPAT, modules xt_NFQUEUE and "
                f"nft_compat: {error}). Load one of them with modprobe; some distributions ship them in an "
                "extra package (Ubuntu: linux-modules-extra-$(uname -r))"
            ) from error


def close_door() -> None:
    """Take the queue rules out: what is not for the VPN is dropped in the kernel."""
    _nft("-f", "-", text="".join(f"flush chain {TABLE} {chain}\n" for chain in DOORS))


def remove() -> None:
    """Remove the table and all that is in it; no error if it is not there."""
    _nft("-f", "-", text=f"add table {TABLE}\ndelete table {TABLE}\n")


def read() -> Wall | None:
    """Return the wall as loaded, None if there is no such table. Raises FirewallError."""
    try:
        listing = json.loads(_nft("-j", "list", "table", *TABLE.split()))["nftables"]
    except FirewallRightsError:
        raise
    except FirewallError as error:
        if "No such file or directory" in str(error):
            return None
        raise
    counters = {item["counter"]["name"]: item["counter"] for item in listing if "counter" in item}
    rules = [item["rule"] for item in listing if "rule" in item]
    return Wall(
        rules=tuple(_rule(rule, counters) for rule in rules),
        sets={item["set"]["name"]: _elements(item["set"]) for item in listing if "set" in item},
        counters={name: int(counter["packets"]) for name, counter in counters.items()},
        paused=next((_expires(item["set"]) for item in listing if _is_set(item, "paused")), 0),
        queue=_queue([rule for rule in rules if rule["chain"] == "listener"]),
    )


def ruleset() -> list[dict[str, Any]]:
    """Return all rules of the machine, as libnftables-json(5) has them. Raises FirewallError."""
    found: list[dict[str, Any]] = json.loads(_nft("-j", "list", "ruleset"))["nftables"]
    return found


def listing() -> str:
    """Return the table as `nft list` prints it."""
    return _nft("list", "table", *TABLE.split())


def _marked(text: str, mask: int) -> str:
    """Return the rules with the two bits of `mask` for the mark."""
    redirected, permitted = mark_bits(mask)
    bits = {
        "redirected": redirected,
        "permitted": permitted,
        "both": mask,
        "behind": mask | 1,
        "others": mask ^ 0xFFFFFFFF,
        "unpermitted": permitted ^ 0xFFFFFFFF,
    }
    for name, value in bits.items():
        text = re.sub(rf"^define {name} = \w+$", f"define {name} = {value:#010x}", text, flags=re.MULTILINE)
    return text


def mark_bits(mask: int) -> tuple[int, int]:
    """Return the bits `redirected` and `permitted` of a mask that has two: the lower and the higher one."""
    low = mask & -mask
    return low, mask ^ low


def _sets(contents: Contents) -> str:
    networks = {4: "lan4", 6: "lan6"}
    units = any(rule.unit for rule in contents.allow)
    sets: dict[str, list[str]] = {
        "vpn": [f'"{name}"' for name in contents.vpn],
        "guard_ports": [str(port) for port in contents.guard_ports],
        "redirectable": [f"ipv{version}" for version in contents.families],
        "by_program": ["ipv4", "ipv6"] if units else [],
        "lan4": [],
        "lan6": [],
        "vpn_transport4": [],
        "vpn_transport6": [],
    }
    for network, interface in contents.lan:
        sets[networks[network.version]].append(f'{network} . "{interface}"')
    for address, port in contents.transport:
        sets[f"vpn_transport{address.version}"].append(f"{address} . {port}")
    maps: dict[str, list[str]] = {"vpn_address4": [], "vpn_address6": []}
    for interface, own in contents.addresses:
        maps[f"vpn_address{own.version}"].append(f'"{interface}" : {own}')
    text = "".join(f"flush set {TABLE} {name}\n" for name in sets)
    text += "".join(f"flush map {TABLE} {name}\n" for name in maps)
    for name, elements in (sets | maps).items():
        if elements:
            text += f"add element {TABLE} {name} {{ {', '.join(sorted(elements))} }}\n"
    return text


def _allowed(contents: Contents, mask: int) -> str:
    text = f"flush chain {TABLE} allowed\nflush chain {TABLE} programs\n"
    permit = f"ct mark set ct mark | {mark_bits(mask)[1]:#010x}"
    for number, rule in enumerate(contents.allow, 1):
        conditions = _conditions(rule)
        comment = f'comment "allow {number}"'
        if rule.unit is None:
            text += f"add rule {TABLE} allowed {conditions} counter accept {comment}\n"
        elif rule.unit in contents.cgroups:  # else it does not run
            path, _ = contents.cgroups[rule.unit]
            level = path.count("/") + 1
            cgroup = f'socket cgroupv2 level {level} "{path}"'
            text += f"add rule {TABLE} programs {cgroup} {conditions} counter {permit} {comment}\n"
    return text


def _conditions(rule: Allow) -> str:
    parts = []
    if rule.to is not None:
        parts.append(f"{'ip' if rule.to.version == 4 else 'ip6'} daddr {rule.to}")
    if rule.port is not None:
        protocols = rule.protocol.value if rule.protocol else "{ udp, tcp }"
        parts.append(f"meta l4proto {protocols} th dport {rule.port}")
    elif rule.protocol is not None:
        parts.append(f"meta l4proto {rule.protocol.value}")
    if rule.user is not None:
        parts.append(f"meta skuid {rule.user}")
    if rule.interface is not None:
        parts.append(f'oifname "{rule.interface}"')
    return " ".join(parts)


def _open_door_by_target(queue: int) -> None:
    from pyroute2.nftables.main import NFTables  # only kernels without NFT_QUEUE need it

    # linux/netfilter/xt_NFQUEUE.h, struct xt_NFQ_info_v3: queue, number of queues, flags; padded to 8 bytes
    info = struct.pack("=HHHxx", queue, 1, 0)
    target = [
        ("NFTA_TARGET_NAME", "NFQUEUE"),
        ("NFTA_TARGET_REV", 3),
        ("NFTA_TARGET_INFO", info),
    ]
    expression = {"attrs": [("NFTA_EXPR_NAME", "target"), ("NFTA_EXPR_DATA", {"attrs": target})]}
    with NFTables(nfgen_family=_NFPROTO_INET) as netlink:
        for chain in DOORS:
            netlink.rule("add", table="stunwall", chain=chain, expressions=[[expression]])


def _rule(rule: dict[str, Any], counters: dict[str, dict[str, Any]]) -> Rule:
    counter = next((e["counter"] for e in rule["expr"] if "counter" in e), None)
    if isinstance(counter, str):
        counter = counters[counter]
    packets, size = (counter["packets"], counter["bytes"]) if counter else (None, None)
    return Rule(rule["chain"], rule.get("comment", ""), packets, size)


def _elements(found: dict[str, Any]) -> tuple[str | int, ...]:
    return tuple(_element(element) for element in found.get("elem", ()))


def _element(element: Any) -> str | int:  # noqa: ANN401 - as nft's JSON has it (libnftables-json(5))
    match element:
        case {"concat": parts}:
            return " . ".join(str(_element(part)) for part in parts)
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{_element(first)}-{_element(last)}"
        case {"elem": {"val": value}}:
            return _element(value)
        case int():
            return element
    return str(element)


def _is_set(item: dict[str, Any], name: str) -> bool:
    return "set" in item and item["set"]["name"] == name


def _expires(found: dict[str, Any]) -> int:
    elements = (element["elem"] for element in found.get("elem", ()) if isinstance(element, dict))
    return max((int(element.get("expires", 0)) for element in elements), default=0)


def _queue(listener: list[dict[str, Any]]) -> int | None:
    if not any("queue" in e or "xt" in e for rule in listener for e in rule["expr"]):
        return None
    numbers = (re.fullmatch(rf"{DOORS['listener']} (\d+)", rule.get("comment", "")) for rule in listener)
    return next((int(number[1]) for number in numbers if number), None)


def refused(text: str) -> str | None:
    """Try a ruleset without loading it; return what nft said against it, None if nothing."""
    try:
        _nft("--check", "-f", "-", text=text)
    except FirewallError as error:
        return str(error)
    return None


def _nft(*arguments: str, text: str | None = None) -> str:
    """Run nft once, `text` as its input; return what it printed. Raises FirewallError with its complaint."""
    program = which("nft", path=f"{os.environ.get('PATH', '')}:{SBIN}")
    if program is None:
        raise FirewallError("the program nft is missing: install the package nftables")
    try:
        # In a process group of its own: Ctrl-C is for the daemon, which then still needs nft.
        done = subprocess.run(
            [program, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=_NFT_TIMEOUT,
            check=False,
            process_group=0,
        )
    except subprocess.TimeoutExpired as error:
        raise FirewallError(
            f"nft did not finish within {_NFT_TIMEOUT} s; is the machine overloaded?"
        ) from error
    if done.returncode == 0:
        return done.stdout
    complaint = " ".join(done.stderr.split("\n", 1)[0].split())
    if "Operation not permitted" in done.stderr:
        raise FirewallRightsError("the kernel's rules are open to root only (CAP_NET_ADMIN): try with sudo")
    raise FirewallError(complaint or f"nft exited with {done.returncode}")

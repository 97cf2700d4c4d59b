"""The wall in the kernel: load it, fill its sets, open and close its door, read it, remove it (nftables)."""

import json
import os
import re
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

from stunwall.model import StunwallError

TABLE = "inet stunwall"
_NFPROTO_INET = 1  # linux/netfilter.h
_NFT_TIMEOUT = 10  # seconds; a transaction takes milliseconds
_DOOR = "to stunwalld on queue"
_SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"

# What each kernel piece is tried with (`nft --check`, which changes nothing) and how to get it.
_PIECES = (
    ("nftables", "add table inet stunwall_probe", "CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET", "nf_tables"),
    ("matching the payload of TCP (@ih)", "@ih,32,32 0", "Linux 5.16 or newer", "nf_tables"),
    ("connection tracking in nftables", "ct direction reply", "CONFIG_NFT_CT", "nft_ct"),
    ("rate limits in nftables", "limit rate 1/second", "CONFIG_NFT_LIMIT", "nft_limit"),
)


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
    """The wall as the kernel has it: `counters` in packets; `queue` is None while the door is shut."""

    rules: tuple[Rule, ...]
    sets: dict[str, tuple[str | int, ...]]
    counters: dict[str, int]
    queue: int | None

    @property
    def whole(self) -> bool:
        """Whether every rule of the file is there, in its place."""
        loaded = [(rule.chain, rule.comment) for rule in self.rules if rule.chain != "listener"]
        return loaded == expected(rules_file().read_text())


def rules_file() -> Path:
    """Return where stunwall.nft is: in the installed package, else in the checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "rules" / "stunwall.nft"
    return installed if installed.exists() else here.parents[1] / "rules" / "stunwall.nft"


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


def load(vpn: Iterable[str], guard_ports: Iterable[int]) -> None:
    """Put the whole wall in place, its sets filled, the door closed, in one transaction.

    Raises FirewallError, which names the kernel piece that is missing.
    """
    text = (
        rules_file().read_text()
        + _filled("vpn", map(_quoted, vpn))
        + _filled("guard_ports", map(str, guard_ports))
    )
    try:
        _nft("-f", "-", text=text)
    except FirewallRightsError:
        raise
    except FirewallError as error:
        raise _missing_piece() or error from error


def fill_vpn(names: Iterable[str]) -> None:
    """Replace the content of the set `vpn`, in one transaction."""
    _nft("-f", "-", text=_filled("vpn", map(_quoted, names)))


def open_door(queue: int) -> None:
    """Put the queue rule in front of the drop. Without a listener on `queue` it drops all the same.

    Native `queue` where the kernel has it, else the xtables target NFQUEUE. Raises FirewallError.
    """
    # The counting rule names the queue, as the fallback's rule cannot be read back by nft.
    shut = f"flush chain {TABLE} listener\n"
    counted = f'add rule {TABLE} listener counter comment "{_DOOR} {queue}"\n'
    try:
        _nft("-f", "-", text=f"{shut}{counted}add rule {TABLE} listener queue to {queue}\n")
    except FirewallRightsError:
        raise
    except FirewallError as native:
        _nft("-f", "-", text=shut + counted)
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
    """Take the queue rule out: what is not for the VPN is dropped in the kernel."""
    _nft("-f", "-", text=f"flush chain {TABLE} listener\n")


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
        queue=_queue([rule for rule in rules if rule["chain"] == "listener"]),
    )


def listing() -> str:
    """Return the table as `nft list` prints it."""
    return _nft("list", "table", *TABLE.split())


def _filled(name: str, elements: Iterable[str]) -> str:
    text = f"flush set {TABLE} {name}\n"
    joined = ", ".join(sorted(elements))
    return text + (f"add element {TABLE} {name} {{ {joined} }}\n" if joined else "")


def _quoted(interface: str) -> str:
    # vpn.py lets no name through that has a quote or a glob in it.
    return f'"{interface}"'


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
        netlink.rule("add", table="stunwall", chain="listener", expressions=[[expression]])


def _rule(rule: dict[str, Any], counters: dict[str, dict[str, Any]]) -> Rule:
    counter = next((e["counter"] for e in rule["expr"] if "counter" in e), None)
    if isinstance(counter, str):
        counter = counters[counter]
    packets, size = (counter["packets"], counter["bytes"]) if counter else (None, None)
    return Rule(rule["chain"], rule.get("comment", ""), packets, size)


def _elements(found: dict[str, Any]) -> tuple[str | int, ...]:
    return tuple(e for e in found.get("elem", ()) if isinstance(e, str | int))


def _queue(listener: list[dict[str, Any]]) -> int | None:
    if not any("queue" in e or "xt" in e for rule in listener for e in rule["expr"]):
        return None
    numbers = (re.fullmatch(rf"{_DOOR} (\d+)", rule.get("comment", "")) for rule in listener)
    return next((int(number[1]) for number in numbers if number), None)


def _missing_piece() -> FirewallError | None:
    """Return an error that names the first kernel piece that is not there, None if all are."""
    for name, rule, option, module in _PIECES:
        text = rule
        if not rule.startswith("add "):
            text = f"table inet stunwall_probe {{\nchain probe {{\n{rule}\n}}\n}}"
        try:
            _nft("--check", "-f", "-", text=text + "\n")
        except FirewallError as error:
            return FirewallError(
                f"the kernel lacks {name}. It needs {option} (module {module}): try `modprobe {module}`, "
                f"or the distribution's stock kernel. nft said: {error}"
            )
    return None


def _nft(*arguments: str, text: str | None = None) -> str:
    """Run nft once, `text` as its input; return what it printed. Raises FirewallError with its complaint."""
    program = which("nft", path=f"{os.environ.get('PATH', '')}:{_SBIN}")
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

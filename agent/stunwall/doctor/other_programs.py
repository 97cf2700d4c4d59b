"""What `stunwall doctor` finds of others: the queue, the marks, programs with rules of their own."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from stunwall.doctor import other_rules
from stunwall.doctor.findings import SYSTEMD, Finding, Machine, Result, output
from stunwall.model import REDIRECT_TABLE
from stunwall.queue import nfqueue
from stunwall.wall import nft

INTERFACES = Path("/sys/class/net")
_PROC = Path("/proc")
# Debian and most others; Fedora and its kin.
_NFTABLES_CONF = (Path("/etc/nftables.conf"), Path("/etc/sysconfig/nftables.conf"))
_FLUSHES = re.compile(r"^[^#]*\bflush\s+ruleset\b", re.MULTILINE)  # not in a comment
_LEGACY = ("ip_tables_names", "ip6_tables_names")  # in /proc/net, where iptables-legacy has tables


def queue(machine: Machine) -> Iterator[Finding]:
    """Whether the queue is stunwalld's alone."""
    number = machine.queue
    port = nfqueue.listener(number)
    alone = True
    if port is not None and (machine.daemon is None or port != machine.daemon["pid"]):
        alone = False
        yield _reader(number, port)
    ruleset = nft.read_ruleset()
    claims = other_rules.queue_claims(ruleset)
    for claim in claims:
        if claim.value == number:
            alone = False
            yield Finding(
                "queue", Result.PROBLEM, f"{claim.where} sends packets to queue {number} too",
                "stunwalld gets packets that are none of its business",
                "set another `queue` in the configuration, then `sudo systemctl restart stunwall`",
            )  # fmt: skip
    if hidden := other_rules.hidden_queues(ruleset):
        alone = False
        yield Finding(
            "queue", Result.NOTE, f"iptables uses queues that nft does not show, in {', '.join(hidden)}",
            f"none of them may be {number}", "compare with `sudo iptables-save | grep NFQUEUE`",
        )  # fmt: skip
    taken = sorted({claim.value for claim in claims} - {number})
    beside = f"; others use {', '.join(map(str, taken))}" if taken else ""
    if alone:
        yield Finding("queue", Result.OK, f"{number} is stunwall's alone{beside}")


def _reader(number: int, port: int) -> Finding:
    """What it means that a program reads the queue that is not the daemon that answered."""
    if _is_stunwalld(port):
        return Finding(
            "queue", Result.PROBLEM, f"stunwalld (pid {port}) reads queue {number}, but does not answer",
            "it hangs, has just begun, or was started with another configuration",
            "`journalctl -u stunwall`, then `sudo systemctl restart stunwall`",
        )  # fmt: skip
    return Finding(
        "queue", Result.PROBLEM, f"queue {number} is read by {_program(port)}", "stunwalld gets no packets",
        "end that program, or set another `queue` in the configuration, then `sudo systemctl restart stunwall`",
    )  # fmt: skip


def marks(machine: Machine) -> Iterator[Finding]:
    """Whether others use bits of `mark_mask`, in rules or in routing rules."""
    mask = machine.mark_mask
    ruleset = nft.read_ruleset()
    rules = [
        rule for family in ("-4", "-6") for rule in json.loads(output("ip", family, "-j", "rule") or "[]")
    ]
    claims = other_rules.mark_claims(ruleset, mask) + other_rules.routing_claims(rules, mask, REDIRECT_TABLE)
    for claim in dict.fromkeys(claims):
        who = f", as {claim.program} does" if claim.program else ""
        yield Finding(
            "marks", Result.WARNING, f"{claim.where} uses mark {claim.value:#x}{who}",
            f"it has bits of stunwall's own {mask:#x}: each may take the other's packets for its own. Nothing leaks by "
            "that, but STUN may be blocked or routed where it should not",
            "set another mark_mask in the configuration, two bits that nobody uses, then "
            "`sudo systemctl restart stunwall`",
        )  # fmt: skip
    hidden = other_rules.hidden_marks(ruleset)
    if hidden:
        yield Finding(
            "marks", Result.NOTE, f"iptables uses marks that nft does not show, in {', '.join(hidden)}",
            f"they must not have bits of {mask:#x}", "compare with `sudo iptables-save | grep -i mark`",
        )  # fmt: skip
    if not claims and not hidden:
        yield Finding("marks", Result.OK, f"nobody else uses bits of {mask:#x}")


def programs(machine: Machine) -> Iterator[Finding]:
    """Who else has rules here, and what that means."""
    interfaces = [path.name for path in INTERFACES.iterdir()]
    for presence in other_rules.present(nft.read_ruleset(), interfaces):
        what = f"{presence.name} is here ({presence.seen})"
        yield Finding("neighbours", Result.NOTE, what, presence.meaning, presence.next)
    for number, port in nfqueue.listeners().items():
        if number != machine.queue:
            program = _program(port)
            means = other_rules.ASKS if program.startswith("opensnitch") else _DECIDES
            yield Finding(
                "neighbours", Result.NOTE, f"{program} decides on the packets in queue {number}", *means
            )
    yield from _legacy()
    yield from _nftables_service()


_DECIDES = (
    "what leaves needs the leave of both: what it allows is blocked all the same where it is STUN",
    "nothing to do",
)


def _legacy() -> Iterator[Finding]:
    tables = [path for name in _LEGACY if (path := _PROC / "net" / name).exists()]
    if any(path.read_text().strip() for path in tables):
        yield Finding(
            "neighbours", Result.NOTE, "iptables-legacy has rules, which nft does not show",
            "they let out nothing that stunwall drops; whether they use its queue or its mark bits is not known",
            "look at `sudo iptables-legacy-save` and `sudo ip6tables-legacy-save`",
        )  # fmt: skip


def _nftables_service() -> Iterator[Finding]:
    unit = "nftables.service"
    if not SYSTEMD.is_dir() or output("systemctl", "is-enabled", unit).strip() != "enabled":
        return
    found = [path for path in _NFTABLES_CONF if path.exists()]
    flushing = [str(path) for path in found if _FLUSHES.search(path.read_text(errors="replace"))]
    if _FLUSHES.search(output("systemctl", "cat", unit)):
        flushing.append(unit)
    if flushing:
        yield Finding(
            "neighbours", Result.WARNING, f"{unit} is enabled, and `flush ruleset` is in {' and '.join(flushing)}",
            "a boot starts it before the wall; whoever restarts, reloads or stops it later takes the wall too, for the "
            "moment until stunwalld has put it back. A shutdown stops it",
            f"leave {unit} alone while you are online. In a file of rules, put `add table FAMILY NAME` and "
            "`delete table FAMILY NAME` for each table of it in place of `flush ruleset`",
        )  # fmt: skip


def _is_stunwalld(port: int) -> bool:
    try:
        words = (_PROC / str(port) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.endswith((b"/stunwalld", b"stunwall.daemon")) for word in words)


def _program(port: int) -> str:
    """Return who has a netlink port: mostly its pid (netlink(7))."""
    try:
        return f"{(_PROC / str(port) / 'comm').read_text().strip()} (pid {port})"
    except OSError:
        return f"a program with the netlink port {port}"

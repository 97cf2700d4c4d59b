"""What `stunwall doctor` finds of others: the queue, the marks, programs with rules of their own."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from stunwall import firewall, neighbours, nfqueue
from stunwall.cli.finding import SYSTEMD, Finding, Machine, Result, output
from stunwall.model import DETOUR_TABLE

_INTERFACES = Path("/sys/class/net")
_NFTABLES_CONF = Path("/etc/nftables.conf")


def queue(machine: Machine) -> Iterator[Finding]:
    """Whether the queue is stunwalld's alone."""
    number = machine.settings.queue
    port = nfqueue.listener(number)
    alone = True
    if port is not None and (machine.daemon is None or port != machine.daemon["pid"]):
        alone = False
        yield Finding(
            "queue", Result.PROBLEM, f"queue {number} is read by {_program(port)}", "stunwalld gets no packets",
            "end that program, or set another `queue` in the configuration",
        )  # fmt: skip
    claims = neighbours.queue_claims(firewall.ruleset())
    for claim in claims:
        if claim.value == number:
            alone = False
            yield Finding(
                "queue", Result.PROBLEM, f"{claim.where} sends packets to queue {number} too",
                "stunwalld gets packets that are none of its business", "set another `queue` in the configuration",
            )  # fmt: skip
    taken = sorted({claim.value for claim in claims} - {number})
    beside = f"; others use {', '.join(map(str, taken))}" if taken else ""
    if alone:
        yield Finding("queue", Result.OK, f"{number} is stunwall's alone{beside}")


def marks(machine: Machine) -> Iterator[Finding]:
    """Whether others use bits of `mark_mask`, in rules or in routing rules."""
    mask = machine.settings.mark_mask
    ruleset = firewall.ruleset()
    rules = [
        rule for family in ("-4", "-6") for rule in json.loads(output("ip", family, "-j", "rule") or "[]")
    ]
    claims = neighbours.mark_claims(ruleset, mask) + neighbours.routing_claims(rules, mask, DETOUR_TABLE)
    for claim in dict.fromkeys(claims):
        who = f", as {claim.program} does" if claim.program else ""
        yield Finding(
            "marks", Result.WARNING, f"{claim.where} uses mark {claim.value:#x}{who}",
            f"it has bits of stunwall's own {mask:#x}: each may take the other's packets for its own. Nothing leaks by "
            "that, but STUN may be blocked or routed where it should not",
            "set another mark_mask in the configuration: two bits that nobody uses",
        )  # fmt: skip
    if hidden := neighbours.hidden_marks(ruleset):
        yield Finding(
            "marks", Result.NOTE, f"iptables uses marks that nft does not show, in {', '.join(hidden)}",
            f"they must not have bits of {mask:#x}", "compare with `sudo iptables-save | grep -i mark`",
        )  # fmt: skip
    if not claims:
        yield Finding("marks", Result.OK, f"nobody else uses bits of {mask:#x}")


def programs(machine: Machine) -> Iterator[Finding]:
    """Who else has rules here, and what that means."""
    interfaces = [path.name for path in _INTERFACES.iterdir()]
    for presence in neighbours.present(firewall.ruleset(), interfaces):
        yield Finding(
            "neighbours", Result.NOTE, f"{presence.name} is here ({presence.seen})", presence.meaning
        )
    for number, port in nfqueue.listeners().items():
        if number != machine.settings.queue:
            yield Finding(
                "neighbours", Result.NOTE, f"{_program(port)} decides on the packets in queue {number}",
                "what leaves needs the leave of both: what it allows is blocked all the same where it is STUN",
            )  # fmt: skip
    text = _NFTABLES_CONF.read_text(errors="replace") if _NFTABLES_CONF.exists() else ""
    if not re.search(r"^\s*flush\s+ruleset\b", text, re.MULTILINE):  # not in a comment
        return
    if SYSTEMD.is_dir() and output("systemctl", "is-enabled", "nftables.service").strip() == "enabled":
        yield Finding(
            "neighbours", Result.WARNING,
            f"{_NFTABLES_CONF} has `flush ruleset`, and nftables.service loads it",
            "at a boot that comes before the wall; at `systemctl reload nftables` the wall is gone for a moment, "
            "until stunwalld has put it back",
            f"replace that line of {_NFTABLES_CONF} by a `flush table` for each table in it",
        )  # fmt: skip


def _program(port: int) -> str:
    """Return who has a netlink port: mostly its pid (netlink(7))."""
    try:
        return f"{(Path('/proc') / str(port) / 'comm').read_text().strip()} (pid {port})"
    except OSError:
        return f"a program with the netlink port {port}"

"""The checks `queue`, `marks` and `neighbours`: what other programs on this machine do that matters to stunwall."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from stunwall.doctor import known_programs, other_rules
from stunwall.doctor.findings import Finding, note, ok, problem, warning
from stunwall.doctor.machine import Machine
from stunwall.model import REDIRECT_TABLE
from stunwall.queue import nfqueue
from stunwall.wall import nft

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
        yield _reader(machine, port)
    ruleset = nft.read_ruleset()
    claims = other_rules.queue_claims(ruleset)
    for claim in claims:
        if claim.value == number:
            alone = False
            yield problem(
                "queue",
                f"{claim.where} sends packets to queue {number} too",
                why="stunwalld gets packets that are none of its business",
                next=f"set another `queue` in the configuration, {machine.then_restart}",
            )
    if hidden := other_rules.hidden_queues(ruleset):
        alone = False
        yield note(
            "queue",
            f"iptables uses queues that nft does not show, in {', '.join(hidden)}",
            why=f"none of them may be {number}",
            next="compare with `sudo iptables-save | grep NFQUEUE`",
        )
    taken = sorted({claim.value for claim in claims} - {number})
    beside = f"; others use {', '.join(map(str, taken))}" if taken else ""
    if alone:
        yield ok("queue", f"{number} is stunwall's alone{beside}")


def _reader(machine: Machine, port: int) -> Finding:
    """What it means that a program reads the queue that is not the daemon that answered."""
    if _is_stunwalld(port):
        return problem(
            "queue",
            f"stunwalld (pid {port}) reads queue {machine.queue}, but does not answer",
            why="it hangs, has just begun, or was started with another configuration",
            next=f"`journalctl -u stunwall`, {machine.then_restart}",
        )
    return problem(
        "queue",
        f"queue {machine.queue} is read by {_program(port)}",
        why="stunwalld gets no packets",
        next=f"end that program, or set another `queue` in the configuration, {machine.then_restart}",
    )


def marks(machine: Machine) -> Iterator[Finding]:
    """Whether others use bits of `mark_mask`, in rules or in routing rules."""
    mask = machine.mark_mask
    ruleset = nft.read_ruleset()
    printed = [machine.output("ip", family, "-j", "rule") for family in ("-4", "-6")]
    rules = [rule for text in printed for rule in json.loads(text or "[]")]
    claims = other_rules.mark_claims(ruleset, mask) + other_rules.routing_claims(rules, mask, REDIRECT_TABLE)
    for claim in dict.fromkeys(claims):
        program = known_programs.by_mark(claim.value)
        who = f", as {program} does" if program else ""
        yield warning(
            "marks",
            f"{claim.where} uses mark {claim.value:#x}{who}",
            why=f"it has bits of stunwall's own {mask:#x}: each may take the other's packets for its own. "
            "Nothing leaks by that, but STUN may be blocked or routed where it should not",
            next="set another mark_mask in the configuration, two bits that nobody uses, "
            f"{machine.then_restart}",
        )
    hidden = other_rules.hidden_marks(ruleset)
    if hidden:
        yield note(
            "marks",
            f"iptables uses marks that nft does not show, in {', '.join(hidden)}",
            why=f"they must not have bits of {mask:#x}",
            next="compare with `sudo iptables-save | grep -i mark`",
        )
    if not claims and not hidden:
        yield ok("marks", f"nobody else uses bits of {mask:#x}")


def programs(machine: Machine) -> Iterator[Finding]:
    """Who else has rules here, and what that means."""
    for presence in known_programs.present(nft.read_ruleset(), machine.interfaces()):
        what = f"{presence.name} is here ({presence.seen})"
        yield note("neighbours", what, presence.advice.why, presence.advice.next)
    for number, port in nfqueue.listeners().items():
        if number != machine.queue:
            program = _program(port)
            opensnitch = program.startswith("opensnitch")
            advice = known_programs.OPENSNITCH if opensnitch else known_programs.QUEUE_READER
            what = f"{program} decides on the packets in queue {number}"
            yield note("neighbours", what, advice.why, advice.next)
    yield from _legacy()
    yield from _nftables_service(machine)


def _legacy() -> Iterator[Finding]:
    tables = [path for name in _LEGACY if (path := _PROC / "net" / name).exists()]
    if any(path.read_text().strip() for path in tables):
        yield note(
            "neighbours",
            "iptables-legacy has rules, which nft does not show",
            why="they let out nothing that stunwall drops; whether they use its queue or its mark bits is not known",
            next="look at `sudo iptables-legacy-save` and `sudo ip6tables-legacy-save`",
        )


def _nftables_service(machine: Machine) -> Iterator[Finding]:
    unit = "nftables.service"
    if not machine.systemd or machine.output("systemctl", "is-enabled", unit).strip() != "enabled":
        return
    found = [path for path in _NFTABLES_CONF if path.exists()]
    flushing = [str(path) for path in found if _FLUSHES.search(path.read_text(errors="replace"))]
    if _FLUSHES.search(machine.output("systemctl", "cat", unit)):
        flushing.append(unit)
    if flushing:
        yield warning(
            "neighbours",
            f"{unit} is enabled, and `flush ruleset` is in {' and '.join(flushing)}",
            why="a boot starts it before the wall; whoever restarts, reloads or stops it later takes the wall too, "
            "for the moment until stunwalld has put it back. A shutdown stops it",
            next=f"leave {unit} alone while you are online. In a file of rules, put `add table FAMILY NAME` and "
            "`delete table FAMILY NAME` for each table of it in place of `flush ruleset`",
        )


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

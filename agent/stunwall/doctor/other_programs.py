"""The checks `queue`, `marks` and `neighbours`: other programs whose rules, queues or marks concern stunwall."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from stunwall.doctor import known_programs, other_rules
from stunwall.doctor.findings import Finding, note, ok, problem, warning
from stunwall.doctor.machine import Machine
from stunwall.model import REDIRECT_TABLE
from stunwall.queue import nfqueue

_PROC = Path("/proc")
# On Debian and most others; on Fedora and its relatives.
_NFTABLES_CONF = (Path("/etc/nftables.conf"), Path("/etc/sysconfig/nftables.conf"))
_FLUSHES = re.compile(r"^[^#]*\bflush\s+ruleset\b", re.MULTILINE)  # except in a comment
_LOADS_AGAIN = "/stunwall.nft"  # in systemd/nftables-drop-in.conf
_LEGACY = ("ip_tables_names", "ip6_tables_names")  # in /proc/net: the tables of iptables-legacy


def queue(machine: Machine) -> Iterator[Finding]:
    """Whether only stunwalld reads the queue, and only its table sends packets there."""
    number = machine.queue
    port = nfqueue.listener(number)
    alone = True
    if port is not None and (machine.daemon is None or port != machine.daemon["pid"]):
        alone = False
        yield _reader(machine, port)
    ruleset = machine.ruleset
    claims = other_rules.queue_claims(ruleset)
    for claim in claims:
        if claim.value == number:
            alone = False
            yield problem(
                "queue",
                f"{claim.where} also sends packets to queue {number}",
                why="stunwalld receives packets that are not meant for it",
                next=f"set another `queue` in the configuration, {machine.then_restart}",
            )
    if hidden := other_rules.hidden_queues(ruleset):
        alone = False
        yield note(
            "queue",
            f"iptables rules use queues whose numbers nft does not show: {', '.join(hidden)}",
            why=f"none of them may be {number}",
            next="check with `sudo iptables-save | grep NFQUEUE`",
        )
    taken = sorted({claim.value for claim in claims} - {number})
    others = f"; other programs use {', '.join(map(str, taken))}" if taken else ""
    if alone:
        yield ok("queue", f"only stunwall uses queue {number}{others}")


def _reader(machine: Machine, port: int) -> Finding:
    """Return the problem that a process other than the daemon that answered reads the queue."""
    if _is_stunwalld(port):
        return problem(
            "queue",
            f"stunwalld (pid {port}) reads queue {machine.queue}, but does not answer",
            why="it hangs, has only just started, or uses another configuration",
            next=f"check `journalctl -u stunwall`, {machine.then_restart}",
        )
    return problem(
        "queue",
        f"queue {machine.queue} is read by {_program(port)}",
        why="stunwalld receives no packets",
        next=f"stop that program, or set another `queue` in the configuration, {machine.then_restart}",
    )


def marks(machine: Machine) -> Iterator[Finding]:
    """Whether other programs use bits of `mark_mask`, in their rules or in routing rules."""
    mask = machine.mark_mask
    ruleset = machine.ruleset
    printed = [machine.output("ip", family, "-j", "rule") for family in ("-4", "-6")]
    rules = [rule for text in printed for rule in json.loads(text or "[]")]
    claims = other_rules.mark_claims(ruleset, mask) + other_rules.routing_claims(rules, mask, REDIRECT_TABLE)
    for claim in dict.fromkeys(claims):
        program = known_programs.by_mark(claim.value)
        who = f" (probably {program})" if program else ""
        yield warning(
            "marks",
            f"{claim.where} uses mark {claim.value:#x}{who}",
            why=f"it shares bits with stunwall's mark_mask {mask:#x}, so each may mistake the other's packets for its "
            "own. Nothing leaks, but STUN may be blocked or routed the wrong way",
            next="set another mark_mask in the configuration, with two bits that no other program uses, "
            f"{machine.then_restart}",
        )
    hidden = other_rules.hidden_marks(ruleset)
    if hidden:
        yield note(
            "marks",
            f"iptables rules use marks whose values nft does not show: {', '.join(hidden)}",
            why=f"they must not use bits of {mask:#x}",
            next="check with `sudo iptables-save | grep -i mark`",
        )
    if not claims and not hidden:
        yield ok("marks", f"no other program uses bits of {mask:#x}")


def programs(machine: Machine) -> Iterator[Finding]:
    """Which other programs have rules or queues here, and what that means for stunwall."""
    for presence in known_programs.present(machine.ruleset, machine.interfaces()):
        what = f"found {presence.name} ({presence.seen})"
        yield note("neighbours", what, presence.advice.why, presence.advice.next)
    for number, port in nfqueue.listeners().items():
        if number != machine.queue:
            program = _program(port)
            opensnitch = program.startswith("opensnitch")
            advice = known_programs.OPENSNITCH if opensnitch else known_programs.QUEUE_READER
            what = f"{program} decides on packets in queue {number}"
            yield note("neighbours", what, advice.why, advice.next)
    yield from _legacy()
    yield from _nftables_service(machine)


def _legacy() -> Iterator[Finding]:
    tables = [path for name in _LEGACY if (path := _PROC / "net" / name).exists()]
    if any(path.read_text().strip() for path in tables):
        yield note(
            "neighbours",
            "iptables-legacy has rules that nft does not show",
            why="they cannot let out what stunwall drops, but they may use its queue or its mark bits",
            next="check `sudo iptables-legacy-save` and `sudo ip6tables-legacy-save`",
        )


def _nftables_service(machine: Machine) -> Iterator[Finding]:
    unit = "nftables.service"
    if not machine.systemd or machine.output("systemctl", "is-enabled", unit).strip() != "enabled":
        return
    found = [path for path in _NFTABLES_CONF if path.exists()]
    flushing = [str(path) for path in found if _FLUSHES.search(path.read_text(errors="replace"))]
    text = machine.output("systemctl", "cat", unit)  # with its drop-ins
    if _FLUSHES.search(text):
        flushing.append(unit)
    if not flushing:
        return
    what = f"{unit} is enabled and flushes all rules: `flush ruleset` is in {' and '.join(flushing)}"
    if _LOADS_AGAIN in text:
        yield note("neighbours", what, why="each time, it then loads the wall again")
    else:
        yield warning(
            "neighbours",
            what,
            why="then, as at boot, the wall is gone until stunwalld restores it",
            next="install stunwall again, for its drop-in nftables.service.d/stunwall.conf. In a file of rules, "
            "replace `flush ruleset` by `add table FAMILY NAME` and `delete table FAMILY NAME` for each of its tables",
        )


def _is_stunwalld(port: int) -> bool:
    try:
        words = (_PROC / str(port) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.endswith((b"/stunwalld", b"stunwall.daemon")) for word in words)


def _program(port: int) -> str:
    """Return the program with this netlink port, which usually is its pid (netlink(7))."""
    try:
        return f"{(_PROC / str(port) / 'comm').read_text().strip()} (pid {port})"
    except OSError:
        return f"a program with netlink port {port}"

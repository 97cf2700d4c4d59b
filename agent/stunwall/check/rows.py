"""What a page and a terminal show of each request of a browser, by interface and IP version. No I/O."""

from dataclasses import dataclass

from stunwall.check.browser import Machine, Seen, Stage
from stunwall.check.candidates import Candidate, is_public, parsed_address
from stunwall.model import Reason
from stunwall.model import Verdict as Fate

REAL = "your real address"


@dataclass(frozen=True, slots=True)
class Row:
    """A request, or an address that the page saw without one.

    `shown`: what the page saw of the socket: an address, a name that hides it, or "" for nothing. `hint`: what that
    tells. `kinds`: the types of its candidates. `outcome`: blocked, moved and so on; `why`: the reason, in a sentence.
    """

    ip_version: int
    interface: str
    shown: str
    hint: str
    kinds: str
    outcome: str
    why: str


def rows(stage: Stage, machine: Machine) -> list[Row]:
    """Return the rows of a stage: first the requests, then the addresses that the page saw without one."""
    hosts = [each for each in stage.labelled.candidates if (each.kind, each.transport) == ("host", "udp")]
    found = [_request(each, stage, hosts, machine) for each in stage.seen if not each.as_usual]
    asked = {(each.source, each.source_port) for each in stage.seen}
    found += [_host(each, machine) for each in hosts if not _has_asked(each, asked)]
    return list(dict.fromkeys(sorted(found, key=lambda row: (row.ip_version or 9, row.interface))))


def _request(seen: Seen, stage: Stage, hosts: list[Candidate], machine: Machine) -> Row:
    own = [each for each in hosts if _is_of(each, seen)]
    reflexive = [
        each
        for each in stage.labelled.candidates
        if (each.kind, each.address, each.port) == ("srflx", seen.label, seen.source_port)
    ]
    kinds = [*(["host"] if own else []), *(["srflx"] if reflexive else [])]
    address = own[0].address if own else ""
    return Row(
        seen.ip_version,
        seen.interface,
        address,
        _hint(address, machine),
        ", ".join(kinds),
        _outcome(seen),
        _why(seen),
    )


def _is_of(host: Candidate, seen: Seen) -> bool:
    # A name of mDNS hides the address, but not the port.
    address = parsed_address(host.address)
    return host.port == seen.source_port and (address is None or str(address) == seen.source)


def _has_asked(host: Candidate, asked: set[tuple[str, int]]) -> bool:
    address = parsed_address(host.address)
    if address is None:
        return any(port == host.port for _, port in asked)
    return (str(address), host.port) in asked


def _hint(shown: str, machine: Machine) -> str:
    address = parsed_address(shown)
    if address is not None:
        if not is_public(address):
            return "means nothing outside your network"
        return "the VPN's address" if machine.owners.get(address, ("", False))[1] else REAL
    return "hides the address" if shown.endswith(".local") else ""


def _outcome(seen: Seen) -> str:
    if seen.leaks:
        return "leak"
    if seen.verdict == Fate.REDIRECT:
        return "moved"
    if seen.verdict == Fate.BLOCK:
        return "blocked"
    return "inside" if seen.reason == Reason.INSIDE.value else "through"


def _why(seen: Seen) -> str:
    if seen.leaks:
        return f"it would have left outside the VPN: {seen.why}"
    if seen.verdict == Fate.REDIRECT:
        return "it would have bypassed the VPN"
    return "a server would see the VPN's address" if _outcome(seen) == "through" else seen.why


def _host(host: Candidate, machine: Machine) -> Row:
    address = parsed_address(host.address)
    interface, _ = machine.owners.get(address, ("", False)) if address else ("", False)
    version = address.version if address else 0
    return Row(
        version,
        interface,
        host.address,
        _hint(host.address, machine),
        "host",
        "none",
        "no request came from it",
    )

"""The check `kernel`: the pieces of the kernel, and the program nft, that the wall needs."""

import os
from collections.abc import Iterator

from stunwall.doctor.findings import Finding, note, ok, problem, warning
from stunwall.doctor.machine import Machine
from stunwall.wall import nft, requirements, state
from stunwall.wall.nft import NftError, NftPermissionError


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the kernel and nft have what the wall needs."""
    wall, missing = None, None
    try:
        wall = state.read()
    except NftPermissionError:
        raise
    except NftError as error:
        missing = str(error)
    if missing := requirements.missing(nft.refused) or missing:
        yield problem(
            "kernel",
            missing,
            why="without it there is no wall",
            next=f"mend that, {machine.then_restart}",
        )
        return
    release, version = os.uname().release, machine.output("nft", "--version").strip()
    yield ok("kernel", f"Linux {release} and {version} have what the wall needs")
    if requirements.queues(nft.refused):
        return
    what = "nftables has no `queue` here: the xtables target NFQUEUE takes its place"
    if wall is not None and wall.queue is not None:
        why = "it does the same; `nft list` remarks that iptables-nft manages the table"
        yield note("kernel", what, why)
    else:
        yield warning(
            "kernel",
            what,
            why="whether the kernel has that one is seen when stunwalld starts",
            next=f"{machine.start}; if it names a missing piece, do as it says",
        )

"""The check `kernel`: the kernel features that the wall needs, and nft."""

import os
from collections.abc import Iterator
from contextlib import closing

from stunwall.config import Mode
from stunwall.doctor.findings import Finding, note, ok, problem, warning
from stunwall.doctor.machine import Machine
from stunwall.wall import requirements, state
from stunwall.wall.nft import Nft, NftError, NftPermissionError


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the wall can be loaded, and packets queued."""
    wall, missing, queues = None, None, False
    try:
        with closing(Nft()) as nft:
            redirect = machine.settings.mode is Mode.REDIRECT
            missing = requirements.missing(nft.refused, redirect=redirect)
            queues = requirements.queues(nft.refused)
            wall = state.read(nft)
    except NftPermissionError:
        raise
    except NftError as error:
        missing = missing or str(error)
    if missing:
        yield problem(
            "kernel",
            missing,
            why="without it, the wall cannot be loaded",
            next=f"fix that, {machine.then_restart}",
        )
        return
    release, version = os.uname().release, machine.output("nft", "--version").strip()
    yield ok("kernel", f"Linux {release} and {version} have everything the wall needs")
    if queues:
        return
    what = "nftables has no `queue` statement here, so the xtables target NFQUEUE is used instead"
    if wall is not None and wall.queue is not None:
        why = "it does the same, but `nft list` then says that iptables-nft manages the table"
        yield note("kernel", what, why)
    else:
        yield warning(
            "kernel",
            what,
            why="whether the kernel has that target is only known once stunwalld has started",
            next=f"run `{machine.start}`; if it reports a missing module, follow its advice",
        )

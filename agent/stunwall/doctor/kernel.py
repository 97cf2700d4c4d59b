"""The check `kernel`: the kernel features that the wall needs, and nft."""

import os
from collections.abc import Iterator
from contextlib import closing

from stunwall.config import Mode
from stunwall.doctor.findings import Finding, note, ok, problem, warning
from stunwall.doctor.machine import Machine, ProgramError
from stunwall.wall import modules, requirements, state
from stunwall.wall.nft import Nft, NftError, NftPermissionError


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the wall can be loaded, and packets queued."""
    wall, missing, queues = None, None, False
    try:
        with closing(Nft()) as nft:
            redirect = machine.settings.mode is Mode.REDIRECT
            missing = requirements.missing(nft.refused, modules.how_to_load, redirect=redirect)
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
    try:
        version = machine.output("nft", "--version").strip()
    except ProgramError as error:
        yield problem(
            "kernel",
            str(error),
            why="the rules are loaded with it at boot, before stunwalld starts",
            next="install the package nftables",
        )
    else:
        yield ok("kernel", f"Linux {os.uname().release} and {version} have everything the wall needs")
    if not queues:
        yield _no_statement(machine, queueing=wall is not None and wall.queue is not None)


def _no_statement(machine: Machine, *, queueing: bool) -> Finding:
    """Return what it means that nftables has no `queue` statement. `queueing`: packets are queued all the same."""
    if not queueing and (advice := modules.gone()):
        what = "the module nft_queue cannot be loaded"
        return problem("kernel", what, why="without it, stunwalld gets no packets", next=advice)
    what = "nftables has no `queue` statement here, so the xtables target NFQUEUE is used instead"
    if queueing:
        why = "it does the same, but `nft list` then says that iptables-nft manages the table"
        return note("kernel", what, why)
    return warning(
        "kernel",
        what,
        why="whether the kernel has that target is only known once stunwalld has started",
        next=f"run `{machine.start}`; if it reports a missing module, follow its advice",
    )

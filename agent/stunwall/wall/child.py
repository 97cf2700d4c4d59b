"""Runs a piece of work in a child process, where it cannot harm this one."""

import os
from collections.abc import Callable

from stunwall.model import StunwallError
from stunwall.wall.nft import NftError, NftPermissionError


def in_child(work: Callable[[], str]) -> str:
    """Return what `work` returns in a child process. Raises NftError if it does there, or if the child dies."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(work, writer)
    os.close(writer)
    with open(reader, "rb") as pipe:  # noqa: PTH123 - a descriptor
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    match os.waitstatus_to_exitcode(status):
        case 0:
            return said
        case NftPermissionError.exit_code:
            raise NftPermissionError(said)
        case code:
            raise NftError(said or f"the process that reads the kernel's rules died ({code})")


def _answer(work: Callable[[], str], writer: int) -> None:
    """Write what `work` returns, or why it failed, and end: the child must never return into the parent's code."""
    status = 1
    try:
        with open(writer, "wb") as pipe:
            try:
                said, status = work(), 0
            except StunwallError as error:
                said, status = str(error), error.exit_code
            pipe.write(said.encode(errors="replace"))
    finally:
        os._exit(status)

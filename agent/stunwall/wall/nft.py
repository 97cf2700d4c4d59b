"""Runs nft, and reads what it prints: libnftables-json(5)."""

import json
import os
import subprocess
from shutil import which
from typing import Any

from stunwall.model import StunwallError

SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"
_TIMEOUT = 10  # seconds; a transaction takes milliseconds


class NftError(StunwallError):
    """nft refused, or could not be run; the text names the cause and a cure."""


class NftPermissionError(NftError):
    """Reading or changing the kernel's rules needs rights that this process lacks."""

    exit_code = 4


def apply(text: str) -> None:
    """Carry out nft statements in one transaction: all of them, or none. Raises NftError."""
    _run("-f", "-", text=text)


def refused(text: str) -> str | None:
    """Try a ruleset without loading it; return what nft said against it, None if nothing."""
    try:
        _run("--check", "-f", "-", text=text)
    except NftError as error:
        return str(error)
    return None


def list_table(table: str) -> str:
    """Return a table as `nft list` prints it. Raises NftError."""
    return _run("list", "table", *table.split())


def read_table(table: str) -> list[dict[str, Any]] | None:
    """Return the objects of a table, None if there is no such table. Raises NftError."""
    try:
        return _objects("list", "table", *table.split())
    except NftPermissionError:
        raise
    except NftError as error:
        if "No such file or directory" in str(error):
            return None
        raise


def read_ruleset() -> list[dict[str, Any]]:
    """Return the objects of every table in this network namespace. Raises NftError."""
    return _objects("list", "ruleset")


def _objects(*arguments: str) -> list[dict[str, Any]]:
    printed = _run("-j", *arguments)
    try:
        found: list[dict[str, Any]] = json.loads(printed)["nftables"]
    except (ValueError, LookupError, TypeError) as error:
        raise NftError(f"nft printed something other than JSON: {printed[:60]!r}") from error
    return found


def _run(*arguments: str, text: str | None = None) -> str:
    """Run nft once with `text` as its input; return what it printed. Raises NftError with its complaint."""
    program = which("nft", path=f"{os.environ.get('PATH', '')}:{SBIN}")
    if program is None:
        raise NftError("the program nft is missing: install the package nftables")
    try:
        # In a process group of its own: Ctrl-C is for the daemon, which then still needs nft.
        done = subprocess.run(
            [program, *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
            process_group=0,
        )
    except subprocess.TimeoutExpired as error:
        raise NftError(f"nft did not finish within {_TIMEOUT} s; is the machine overloaded?") from error
    except OSError as error:  # no memory or process left for it, or it cannot be executed
        raise NftError(
            f"cannot run {program}: {error.strerror}. Free memory, or raise the limit on processes"
        ) from error
    if done.returncode == 0:
        return done.stdout
    complaint = " ".join(done.stderr.split("\n", 1)[0].split())
    if "Operation not permitted" in done.stderr:
        raise NftPermissionError("only root may read or change the kernel's rules (CAP_NET_ADMIN): try sudo")
    raise NftError(complaint or f"nft exited with {done.returncode}")

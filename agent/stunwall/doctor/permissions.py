"""The check `rights`: who can change the configuration and the record."""

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from stunwall.configfile import reader
from stunwall.doctor.findings import Finding, ok, problem, warning
from stunwall.doctor.machine import Machine, look
from stunwall.model import GROUP
from stunwall.record.schema import FILE

_USER = GROUP  # sysusers.d(5): the user's group has the same name


def check(machine: Machine) -> Iterator[Finding]:
    """Whether only root and stunwalld can change the configuration, which decides what leaks, and the record."""
    folder, drop_ins, state = machine.file.parent, machine.file.parent / "conf.d", machine.settings.state_dir
    owners = _owners(machine.file)
    harm = "whoever can write there decides what leaks"
    configuration = [folder, *reader.sources(machine.file)]
    found = [
        _open(path, owners, harm, f"sudo chown root:root {path}; sudo chmod go-w {path}")
        for path in configuration
    ]
    found.append(
        _open(drop_ins, owners, harm, f"sudo chown {_USER}:root {drop_ins}; sudo chmod go-w {drop_ins}")
    )
    modes = ("700", "600") if machine.settings.log.own_only else ("750", "640")
    for path, mode in zip((state, state / FILE), modes, strict=True):
        cure = f"sudo chown {_USER}:{GROUP} {path}; sudo chmod {mode} {path}"
        found.append(_open(path, owners, "the record can be forged", cure))
    problems = [each for each in found if each is not None]
    yield from problems
    if look(state) is None:
        yield warning("rights", f"{state} does not exist", why="nothing is recorded", next=machine.start)
    elif not problems:
        yield ok("rights", "only root and stunwalld can change the configuration and the record")


def _owners(file: Path) -> tuple[set[int], set[int]]:
    """Return the users and groups that may own the files; for a private configuration, that includes the caller."""
    users, groups = {0}, {0}
    with suppress(KeyError):  # stunwall may run from a checkout, without an installation
        users.add(pwd.getpwnam(_USER).pw_uid)
    if file != reader.DEFAULT_FILE:
        users.add(os.getuid())
        groups.add(os.getgid())
    return users, groups


def _open(path: Path, owners: tuple[set[int], set[int]], harm: str, cure: str) -> Finding | None:
    """Return the problem that others can change a file; None if they cannot, or it does not exist."""
    found, (users, groups) = look(path), owners
    if found is None:
        return None
    by_group = found.st_mode & stat.S_IWGRP and found.st_gid not in groups
    if found.st_uid in users and not by_group and not found.st_mode & stat.S_IWOTH:
        return None
    if found.st_mode & stat.S_ISVTX:  # for example /tmp
        cure = f"move the configuration to a folder of its own; {path} must stay as it is"
    what = f"{path} can be changed by users other than root and stunwalld"
    return problem("rights", what, harm, cure)

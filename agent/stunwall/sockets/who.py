"""Who sent a packet: user, unit, application, container and process, as far as this process may see them."""

import os
import pwd
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from stunwall.model import Event, Sender
from stunwall.sockets.cgroup_owner import CgroupOwner, owner
from stunwall.sockets.processes import Process, Processes

_REMEMBERED = 60.0  # seconds for which a user's name is remembered
_ENTRIES = 256
_COMMAND = 256  # characters of a command line that are kept: it may be long, or hold secrets
_FILES = 4096  # open files of a program that are looked through for sockets
_KEPT, _LOOKS = (
    1.0,
    16,
)  # seconds, and how many, of what was seen of programs: events are written once a second
_HIDDEN = 0  # no socket's inode
_ALL_FILES = 100_000  # the same, of all of a user's processes: some 0.2 s
_PROC = Path("/proc")

CLOSED = "its socket was closed before it could be looked up"
NOT_OPEN = "none of this user's processes in this cgroup has its socket open any more"


class _Program(NamedTuple):
    """What is known of a program; `who` says what is not, or is not certain."""

    pid: int = 0
    executable: str = ""
    command: str = ""
    who: str = ""


class _Look(NamedTuple):
    """What a look at a user's processes in a cgroup has shown.

    `time`: when it began, in Unix seconds, and `until`, of the monotonic clock, for how long it is kept. `owners`: the
    process of each open socket, by its inode. `hidden`: one that could not be looked through.
    """

    time: float
    until: float
    processes: list[Process]
    owners: dict[int, Process]
    hidden: Process | None


class Who:
    """Names senders. It reads files and asks the name service, so it is for a thread that may wait."""

    def __init__(self) -> None:
        self._processes = Processes()
        self._users: dict[int, tuple[float, str]] = {}
        # By cgroup and user.
        self._looks: dict[tuple[int, int], _Look] = {}

    def close(self) -> None:
        """Close the netlink socket."""
        self._processes.close()

    def identify(self, event: Event, sender: Sender | None) -> Event:
        """Return the event with what is known of its sender. Never raises.

        Args:
            event: about a packet of this machine.
            sender: what the kernel said while the packet waited, None if the socket was not found.
        """
        if sender is None:
            return replace(event, who=CLOSED)
        names = self._owner(sender)
        program = self._program(sender, event.time)
        return replace(
            event,
            uid=sender.uid,
            user=self._user(sender.uid),
            unit=_fit(names.unit),
            app=_fit(names.app),
            container=_fit(names.container),
            pid=program.pid,
            executable=_fit(program.executable),
            command=_fit(program.command),
            who=program.who,
        )

    def _owner(self, sender: Sender) -> CgroupOwner:
        return owner(self._processes.path(sender.cgroup))

    def _user(self, uid: int) -> str:
        now = time.monotonic()
        until, name = self._users.get(uid, (0.0, ""))
        if now < until:
            return name
        try:
            name = _fit(pwd.getpwuid(uid).pw_name)
        except KeyError:
            name = ""
        if len(self._users) >= _ENTRIES:
            self._users.clear()
        self._users[uid] = now + _REMEMBERED, name
        return name

    def _program(self, sender: Sender, since: float) -> _Program:
        """Return the process that has the socket, or else one that may have it; `since`: when it was open."""
        look = self._look(sender, since)
        if not look.processes:
            return _Program(who="its process has ended, or there are too many in its cgroup to look through")
        found = look.owners.get(sender.inode)
        if found is not None:
            return _described(found)
        if look.hidden is None:
            return _Program(who=NOT_OPEN)
        number = len(look.processes)
        several = f"one of {number} processes" if number > 1 else "the only process"
        return _described(look.hidden)._replace(
            who=f"{several} of this user in this cgroup; only root can see whether it has the socket open"
        )

    def _look(self, sender: Sender, since: float) -> _Look:
        """Look at the sender's processes, unless that was done just now, and after the packet: a page may open hundreds
        of sockets at once."""
        key, now = (sender.cgroup, sender.uid), time.monotonic()
        known = self._looks.get(key)
        if known is not None and now < known.until and known.time >= since:
            return known
        began = time.time()
        processes = [each for each in self._processes.of(sender.cgroup) if each.uid == sender.uid]
        owners: dict[int, Process] = {}
        for inode, process in _sockets(processes, _FILES):
            owners.setdefault(inode, process)
        look = _Look(began, now + _KEPT, processes, owners, owners.pop(_HIDDEN, None))
        if len(self._looks) >= _LOOKS:
            self._looks.clear()
        self._looks[key] = look
        return look


def find(inode: int, uid: int) -> tuple[int, str, str] | None:
    """Return number, path and command line of the process of a user that has a socket open, None if none has."""
    own = []
    for folder in _PROC.iterdir():
        with suppress(OSError):  # ended
            if folder.name.isdecimal() and folder.stat().st_uid == uid:
                own.append(Process("", uid, int(folder.name)))
    # Who sends has usually started after the rest of the session.
    found, certain = _holder(sorted(own, key=lambda each: -each.pid), inode, _ALL_FILES)
    if found is None or not certain:
        return None
    program = _described(found)
    return program.pid, _fit(program.executable), _fit(program.command)


def _holder(candidates: list[Process], inode: int, files: int = _FILES) -> tuple[Process | None, bool]:
    """Return the process that has the socket open, and True.

    If not all of them can be looked into, return one of those that may have it, and False; if no process has the
    socket open, None and True.
    """
    hidden = None
    for each, process in _sockets(candidates, files):
        if each == _HIDDEN:
            hidden = hidden or process
        elif each == inode:
            return process, True
    return hidden, hidden is None


def _sockets(processes: list[Process], files: int) -> Iterator[tuple[int, Process]]:
    """Yield the inode of each open socket with its process, _HIDDEN for a process that cannot be looked through."""
    looked = 0
    for each in processes:
        try:
            for file in os.scandir(_PROC / str(each.pid) / "fd"):
                looked += 1
                if looked > files:
                    yield _HIDDEN, each
                    return
                with suppress(FileNotFoundError):  # closed meanwhile; others may be hidden from this process
                    kind, _, inode = os.readlink(file.path).partition(":[")  # noqa: PTH115 - thousands of files
                    if kind == "socket":
                        yield int(inode[:-1]), each
        except OSError:  # another user's, hidden by ProtectProc=, or ended
            yield _HIDDEN, each


def _described(process: Process) -> _Program:
    """Return what /proc says of a process, at the least its name."""
    folder, executable, command = _PROC / str(process.pid), process.name, ""
    with suppress(OSError):
        executable = str((folder / "exe").readlink())
    with suppress(OSError), (folder / "cmdline").open("rb") as file:
        words = file.read(_COMMAND * 4).rstrip(b"\0").split(b"\0")
        command = " ".join(word.decode(errors="replace") for word in words)[:_COMMAND]
    return _Program(process.pid, executable, command)


def _fit(text: str) -> str:
    """Return a text that can be stored as UTF-8."""
    return text.encode(errors="backslashreplace").decode()

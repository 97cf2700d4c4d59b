"""Which programs run in a cgroup (cgroup v2), and what each is called (taskstats).

Not from /proc: the service does not see the processes of others there (ProtectProc=invisible), and who has opened which
socket is told only to those who may trace a process (CAP_SYS_PTRACE), which is as much as root. taskstats takes
CAP_NET_ADMIN, which stunwalld has.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct, error, pack

from stunwall.netlink import attribute, attributes
from stunwall.sockets.query import KernelQuery

_NETLINK_GENERIC = 16  # linux/netlink.h
# linux/genetlink.h: the family of families, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME
_CONTROL, _GETFAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_GENL_HEADER = 4
# linux/taskstats.h: TASKSTATS_CMD_GET, TASKSTATS_CMD_ATTR_PID, TASKSTATS_TYPE_AGGR_PID, TASKSTATS_TYPE_STATS
_GET, _PID, _AGGREGATE, _STATISTICS = 1, 1, 4, 3
# struct taskstats: version, ac_comm, ac_uid. Version 15 (Linux 6.14) alone has them elsewhere.
_TASKSTATS = Struct("=H78x32s8xI")
_SHIFTED = 15

# Where cgroup v2 is mounted: alone, or beside v1 (systemd's hybrid mode).
_HIERARCHIES = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
_MEMBERS = "cgroup.procs"
_FOLDERS = 4096  # cgroups that are looked through
_PROCESSES = 512  # processes that are asked about, some 5 ms; with more, nothing is known
# A walk through the hierarchy takes some 10 µs for each cgroup. Before the next one we rest so many times as long.
_REST = 10


@dataclass(frozen=True, slots=True)
class Process:
    """A process: the name of its program, cut to 15 characters, its user and its number."""

    name: str
    uid: int
    pid: int


class Processes:
    """Asks the kernel for the processes of a cgroup. Not for several threads."""

    def __init__(self) -> None:
        self._query = KernelQuery(_NETLINK_GENERIC)
        self._family: int | None = None
        self._folders: dict[int, Path] = {}
        self._next_walk = 0.0  # seconds of the monotonic clock

    def close(self) -> None:
        """Close the netlink socket."""
        self._query.close()

    def of(self, cgroup: int) -> Iterator[Process]:
        """Yield the processes of a cgroup, by its inode; none if there are too many, or they are not known."""
        numbers = self._numbers(cgroup)
        if len(numbers) <= _PROCESSES:
            yield from (found for number in numbers if (found := self._process(number)) is not None)

    def _numbers(self, cgroup: int) -> list[int]:
        hierarchy = _hierarchy()
        if hierarchy is None:  # no cgroup v2: all processes that are to be seen
            return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
        folder = self._folder(hierarchy, cgroup)
        with suppress(OSError, ValueError):
            if folder is not None:
                return list(map(int, (folder / _MEMBERS).read_text().split()))
        return []

    def path(self, cgroup: int) -> str:
        """Return the path of a cgroup below the root, by its inode; "" if it is the root, gone or not known."""
        hierarchy = _hierarchy()
        folder = None if hierarchy is None else self._folder(hierarchy, cgroup)
        return "" if hierarchy is None or folder is None else str(folder.relative_to(hierarchy)).strip(".")

    def _folder(self, hierarchy: Path, cgroup: int) -> Path | None:
        """Return the folder of a cgroup, None if it is gone, or so new that it is found only by the next walk."""
        for again in (False, True):
            if again:
                began = time.monotonic()
                if began < self._next_walk:
                    break
                self._folders = _folders(hierarchy)
                ended = time.monotonic()
                self._next_walk = ended + _REST * (ended - began)
            with suppress(OSError, KeyError):
                folder = self._folders[cgroup]
                # When a folder is gone, another one may get its place.
                if folder.stat().st_ino == cgroup:
                    return folder
        return None

    def _process(self, number: int) -> Process | None:
        if self._family is None:
            self._family = self._find_family()
        body = pack("=BBH", _GET, 1, 0) + attribute(_PID, pack("=I", number))
        reply = self._query.ask(self._family, body) if self._family else None
        return None if reply is None else parse(reply, number)

    def _find_family(self) -> int:
        """Return the number of taskstats, 0 if the kernel does not have it (CONFIG_TASKSTATS)."""
        body = pack("=BBH", _GETFAMILY, 1, 0) + attribute(_FAMILY_NAME, b"TASKSTATS\0")
        reply = self._query.ask(_CONTROL, body) or b""
        return int.from_bytes(attributes(reply, _GENL_HEADER, len(reply)).get(_FAMILY_ID, b""), sys.byteorder)


def parse(reply: bytes, pid: int) -> Process | None:
    """Return the process in an answer of taskstats about `pid`, None if it has none, or is malformed."""
    aggregate = attributes(reply, _GENL_HEADER, len(reply)).get(_AGGREGATE, b"")
    statistics = attributes(aggregate, 0, len(aggregate)).get(_STATISTICS, b"")
    try:
        version, name, uid = _TASKSTATS.unpack_from(statistics)
    except error:
        return None
    if version == _SHIFTED:
        return None
    return Process(name.partition(b"\0")[0].decode(errors="replace"), uid, pid)


def _hierarchy() -> Path | None:
    return next((each for each in _HIERARCHIES if (each / _MEMBERS).exists()), None)


def _folders(hierarchy: Path) -> dict[int, Path]:
    """Return the folder of each cgroup by its inode."""
    found: dict[int, Path] = {}
    wanted = [hierarchy]
    while wanted and len(found) < _FOLDERS:
        folder = wanted.pop()
        with suppress(OSError):  # gone meanwhile
            found[folder.stat().st_ino] = folder
            wanted += [Path(each.path) for each in os.scandir(folder) if each.is_dir(follow_symlinks=False)]
    return found

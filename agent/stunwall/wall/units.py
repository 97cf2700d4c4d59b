"""Finds the cgroups of units and applications, and notices when one starts or ends (inotify).

Any user can make cgroups below user@UID.service, as many and as often as they like. So what is read is limited, and it
is read only when a name that an exception means may have come or gone, and then not again for a while.
"""

import ctypes
import os
import re
import select
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from stunwall.config import Allow
from stunwall.wall.cgroup_names import SLICE, Search, exactly, is_fit, searches
from stunwall.wall.contents import Cgroup

ROOT = Path("/sys/fs/cgroup")  # where nft looks too (nftables, src/datatype.c)
PAUSE = 0.2  # seconds from one look at the notifications to the next
# What is read in one place: slices, and names, of which a cgroup has some 60 besides its children.
_FOLDERS_MAX, _NAMES_MAX = 256, 50_000
_FOUND_MAX = 64  # cgroups of one exception
# inotify(7): IN_MOVED_TO, IN_CREATE, IN_DELETE; IN_ONLYDIR; IN_Q_OVERFLOW
_EVENTS = 0x80 | 0x100 | 0x200 | 0x01000000
_OVERFLOW = 0x4000
_EVENT = struct.Struct("=iIII")  # struct inotify_event: watch, mask, cookie, length of the name
_BUFFER = 1 << 16  # bytes
_READS_MAX = 16  # the queue holds less than that (fs.inotify.max_queued_events)
_NONBLOCK = os.O_NONBLOCK | os.O_CLOEXEC
_MONOTONIC = 1  # linux/time.h


class UnitWatch:
    """Finds the cgroups of exceptions by program, and is readable when one of them may have come or gone."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._open("inotify_init1", _NONBLOCK)
        self._timer = self._open("timerfd_create", _MONOTONIC, _NONBLOCK)
        # Readable by notifications; during a pause by its end alone.
        self._epoll = select.epoll()
        self._epoll.register(self._inotify, select.EPOLLIN)
        self._epoll.register(self._timer, select.EPOLLIN)
        self._rules: frozenset[Allow] = frozenset()
        self._found: dict[Allow, tuple[Cgroup, ...]] = {}
        self._stale = True  # what was found may have come or gone
        self._searches: dict[int, list[Search]] = {}  # by watch: what is looked for in its folder

    def close(self) -> None:
        """Stop watching."""
        self._epoll.close()
        os.close(self._timer)
        os.close(self._inotify)

    def fileno(self) -> int:
        """Return the descriptor that is readable when `drain` is to be called."""
        return self._epoll.fileno()

    def drain(self) -> None:
        """Take the notifications so far: by them `find` knows whether it has to look again."""
        with suppress(BlockingIOError):
            os.read(self._timer, 8)
        received = b""
        with suppress(BlockingIOError):
            received = os.read(self._inotify, _BUFFER)
            self._stale |= self._concerns_us(received)
            for _ in range(_READS_MAX):
                os.read(self._inotify, _BUFFER)
                self._stale = True  # these are too many to be read
        self._epoll.modify(self._inotify, 0 if received else select.EPOLLIN)
        if received:
            nanoseconds = int(PAUSE * 1e9)
            times = (ctypes.c_long * 4)(0, 0, *divmod(nanoseconds, 10**9))  # struct itimerspec
            self._libc.timerfd_settime(self._timer, 0, times, None)

    def find(self, rules: Iterable[Allow], *, again: bool = False) -> dict[Allow, tuple[Cgroup, ...]]:
        """Return the cgroups of each exception by program, in their order, and watch for others.

        Nothing is read if nothing has changed, unless `again`.
        """
        wanted = frozenset(rule for rule in rules if rule.by_program)
        if not again and not self._stale and wanted == self._rules:
            return self._found
        self._rules, self._stale = wanted, False
        before, self._searches = self._searches, {}
        found: dict[Allow, set[Cgroup]] = {rule: set() for rule in wanted}
        for place, looked_for in _by_place(wanted).items():
            for cgroup, search in self._look(*place, [search for search, _ in looked_for]):
                for rule in (rule for each, rule in looked_for if each is search):
                    if len(found[rule]) < _FOUND_MAX:
                        found[rule].add(cgroup)
        for watch in before.keys() - self._searches.keys():
            self._libc.inotify_rm_watch(self._inotify, watch)
        self._found = {rule: tuple(sorted(cgroups)) for rule, cgroups in found.items()}
        return self._found

    def _look(self, place: str, deep: bool, wanted: list[Search]) -> Iterator[tuple[Cgroup, Search]]:
        """Yield each cgroup in `place`, and if `deep` in the slices below, with each search that it fits."""
        # From the root down: while a folder is missing, the one above reports when it is made.
        above = Path()
        for part in Path(place).parts:
            self._watch(above, [Search("", False, exactly(part))])
            above /= part
        folders, left = [above], _NAMES_MAX
        for folder in folders:
            self._watch(folder, wanted)
            for name, number in self._children(folder, left):
                left -= 1
                path = str(folder / name)
                if not number or not is_fit(path):
                    continue
                for search in wanted:
                    if search.names.fullmatch(name):
                        yield (path, number), search
                if deep and name.endswith(SLICE) and len(folders) < _FOLDERS_MAX:
                    folders.append(folder / name)

    @staticmethod
    def _children(folder: Path, limit: int) -> Iterator[tuple[str, int]]:
        """Yield the names in a cgroup's folder, each with its number, 0 for a file; none if it has ended."""
        with suppress(OSError), os.scandir(ROOT / folder) as entries:
            for entry in islice(entries, limit):
                yield entry.name, entry.inode() if entry.is_dir(follow_symlinks=False) else 0

    def _watch(self, folder: Path, wanted: list[Search]) -> None:
        watch = self._libc.inotify_add_watch(self._inotify, os.fsencode(ROOT / folder), _EVENTS)
        if watch >= 0:  # else it is not there
            self._searches.setdefault(watch, []).extend(wanted)

    def _concerns_us(self, received: bytes) -> bool:
        """Whether one of these notifications is about a name that is looked for in its folder."""
        at = 0
        while at < len(received):
            watch, mask, _, length = _EVENT.unpack_from(received, at)
            at += _EVENT.size + length
            name = os.fsdecode(received[at - length : at].rstrip(b"\0"))
            if mask & _OVERFLOW or any(search.concerns(name) for search in self._searches.get(watch, ())):
                return True
        return False

    def _open(self, function: str, *arguments: int) -> int:
        descriptor = int(getattr(self._libc, function)(*arguments))
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), function)
        return descriptor


def _by_place(rules: Iterable[Allow]) -> dict[tuple[str, bool], list[tuple[Search, Allow]]]:
    """Return what is looked for in each place, so that each is read once."""
    places: dict[tuple[str, bool], list[tuple[Search, Allow]]] = {}
    for rule in rules:
        for search in searches(rule):
            places.setdefault((search.folder, search.deep), []).append((search, rule))
    return places


def users() -> list[int]:
    """Return the users who are logged in, or have a service manager."""
    with suppress(OSError):
        names = (folder.name for folder in (ROOT / "user.slice").iterdir())
        return sorted(
            int(match[1]) for name in names if (match := re.fullmatch(r"user-(\d{1,10})\.slice", name))
        )
    return []


def living(numbers: Iterable[int]) -> set[int]:
    """Return those of these numbers that cgroups have, wherever in the hierarchy. Reads all of it."""
    wanted, found = set(numbers), set[int]()
    folders = [ROOT]
    for folder in folders:
        if wanted <= found:
            break
        with suppress(OSError), os.scandir(folder) as entries:
            children = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
            found |= wanted & {entry.inode() for entry in children}
            folders += [folder / entry.name for entry in children]
    return found

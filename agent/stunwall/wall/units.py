"""Finds the cgroups of systemd units, and notices when one starts or ends (inotify)."""

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")  # where nft looks too (nftables, src/datatype.c)
_SYSTEM = "system.slice"
# inotify(7): IN_MOVED_TO, IN_CREATE, IN_DELETE; IN_ONLYDIR
_EVENTS = 0x80 | 0x100 | 0x200 | 0x01000000
_NONBLOCK = os.O_NONBLOCK | os.O_CLOEXEC


class UnitWatch:
    """Finds the cgroups of units, and is readable when one of them may have come or gone."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(_NONBLOCK)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor that is readable once something changed."""
        return int(self._descriptor)

    def drain(self) -> None:
        """Discard the notifications so far."""
        with suppress(BlockingIOError):
            while os.read(self._descriptor, 65536):
                pass

    def find(self, units: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Return the cgroup of each unit that runs, and watch for the others.

        That is its path below the root and its number, another one after a restart: a rule with the path still
        means the one that is gone (net/netfilter/nft_socket.c). A unit is a name, looked for among the system's
        services, or a path from the root.
        """
        found = {}
        for unit in set(units):
            path = unit if "/" in unit or unit.endswith(".slice") else f"{_SYSTEM}/{unit}"
            # From the root down: while a folder is missing, the one above reports when it is made.
            folder = ROOT / path
            for above in reversed(folder.parents):
                if above.is_relative_to(ROOT):
                    self._libc.inotify_add_watch(self._descriptor, os.fsencode(above), _EVENTS)
            with suppress(OSError):  # the unit has ended meanwhile
                if folder.is_dir():
                    found[unit] = (path, folder.stat().st_ino)
        return found

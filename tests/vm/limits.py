"""Tries what stunwall's user service has no use for: limits.py FILE writes there, as JSON, which errors it got.

It runs inside the machine, in the service's place. Each of these is something that any user may do elsewhere.
"""

import ctypes
import errno
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

# linux/sched.h, linux/personality.h
CLONE_NEWUSER, ADDR_NO_RANDOMIZE = 0x10000000, 0x0040000
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def attempts(file: Path) -> dict[str, Callable[[], object]]:
    """By the setting of the unit that forbids it."""
    return {
        "RestrictAddressFamilies": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "MemoryDenyWriteExecute": lambda: mmap.mmap(
            -1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        ),
        "RestrictSUIDSGID": lambda: file.chmod(0o4700),
        "LockPersonality": lambda: _call("personality", ADDR_NO_RANDOMIZE),
        "SystemCallFilter": lambda: os.setpriority(os.PRIO_PROCESS, 0, 1),
        "RestrictNamespaces": lambda: _call("unshare", CLONE_NEWUSER),
    }


def main(file: Path) -> None:
    """Tries all of them."""
    file.touch()
    found = {"UMask": f"{file.stat().st_mode & 0o777:o}"}
    for name, attempt in attempts(file).items():
        try:
            attempt()
            found[name] = ""
        except OSError as error:
            found[name] = errno.errorcode[error.errno or 0]
    status = Path("/proc/self/status").read_text()
    found["NoNewPrivileges"] = status.partition("NoNewPrivs:\t")[2][:1]
    file.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A program that does nothing until the test ends it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.deadline import until

_NAME_BYTES = 15  # proc_pid_comm(5)


@contextmanager
def sleeping(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run sleep(1) as `file`, which is made, until the end.

    Begins once the kernel has the name: exec sets it after it has told the parent that it is done (linux/fs/exec.c).
    """
    file.symlink_to(shutil.which("sleep") or "")
    running = subprocess.Popen([file, "infinity"])
    try:
        name = Path(f"/proc/{running.pid}/comm")
        until(lambda: name.read_text() == f"{file.name[:_NAME_BYTES]}\n", 5, f"the start of {file.name}")
        yield running
    finally:
        running.kill()
        running.wait()

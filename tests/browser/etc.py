"""A copy of /etc that programs can be started with, so that the machine's own stays as it is."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self


class Etc:
    """The copy, in `folder`, an empty one. What it starts sees the copy as /etc, and changes only the copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "etc"
        shutil.copytree("/etc", self.folder, symlinks=True, ignore_dangling_symlinks=True)
        # A mount namespace of its own: `unshare` makes its mounts private.
        self.command = (
            *("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', str(self.folder)),
        )

    def write(self, path: str, text: str) -> Self:
        """Writes a file below /etc."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return self

    def browsers(self, *arguments: str) -> str:
        """What `stunwall browsers` prints, which has to work."""
        command = [*self.command, sys.executable, "-m", "stunwall.cli", "browsers", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

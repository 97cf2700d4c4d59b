"""The hierarchy of cgroups, for tests of what belongs to a program."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.topology import Lab

ROOT = Path("/sys/fs/cgroup")


class Cgroups:
    """Cgroups as systemd would make them, and programs in them. Other tests may use the same hierarchy."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._made: list[Path] = []

    def make(self, path: str) -> Path:
        """The cgroup at this path, with those above it."""
        folder = ROOT / path
        for each in reversed((folder, *folder.parents)):
            if not each.exists():
                each.mkdir()
                self._made.append(each)
        return folder

    def remove(self, path: str) -> None:
        self._made.remove(ROOT / path)
        (ROOT / path).rmdir()

    def close(self) -> None:
        for folder in reversed(self._made):
            with suppress(OSError):  # another test has put something there meanwhile
                folder.rmdir()

    def printed(self, path: str, *command: str) -> str:
        """What a command prints that the client runs in the cgroup at this path."""
        enter = f'echo 0 >{shlex.quote(str(self.make(path)))}/cgroup.procs && exec "$@"'
        return self._lab.client.printed("sh", "-c", enter, "sh", *command)

    @contextmanager
    def inside(self, path: str) -> Iterator[None]:
        """Sockets and processes that this process makes belong to the cgroup at this path."""
        (self.make(path) / "cgroup.procs").write_text("0")
        try:
            yield
        finally:
            (ROOT / "cgroup.procs").write_text("0")

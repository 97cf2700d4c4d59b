"""The C programs of this folder, and programs that measure once for each line that they get."""

import random
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Self, TypeVar

from lab.namespace import Namespace

LIBRARIES = {
    "server": ["-lpthread"],
    "sender": ["-lm"],
    "asker": [],
    "listener": ["-lnetfilter_queue"],
    "media": [],
}


T = TypeVar("T")
U = TypeVar("U")


def turns(peers: Mapping[T, U]) -> list[tuple[T, U]]:
    """Each once, in another order each time, so that nobody always comes after the same one."""
    return random.sample(list(peers.items()), len(peers))


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="stunwall-bench-")


@cache
def program(name: str) -> Path:
    """One of the C programs, compiled once a run."""
    file = Path(_folder().name) / name
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(
        ["gcc", "-O2", "-Wall", "-Werror", "-o", str(file), str(source), *LIBRARIES[name]], check=True
    )
    return file


class Meter:
    """A program in a namespace that measures when it gets a line, and prints what it has measured in one."""

    def __init__(self, namespace: Namespace, name: str, *arguments: str) -> None:
        self._name = name
        self._child = subprocess.Popen(
            namespace.command(str(program(name)), *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()

    def measure(self) -> list[str]:
        """The words that it prints; RuntimeError, with what it says, if it has ended."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with suppress(BrokenPipeError):
            self._child.stdin.write("\n")
            self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended: {self._child.communicate()[1].strip()}")
        return line.split()

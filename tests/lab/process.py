"""A program that runs beside the tests, inside a namespace, with its output kept."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from lab.deadline import until
from lab.namespace import Namespace


class Process:
    """`arguments` started inside `namespace`; stdout and stderr are read into `lines`.

    It has its own process group, which stop() and kill() end as a whole.
    """

    def __init__(self, namespace: Namespace, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.name = Path(arguments[0]).name
        self.lines: list[str] = []
        self._child = subprocess.Popen(
            namespace.command(*arguments),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True, env={**os.environ, **(env or {})},
        )  # fmt: skip
        assert self._child.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._child.stdout,), daemon=True)
        self._reader.start()

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        """All that it printed so far."""
        return "\n".join(self.lines)

    @property
    def pid(self) -> int:
        # `ip netns exec` replaces itself, so this is the program's own.
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def wait_line(self, text: str, seconds: float) -> None:
        """Returns once a line containing `text` was printed.

        Raises RuntimeError with the output if the program ends or `seconds` pass before it.
        """
        try:
            until(lambda: self._said(text) or not self.running, seconds, f"'{text}' from {self.name}")
        except TimeoutError as late:
            raise RuntimeError(f"{late}; it printed:\n{self.output}") from late
        if not self.running:
            self._reader.join(1)
        if not self._said(text):
            raise RuntimeError(f"{self.name} ended with {self._child.returncode}; it printed:\n{self.output}")

    def _said(self, text: str) -> bool:
        return any(text in line for line in list(self.lines))

    def stop(self, seconds: float = 5) -> int:
        """Sends SIGTERM, after `seconds` SIGKILL to the whole group, and returns the exit code."""
        if self.running:
            self._child.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)
        return self.kill()

    def kill(self) -> int:
        """Sends SIGKILL to what is left of the process group, and returns the exit code."""
        with suppress(ProcessLookupError):  # the group is gone already
            os.killpg(self._child.pid, signal.SIGKILL)
        code = self._child.wait(10)
        self._reader.join(1)
        return code

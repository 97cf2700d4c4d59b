"""A program that runs inside a namespace while the tests go on, with its output kept."""

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
    """Starts `arguments` inside `namespace`; what it prints, also to stderr, goes to `lines`.

    It has its own process group, and kill() kills the whole group.
    """

    def __init__(self, namespace: Namespace, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.name = Path(arguments[0]).name
        self.lines: list[str] = []
        self._child = subprocess.Popen(
            namespace.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
        assert self._child.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._child.stdout,), daemon=True)
        self._reader.start()

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        """Everything it has printed so far."""
        return "\n".join(self.lines)

    @property
    def pid(self) -> int:
        # `ip netns exec` replaces itself with the program.
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def wait_line(self, text: str, seconds: float) -> None:
        """Returns once the program has printed a line that contains `text`.

        Raises RuntimeError, with all output, if the program ends first or `seconds` pass.
        """
        try:
            until(lambda: self._printed(text) or not self.running, seconds, f"'{text}' from {self.name}")
        except TimeoutError as late:
            raise RuntimeError(f"{late}; it printed:\n{self.output}") from late
        if not self.running:
            self._reader.join(1)
        if not self._printed(text):
            raise RuntimeError(f"{self.name} ended with {self._child.returncode}; it printed:\n{self.output}")

    def ended(self, seconds: float) -> int:
        """The exit code, once the program has ended by itself."""
        until(lambda: not self.running, seconds, f"the end of {self.name}")
        self._reader.join(1)
        return self._child.wait()

    def _printed(self, text: str) -> bool:
        return any(text in line for line in list(self.lines))

    def stop(self, seconds: float = 5) -> int:
        """Sends SIGTERM, waits up to `seconds`, kills what is left, and returns the exit code."""
        if self.running:
            self._child.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)
        return self.kill()

    def kill(self) -> int:
        """Sends SIGKILL to what is left of the process group, and returns the exit code."""
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(self._child.pid, signal.SIGKILL)
        code = self._child.wait(10)
        self._reader.join(1)
        return code

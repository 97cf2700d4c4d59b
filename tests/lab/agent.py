"""stunwalld on the client, started and ended as a test wants it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.process import Process
from lab.topology import Lab

PACKAGE = Path(__file__).parents[2] / "agent"
REDIRECT_TABLE = "4780"  # of redirected packets
READY_SECONDS = 15  # it takes under one; two busy cores may stretch that

Value = str | int | bool | list[str] | list[int]


class Agent:
    """A stunwalld with its own folders, and a configuration file of the keys in `config`.

    In a `with` it is ready, and afterwards nothing of it is left.
    """

    def __init__(self, lab: Lab, **config: Value) -> None:
        self._lab = lab
        self._folder = tempfile.TemporaryDirectory(prefix="stunwall-")
        folder = self.folder = Path(self._folder.name)
        self._file = folder / "stunwall.toml"
        self.set(**config)
        self._process: Process | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin(self, *options: str, **environment: str) -> None:
        """Starts the daemon and returns at once."""
        command = [*self.command("stunwall.daemon"), *options]
        self._process = Process(self._lab.client, *command, env=_ENVIRONMENT | environment)

    def wait_ready(self) -> None:
        """Returns when the daemon is ready; RuntimeError, with what it printed, if it ends before."""
        self._running.wait_line("ready", READY_SECONDS)

    def start(self, *options: str, **environment: str) -> None:
        self.begin(*options, **environment)
        self.wait_ready()

    def set(self, **config: Value) -> None:
        """Writes the configuration file anew, with these keys besides those of the folders."""
        folders = {"state_dir": f"{self.folder}/state", "run_dir": f"{self.folder}/run"}
        # For strings, numbers, booleans and lists of them JSON is also TOML.
        keys: dict[str, Value] = {**folders, **config}
        self._file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))

    def daemon(self, *options: str) -> subprocess.CompletedProcess[str]:
        """`stunwalld --config … options`, run to its end on the client; its exit code isn't checked."""
        return self._run("stunwall.daemon", *options)

    def stop(self) -> int:
        """Sends SIGTERM and returns the exit code."""
        return self._running.stop()

    def kill(self) -> None:
        """Sends SIGKILL: the daemon can't clean up."""
        self._running.kill()

    def close(self) -> None:
        """Ends the daemon whatever it is doing, and removes what it left in the kernel."""
        if self._process is not None:
            self._process.kill()
        if wall_stands(self._lab):
            self._lab.client.nft("delete table inet stunwall")
        for family in ("-4", "-6"):
            for left in ("rule", "route"):
                self._lab.client.run("ip", family, left, "flush", "table", REDIRECT_TABLE)
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def lines(self) -> list[str]:
        """What the running daemon has logged so far."""
        return list(self._running.lines)

    def wait_line(self, text: str, seconds: float = 5) -> None:
        """Returns once the daemon has logged `text`; RuntimeError if it doesn't in time."""
        self._running.wait_line(text, seconds)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`stunwall --config … arguments`, run on the client; its exit code isn't checked."""
        return self._run("stunwall.cli", *arguments)

    def _run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        assignments = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
        return self._lab.client.run("env", *assignments, *self.command(module), *arguments)

    def command(self, module: str) -> list[str]:
        """What a module of stunwall is run by, with this configuration."""
        return [sys.executable, "-m", module, "--config", str(self._file)]

    @property
    def _running(self) -> Process:
        assert self._process is not None, "the daemon was never started"
        return self._process


def wall_stands(lab: Lab) -> bool:
    """Whether the client's kernel has stunwall's table."""
    return lab.client.run("nft", "list", "table", "inet", "stunwall").returncode == 0


_ENVIRONMENT = {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}

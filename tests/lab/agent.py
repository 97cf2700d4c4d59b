"""stunwalld on the client, started and stopped as a test needs it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Protocol, Self

from lab.namespace import Namespace
from lab.process import Process
from lab.topology import Lab

PACKAGE = Path(__file__).parents[2] / "agent"
DAEMON, CLI = "stunwall.daemon", "stunwall.cli"  # modules
RULES = "rules/stunwall.nft"  # from the checkout, in which the tests run
QUEUE = 4780  # the default
ROUTING_TABLE = "4780"  # for redirected packets
READY_SECONDS = 15  # it takes less than one; other tests may use the same processors
QUEUE_CHAIN = "to_stunwalld"  # in stunwall's table: the chain with the queue rule
RULES_PUT_BACK = "the wall was not intact"  # what the daemon logs about a gap

Value = str | int | bool | list[str] | list[int]


class Machine(Protocol):
    """Whatever has a client on which stunwalld can run."""

    @property
    def client(self) -> Namespace: ...


class Agent:
    """A stunwalld with folders of its own, and a configuration file with the keys in `config`.

    Inside a `with` it is ready; afterwards nothing of it is left.
    """

    def __init__(self, lab: Machine, **config: Value) -> None:
        self._lab = lab
        self._folder = tempfile.TemporaryDirectory(prefix="stunwall-")
        self.folder = Path(self._folder.name)
        self._file = self.folder / "stunwall.toml"
        self.set(**config)
        self.launcher: tuple[str, ...] = ()
        """The command that starts the daemon, if it isn't started directly."""
        self._process: Process | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, *options: str, **environment: str) -> None:
        """Starts the daemon and returns at once."""
        command = [*self.launcher, *self.command(DAEMON), *options]
        self._process = Process(self._lab.client, *command, env=_ENVIRONMENT | environment)

    def wait_ready(self) -> None:
        """Returns once the daemon is ready; RuntimeError, with its output, if it ends first."""
        self._running.wait_line("ready", READY_SECONDS)

    def start(self, *options: str, **environment: str) -> None:
        self.begin(*options, **environment)
        self.wait_ready()

    def set(self, **config: Value) -> None:
        """Writes the configuration file anew, with these keys and those of the folders."""
        folders = {"state_dir": f"{self.folder}/state", "run_dir": f"{self.folder}/run"}
        # JSON's strings, numbers, booleans and lists of them are also TOML.
        keys: dict[str, Value] = {**folders, **config}
        self._file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))

    def drop_in(self, name: str, text: str) -> None:
        """Writes a file to the configuration's conf.d."""
        folder = self.folder / "conf.d"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    def daemon(self, *options: str) -> subprocess.CompletedProcess[str]:
        """The finished `stunwalld --config … options` on the client, whatever its exit code."""
        return self._run(DAEMON, *options)

    def stop(self) -> int:
        """Sends SIGTERM and returns the exit code."""
        return self._running.stop()

    def kill(self) -> None:
        """Sends SIGKILL, so that the daemon can't clean up."""
        self._running.kill()

    def close(self) -> None:
        """Ends the daemon whatever it is doing, and removes what it left in the kernel."""
        if self._process is not None:
            self._process.kill()
        if wall_is_up(self._lab):
            self._lab.client.nft("delete table inet stunwall")
        self._lab.client.run("nft", "delete", "table", "netdev", "stunwall")  # left where nft knows `persist`
        for version in ("-4", "-6"):
            for left in ("rule", "route"):
                self._lab.client.run("ip", version, left, "flush", "table", ROUTING_TABLE)
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
        """The finished `stunwall --config … arguments` on the client, whatever its exit code."""
        return self._run(CLI, *arguments)

    def _run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._lab.client.run(*self.environment, *self.command(module), *arguments)

    @property
    def environment(self) -> list[str]:
        """What precedes a command line of one of stunwall's modules."""
        return ["env", *(f"{name}={value}" for name, value in _ENVIRONMENT.items())]

    def command(self, module: str) -> list[str]:
        """The command line that runs one of stunwall's modules with this configuration."""
        return [sys.executable, "-m", module, "--config", str(self._file)]

    @property
    def _running(self) -> Process:
        assert self._process is not None, "the daemon was never started"
        return self._process


def wall_is_up(lab: Machine) -> bool:
    """Whether the client's kernel has stunwall's table."""
    return lab.client.run("nft", "list", "table", "inet", "stunwall").returncode == 0


def redirect_rules(lab: Lab) -> list[str]:
    """stunwall's policy routing rules and routes on the client, as `ip` prints them."""
    found = []
    for version in ("-4", "-6"):
        rules = lab.client.run("ip", version, "rule").stdout.splitlines()
        routes = lab.client.run("ip", version, "route", "show", "table", ROUTING_TABLE).stdout.splitlines()
        found += [rule for rule in rules if f"lookup {ROUTING_TABLE}" in rule] + routes
    return found


_ENVIRONMENT = {"PYTHONPATH": str(PACKAGE)}

"""A user of the machine, with the user manager that systemd starts for one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from lab.messages import REFUSED, binding_request, error_code
from vm.channel import Done, Running
from vm.early import SLOW
from vm.machine import Machine

# Sends a message to a server, prints the answer, and keeps its socket open until it gets SIGTERM.
ASK = """
import signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(60)
    sock.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[1], int(sys.argv[2])))
    print(sock.recv(1500).hex(), flush=True)
    signal.sigwait({signal.SIGTERM})
"""


@dataclass(frozen=True, slots=True)
class User:
    """Made by `add`."""

    machine: Machine
    name: str
    uid: int

    @classmethod
    def add(cls, machine: Machine, name: str, *options: str) -> Self:
        """Makes the user, as useradd(8) does with these options."""
        machine.run("useradd", "--create-home", *options, name)
        return cls(machine, name, int(machine.run("id", "-u", name)))

    @property
    def manager(self) -> str:
        return f"user@{self.uid}.service"

    @property
    def home(self) -> str:
        return f"/home/{self.name}"

    def log_in(self) -> None:
        """Starts the user's manager, which then stays until it is stopped."""
        self.machine.run("loginctl", "enable-linger", self.name, seconds=SLOW)
        self.machine.run("systemctl", "start", self.manager, seconds=SLOW)

    def start(self, *command: str, text: str = "") -> Running:
        """Starts a command as in a login of this user."""
        login = (
            f"--reuid={self.name}",
            f"--regid={self.name}",
            "--init-groups",
            "--reset-env",
            "env",
            f"XDG_RUNTIME_DIR=/run/user/{self.uid}",
        )
        return self.machine.start("setpriv", *login, *command, text=text)

    def attempt(self, *command: str, text: str = "") -> Done:
        """The finished command, whatever its exit code."""
        return self.start(*command, text=text).wait(SLOW)

    def run(self, *command: str, text: str = "") -> str:
        """What the command prints; AssertionError with all that it said if it fails."""
        done = self.attempt(*command, text=text)
        assert done.code == 0, str(done)
        return done.output

    def systemctl(self, *arguments: str) -> str:
        """What `systemctl --user` prints."""
        return self.run("systemctl", "--user", *arguments)

    @contextmanager
    def refused(self, server: tuple[str, int], *prefix: str) -> Iterator[None]:
        """A program of this user has asked a STUN server, and lives until the block ends; stunwall must refuse it.

        `prefix`: the command that starts it.
        """
        host, port = server
        program = self.start(*prefix, "python3", "-c", ASK, host, str(port), binding_request().hex())
        try:
            yield
        finally:
            program.stop()
        assert error_code(bytes.fromhex(program.wait().output)) == REFUSED

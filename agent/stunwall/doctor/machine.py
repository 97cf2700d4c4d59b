"""What `stunwall doctor` examines: the configuration, the daemon, interfaces, files, and the output of programs."""

import os
import pwd
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stunwall import hints
from stunwall.config import Config
from stunwall.control.protocol import Status
from stunwall.doctor.findings import Finding
from stunwall.model import StunwallError
from stunwall.wall import inspection

_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
_INTERFACES = Path("/sys/class/net")
_SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"
_TIMEOUT = 10  # seconds until a program must have finished


class ProgramError(StunwallError):
    """A program could not be run, or did not finish."""


@dataclass
class Machine:
    """What the checks examine.

    The check `configuration` sets `settings` and `readable`, the check `daemon` sets `daemon`. So these two run before
    those that use them. `settings` are the defaults if the configuration is not `readable`; `daemon` is None if it is
    not running or did not answer.
    """

    file: Path
    settings: Config = field(default_factory=Config)
    daemon: Status | None = None
    readable: bool = True

    @property
    def queue(self) -> int:
        """The queue number in effect if the daemon is running, otherwise the configured one."""
        return int((self.daemon or {}).get("queue", self.settings.queue))

    @property
    def mark_mask(self) -> int:
        """The mark bits in effect if the daemon is running, otherwise the configured ones."""
        return int((self.daemon or {}).get("mark_mask", self.settings.mark_mask))

    @property
    def in_effect(self) -> Config:
        """The configuration, with the queue and the mark bits in effect."""
        return replace(self.settings, queue=self.queue, mark_mask=self.mark_mask)

    @property
    def systemd(self) -> bool:
        """Whether systemd runs this machine."""
        return _SYSTEMD.is_dir()

    @property
    def start(self) -> str:
        """The command that starts the daemon on this machine."""
        return hints.start(self.systemd)

    @property
    def restart(self) -> str:
        """How to restart the daemon on this machine."""
        return hints.restart(self.systemd)

    @property
    def then_restart(self) -> str:
        """The end of a sentence that says to restart the daemon after something else."""
        return hints.then_restart(self.systemd)

    @cached_property
    def ruleset(self) -> list[dict[str, Any]]:
        """The objects of every table, as inspection.read_ruleset has them. Raises NftError."""
        return inspection.read_ruleset()

    @staticmethod
    def output(*command: str) -> str:
        """Return what a program prints, whatever its exit code. Raises ProgramError."""
        # After `su`, PATH may lack the sbin folders.
        environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:{_SBIN}"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT, check=False, env=environment
            )
        except subprocess.TimeoutExpired as error:
            raise ProgramError(f"{command[0]} did not finish within {_TIMEOUT} s") from error
        except OSError as error:
            raise ProgramError(f"cannot run {command[0]}: {error.strerror}") from error
        return done.stdout

    @staticmethod
    def interfaces() -> list[str]:
        """Return the names of the network interfaces."""
        return [path.name for path in _INTERFACES.iterdir()]

    @staticmethod
    def is_network_card(interface: str) -> bool:
        """Whether an interface is backed by hardware, which a VPN interface is not."""
        return (_INTERFACES / interface / "device").exists()


Check = Callable[[Machine], Iterator[Finding]]


def user_name(number: int) -> str:
    """Return the name of a user, or the number if there is none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def look(path: Path) -> os.stat_result | None:
    """Return the status of a file, None if it does not exist. Raises OSError if it cannot be read."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None

"""What a check of `stunwall doctor` finds, and what it looks at."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from stunwall.config import Config
from stunwall.control.protocol import Status
from stunwall.wall import nft

SYSTEMD = Path("/run/systemd/system")
_TIMEOUT = 10  # seconds for another program's answer


class Result(StrEnum):
    """How bad it is, the worst first."""

    PROBLEM = "problem"
    WARNING = "warning"
    UNKNOWN = "unknown"
    NOTE = "note"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: what it is, why it matters, what to do next."""

    check: str
    result: Result
    what: str
    why: str = ""
    next: str = ""


@dataclass
class Machine:
    """What the checks look at: the configuration, the defaults if it is wrong, and what the daemon says, if it runs."""

    file: Path
    settings: Config = field(default_factory=Config)
    daemon: Status | None = None
    readable: bool = True
    """Whether the configuration is right, so that `settings` are its."""

    @property
    def queue(self) -> int:
        """The queue in force, if a daemon runs; else the one that the configuration names."""
        return int((self.daemon or {}).get("queue", self.settings.queue))

    @property
    def mark_mask(self) -> int:
        """As `queue`."""
        return int((self.daemon or {}).get("mark_mask", self.settings.mark_mask))


Check = Callable[[Machine], Iterator[Finding]]


def start() -> str:
    """How to start the daemon on this machine."""
    return "sudo systemctl start stunwall" if SYSTEMD.is_dir() else "sudo stunwalld"


def restart() -> str:
    """As `start`, of a daemon that may run."""
    return "sudo systemctl restart stunwall" if SYSTEMD.is_dir() else "end stunwalld, then `sudo stunwalld`"


def output(*command: str) -> str:
    """Return what a program prints, whatever its exit code. Raises OSError and SubprocessError."""
    # `su` may leave a PATH without the folders of the system's own programs.
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:{nft.SBIN}"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_TIMEOUT, check=False, env=environment
    )
    return done.stdout

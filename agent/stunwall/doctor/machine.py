"""The machine that `stunwall doctor` looks at: its configuration, daemon, interfaces, and what programs print."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stunwall import hints
from stunwall.config import Config
from stunwall.control.protocol import Status
from stunwall.doctor.findings import Finding
from stunwall.wall import nft

_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
_INTERFACES = Path("/sys/class/net")
_TIMEOUT = 10  # seconds for another program's answer


@dataclass
class Machine:
    """What the checks look at.

    The check `configuration` sets `settings` (else the defaults) and `readable`; the check `daemon` sets `daemon`,
    which is None if it does not run. So these two come before those that use them.
    """

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
        """How a sentence goes on that ends in a restart of the daemon."""
        return hints.then_restart(self.systemd)

    @staticmethod
    def output(*command: str) -> str:
        """Return what a program prints, whatever its exit code. Raises OSError and SubprocessError."""
        # `su` may leave a PATH without the folders of the system's own programs.
        environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:{nft.SBIN}"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=False, env=environment
        )
        return done.stdout

    @staticmethod
    def interfaces() -> list[str]:
        """Return the names of the network interfaces."""
        return [path.name for path in _INTERFACES.iterdir()]

    @staticmethod
    def is_network_card(interface: str) -> bool:
        """Whether a device is behind an interface; a VPN's has none."""
        return (_INTERFACES / interface / "device").exists()


Check = Callable[[Machine], Iterator[Finding]]


def look(path: Path) -> os.stat_result | None:
    """Return what is known of a file, None if there is none. Raises OSError where it may not be looked at."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None

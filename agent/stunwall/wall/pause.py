"""The pause: all STUN passes for a time, which ends by itself in the kernel."""

import time

from stunwall.model import StunwallError
from stunwall.wall import table

LONGEST = 86400  # seconds: who needs more wants another configuration


class PauseError(StunwallError):
    """A pause that cannot be."""


class Pause:
    """When the pause ends. The kernel's set decides; this is for status, log and the daemon's own timer."""

    def __init__(self) -> None:
        self.until = 0.0  # Unix seconds
        self._awake_until = 0.0  # seconds of the clock that runs while the machine sleeps too

    def start(self, seconds: int) -> None:
        """Let all STUN pass for so many seconds. Raises StunwallError."""
        if not 0 < seconds <= LONGEST:
            raise PauseError(f"a pause lasts from 1 second to {LONGEST // 3600} hours")
        now = int(time.time())
        table.pause(seconds, now)
        self.until = now + seconds
        self._awake_until = _boottime() + seconds

    def end(self) -> None:
        """End it now. Raises NftError."""
        self.until = 0.0
        table.pause(0, 0)

    def renew(self) -> None:
        """Put it into a wall that is new, if there is one. Raises NftError."""
        if seconds := int(self.left):
            table.pause(seconds, int(time.time()))

    def take_over(self, seconds: int) -> None:
        """Take over a pause that a daemon before this one began and that has so many seconds left."""
        self.until = time.time() + seconds
        self._awake_until = _boottime() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; 0 if there is no pause."""
        return max(0.0, min(self.until - time.time(), self._awake_until - _boottime())) if self.until else 0.0


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)

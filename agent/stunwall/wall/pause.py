"""The pause: all STUN may pass for a time. The kernel ends it, with or without the daemon."""

import time
from math import inf

from stunwall.model import StunwallError
from stunwall.wall import table
from stunwall.wall.nft import Nft

LONGEST = 86400  # seconds: to let STUN pass for longer, change the configuration


class PauseError(StunwallError):
    """The pause has an impossible length."""


class Pause:
    """When the pause ends. The set in the kernel decides; this is for the status, the log and the daemon's timer."""

    def __init__(self, nft: Nft) -> None:
        self._nft = nft
        self.until = 0.0  # Unix seconds
        self._awake_until = 0.0  # seconds of the clock that runs while the machine sleeps too
        self._times_out = 0.0  # seconds of the clock that does not, by which sets time out

    def start(self, seconds: int) -> None:
        """Let all STUN pass for this many seconds. Raises PauseError or NftError."""
        if not 0 < seconds <= LONGEST:
            raise PauseError(f"a pause lasts from 1 second to {LONGEST // 3600} hours")
        now = int(time.time())
        table.pause(self._nft, seconds, now)
        self._continue(now + seconds, seconds)

    def end(self) -> None:
        """End it now. Raises NftError."""
        self.until = 0.0
        table.pause(self._nft, 0, 0)

    def renew(self) -> None:
        """Put the pause, if there is one, into a table that was just loaded. Raises NftError."""
        if seconds := int(self.left):
            table.pause(self._nft, seconds, int(time.time()))
            self._times_out = time.monotonic() + seconds

    def take_over(self, seconds: int) -> None:
        """Continue a pause that an earlier daemon started; `seconds` of it are left."""
        self._continue(time.time() + seconds, seconds)

    @property
    def left(self) -> float:
        """Seconds that are left; 0 if there is no pause."""
        return max(0.0, min(self.until - time.time(), self._awake_until - _boottime())) if self.until else 0.0

    @property
    def times_out(self) -> float:
        """Seconds until the kernel's element times out, or less than 0 if there is no pause."""
        return self._times_out - time.monotonic() if self.until else -inf

    def _continue(self, until: float, seconds: int) -> None:
        self.until = until
        self._awake_until = _boottime() + seconds
        self._times_out = time.monotonic() + seconds


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)

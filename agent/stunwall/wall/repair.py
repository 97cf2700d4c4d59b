"""Keeps the wall standing: what another program does to it is noticed, put back, and told as a gap."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from stunwall.daemon.sync import Network
from stunwall.model import StunwallError
from stunwall.wall import firewall
from stunwall.wall.monitor import Change, Changes
from stunwall.wall.pause import Pause

KEPT = 10  # gaps that `status` shows; the record has them all
_TRIES = 5  # to put the wall back, before others have their turn


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without a whole wall, in Unix seconds; `who` changed it, "" if that is not known."""

    start: float
    end: float
    who: str

    @property
    def sentence(self) -> str:
        """What happened, for log and record."""
        return (
            f"the wall was not whole for {self.end - self.start:.3f} s: its rules were changed by "
            f"{self.who or 'a program that is not known'}"
        )


class Sentry:
    """Follows the kernel's rules. `tell(gap)` is called for every gap, `problem(text)` while one can't be closed."""

    def __init__(
        self,
        network: Network,
        pause: Pause,
        open_door: Callable[[], None],
        tell: Callable[[Gap], None],
        problem: Callable[[str], None],
    ) -> None:
        self.gaps: list[Gap] = []
        self._network = network
        self._pause = pause
        self._open_door = open_door
        self._tell = tell
        self._problem = problem
        self._since: tuple[float, str] | None = None  # of a gap that is open: start and who
        # Before the wall is put up, so that no change falls in between.
        self._changes = Changes()

    def close(self) -> None:
        """Stop following."""
        self._changes.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when `inspect` is to be called."""
        return self._changes.fileno()

    @property
    def troubled(self) -> bool:
        """Whether there is a gap that could not be closed yet."""
        return self._since is not None

    def put_up(self) -> None:
        """Put up the wall as the network is now, its door open, a pause going on. Raises StunwallError."""
        self._network.put_up_the_wall()
        self._pause.renew()
        self._open_door()

    def inspect(self) -> None:
        """Look at what was done to the wall, and put back what is missing."""
        now = time.time()
        try:
            change = self._changes.take()
            if change is not None and self._since is None and not self._stands(change):
                self._since = now, change.who
            if self._since is None:
                return
            if change is not None and not self._since[1]:  # it was noticed before it was told
                self._since = self._since[0], change.who
            end = self._put_back()
        except StunwallError as error:
            self._since = self._since or (now, "")
            self._problem(
                f"the wall is not whole and could not be put back: {error}. STUN may leave meanwhile"
            )
            return
        gap = Gap(self._since[0], end, self._since[1])
        self._since = None
        self.gaps = [*self.gaps, gap][-KEPT:]
        self._problem("")
        self._tell(gap)

    def _put_back(self) -> float:
        """Put the wall up until it stands; return when it did, in Unix seconds. Raises StunwallError."""
        for _ in range(_TRIES):
            self.put_up()
            end = time.time()
            late = (
                self._changes.take()
            )  # of what was done before or while it was put up, else the next look finds it
            if late is not None and late.wiped:
                self._since = self._since[0] if self._since else end, late.who
                continue
            wall = firewall.read()
            if wall is not None and wall.whole and wall.queue is not None:
                return end
        raise StunwallError("another program removes its rules as fast as they are put back")

    def _stands(self, change: Change) -> bool:
        """Whether the wall is whole all the same; then its sets are filled again, and a door that was shut opens."""
        wall = None if change.wiped else firewall.read()
        if wall is None or not wall.whole:
            return False
        if wall.queue is None:  # the file was loaded anew
            self.put_up()
        else:
            self._network.refill()
        return True

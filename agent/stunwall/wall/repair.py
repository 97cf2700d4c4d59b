"""Keeps the table intact: changes by other programs are undone and reported as a gap."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from stunwall.model import StunwallError
from stunwall.wall import state
from stunwall.wall.monitor import Change, RulesetMonitor

KEPT = 10  # gaps that `status` shows; the record has them all
_TRIES = 5  # to put the wall back before the loop serves its other parts


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which the wall was not intact, in Unix seconds; `who` changed it, "" if that is not known."""

    start: float
    end: float
    who: str

    @property
    def sentence(self) -> str:
        """What happened, for the log and the record."""
        return (
            f"the wall was not intact for {self.end - self.start:.3f} s: its rules were changed by "
            f"{self.who or 'an unknown program'}"
        )


class Repair:
    """Follows the kernel's rules and repairs the wall.

    Args:
        put_up: loads the wall with all that belongs in it: sets, pause, queue rules. Raises StunwallError.
        refill: replaces the elements of the sets. Raises StunwallError.
        report: is called with every gap, once it is closed.
        problem: is called with what is wrong while a gap cannot be closed, and with "" once it is.
    """

    def __init__(
        self,
        put_up: Callable[[], None],
        refill: Callable[[], None],
        report: Callable[[Gap], None],
        problem: Callable[[str], None],
    ) -> None:
        self.gaps: list[Gap] = []
        self._put_up = put_up
        self._refill = refill
        self._report = report
        self._problem = problem
        self._open: tuple[float, str] | None = None  # a gap that is not closed: start and who
        # Before the wall is put up, so that no change is missed.
        self._monitor = RulesetMonitor()

    def close(self) -> None:
        """Stop following."""
        self._monitor.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when `inspect` is to be called."""
        return self._monitor.fileno()

    @property
    def failing(self) -> bool:
        """Whether there is a gap that could not be closed yet."""
        return self._open is not None

    def inspect(self) -> None:
        """Look at what was done to the wall, and put back what is missing."""
        now = time.time()
        try:
            change = self._monitor.take()
            if change is not None and self._open is None and not self._is_intact(change):
                self._open = now, change.who
            if self._open is None:
                return
            if change is not None and not self._open[1]:  # the gap was noticed before its notification came
                self._open = self._open[0], change.who
            end = self._put_back()
        except StunwallError as error:
            self._open = self._open or (now, "")
            self._problem(
                f"the wall is not intact and could not be repaired: {error}. STUN may leak meanwhile"
            )
            return
        gap = Gap(self._open[0], end, self._open[1])
        self._open = None
        self.gaps = [*self.gaps, gap][-KEPT:]
        self._problem("")
        self._report(gap)

    def _put_back(self) -> float:
        """Put the wall up until it is intact; return when it was, in Unix seconds. Raises StunwallError."""
        for _ in range(_TRIES):
            self._put_up()
            end = time.time()
            # What was done before or while it was put up; the next call finds what comes later.
            late = self._monitor.take()
            if late is not None and late.wiped:
                self._open = self._open[0] if self._open else end, late.who
                continue
            wall = state.read()
            if wall is not None and wall.intact and wall.queue is not None:
                return end
        raise StunwallError("another program removes its rules as fast as they are put back")

    def _is_intact(self, change: Change) -> bool:
        """Whether the wall is intact all the same; then its sets are refilled, and missing queue rules put in."""
        wall = None if change.wiped else state.read()
        if wall is None or not wall.intact:
            return False
        if wall.queue is None:  # the file was loaded again
            self._put_up()
        else:
            self._refill()
        return True

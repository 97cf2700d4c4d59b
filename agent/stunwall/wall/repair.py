"""Keeps the table as the daemon left it: changes by other programs are undone and reported as a gap."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from stunwall.hints import shortened
from stunwall.model import StunwallError
from stunwall.wall import reference, state
from stunwall.wall.listing import Listing
from stunwall.wall.monitor import Change, RulesetMonitor
from stunwall.wall.nft import Nft
from stunwall.wall.reference import Filled

KEPT = 10  # gaps that `status` shows; the record has them all
_TRIES = 5  # to put the wall back before the loop serves its other parts


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which the wall was not as we left it, in Unix seconds; its length is measured by CLOCK_BOOTTIME.

    `who` changed it, "" if that is not known. `what` has the parts that were changed, as listing.differences() says it.
    `second_lock_held`: the wall had no rules at all, so nothing was marked as passed, and the second lock dropped STUN
    on every way out. Of another change that is not known.
    """

    start: float
    end: float
    who: str
    what: tuple[str, ...] = ()
    second_lock_held: bool = False

    @property
    def sentence(self) -> str:
        """What happened, for the log and the record."""
        held = "; the second lock held" if self.second_lock_held else ""
        return (
            f"the wall was not intact for {self.end - self.start:.3f} s: it was changed by "
            f"{self.who or 'an unknown program'}: {shortened(self.what)}{held}"
        )


class _Clocks:
    """Now in seconds: `wall` is Unix time, and `boot` CLOCK_BOOTTIME, which nobody can set (clock_gettime(2))."""

    def __init__(self) -> None:
        self.wall = time.time()
        self.boot = time.clock_gettime(time.CLOCK_BOOTTIME)


class Repair:
    """Follows the kernel's rules and repairs the wall.

    Args:
        put_up: replaces the wall by a new one with its sets, pause and queue rules. Raises StunwallError.
        filled: returns what belongs in the sets now.
        report: is called with every gap, once it is closed.
        problem: is called with what is wrong while a gap cannot be closed, and with "" once it is.
        second_lock_held: returns whether the second lock was whole until `put_up` looked at it.
    """

    def __init__(
        self,
        nft: Nft,
        put_up: Callable[[], None],
        filled: Callable[[], Filled],
        report: Callable[[Gap], None],
        problem: Callable[[str], None],
        second_lock_held: Callable[[], bool],
    ) -> None:
        self.gaps: list[Gap] = []
        self._nft = nft
        self._put_up = put_up
        self._filled = filled
        self._report = report
        self._problem = problem
        self._second_lock_held = second_lock_held
        self._reference: Listing | None = None  # the table as we left it, but for the elements of its sets
        self._open: Gap | None = None  # one that is not closed: its end is not known
        self._opened = 0.0  # when that was, by CLOCK_BOOTTIME
        # Before the wall is put up, so that no change is missed.
        self._monitor = RulesetMonitor(lambda: nft.port)

    def close(self) -> None:
        """Stop following."""
        self._monitor.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when `inspect` is to be called."""
        return self._monitor.fileno()

    @property
    def failing(self) -> bool:
        """Whether the wall is not intact, and `inspect` must be called again."""
        return self._open is not None

    def start(self) -> None:
        """Put the wall up for the first time. Raises StunwallError."""
        self._put_back()
        self._open = None  # what others did meanwhile is no gap: there was no wall of this daemon

    def renew(self) -> None:
        """Replace the wall by a new one, since it is to be another one from now on. Raises StunwallError."""
        self._put_back()

    def inspect(self) -> None:
        """Look at what others did to the wall, and undo it."""
        at = _Clocks()
        try:
            change = self._monitor.take()
            if change is not None:
                self._judge(change, at)
            if self._open is None:
                return
            end = self._put_back()
        except StunwallError as error:
            self._begin(at, "", ())
            self._let_out()
            self._problem(
                f"the wall is not intact and could not be repaired: {error}. STUN may leak meanwhile"
            )
            return
        gap = replace(self._open, end=self._open.start + end - self._opened)
        self._open = None
        self.gaps = [*self.gaps, gap][-KEPT:]
        self._problem("")
        self._report(gap)

    def exceptions_changed(self) -> None:
        """Take note of the rules of the exceptions, which we have just replaced."""
        seen = state.read_listing(self._nft)
        if seen is not None and self._reference is not None:
            filled = {name: seen.blocks.get(name, ()) for name in reference.EXCEPTIONS}
            self._reference = replace(self._reference, blocks={**self._reference.blocks, **filled})
        # If another program was faster, those may be its rules: then everything is made anew.
        change = self._monitor.take()
        if change is not None:
            self._begin(_Clocks(), change.who, ("the exceptions",))
            self.inspect()

    def differences(self, seen: Listing) -> list[str]:
        """Return what is not as we left it."""
        if self._reference is None:
            return ["the table"]
        return reference.differences(self._reference, seen, self._filled())

    def _judge(self, change: Change, at: _Clocks) -> None:
        """Open a gap if the change made one. Raises StunwallError."""
        seen = None if change.wiped else state.read_listing(self._nft)
        what = ["everything"] if seen is None else self.differences(seen)
        if self._open is not None:
            if not self._open.who:  # the gap was noticed before its notification came
                self._open = replace(self._open, who=change.who)
        elif seen is not None and what and self._reference is not None:
            if reference.differences(
                reference.loaded_again(self._reference), seen, self._filled(), again=True
            ):
                self._begin(at, change.who, what, bare=_is_bare(seen))
            else:  # queue rules and exceptions are missing, which lets nothing out
                self._put_back()
        elif what:
            self._begin(at, change.who, what, bare=self._has_no_rules() if seen is None else _is_bare(seen))

    def _begin(self, at: _Clocks, who: str, what: Iterable[str], bare: bool = False) -> None:
        """Open a gap, unless one is open; `bare`: the wall has no rules, so that the second lock may hold."""
        if self._open is None:
            self._open = Gap(at.wall, at.wall, who, tuple(what), second_lock_held=bare)
            self._opened = at.boot

    def _let_out(self) -> None:
        """Take back that the second lock holds in the open gap."""
        if self._open is not None:
            self._open = replace(self._open, second_lock_held=False)

    def _has_no_rules(self) -> bool:
        try:
            seen = state.read_listing(self._nft)
        except StunwallError:
            return False
        return seen is None or _is_bare(seen)

    def _put_back(self) -> float:
        """Put the wall up until it is as it should be; return when it was, by CLOCK_BOOTTIME. Raises StunwallError."""
        if self._monitor.take() is not None:
            self._let_out()
        for _ in range(_TRIES):
            self._put_up()
            end = _Clocks()
            if not self._second_lock_held():
                self._let_out()
            seen = state.read_listing(self._nft)
            late = self._monitor.take()
            # Nobody else has touched it since it was made, so it is what the reference is to be.
            if late is None and seen is not None:
                self._reference = seen
                return end.boot
            self._begin(end, late.who if late else "", ("everything",))
            self._let_out()
        raise StunwallError("another program changes its rules as fast as they are put back")


def _is_bare(seen: Listing) -> bool:
    """Return whether the table has no rules."""
    return not state.wall(seen).rules

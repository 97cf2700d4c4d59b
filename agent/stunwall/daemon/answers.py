"""How often a sender is answered: enough for a page that opens hundreds of flows at once, seldom in a flood. No I/O."""

from collections.abc import Hashable

# At once, and a second. A browser starts 20 requests a second in each connection (RFC 8445 §14.2: Ta is 50 ms).
BURST, RATE = 400.0, 100.0
SENDERS = 1024  # that are told apart; the others share
_REST = 1.0  # seconds between looks at who has everything again: addresses may be forged
_CALM = 1.0  # seconds in which everybody had answers left


class Answers:
    """What each sender has left. Times are seconds of a clock that nobody sets."""

    def __init__(self) -> None:
        self._left: dict[Hashable, tuple[float, float]] = {}  # by sender: how many, and when that was
        self._forgot = float("-inf")
        self._short = float("-inf")  # when somebody last had none left

    def suffice(self, now: float) -> bool:
        """Return whether everybody had answers left lately: the next one need not wait for who it is."""
        return now - self._short >= _CALM

    def take(self, sender: Hashable, now: float) -> bool:
        """Return whether a packet of this sender is to be answered, and take one answer from what it has left."""
        if sender not in self._left and len(self._left) >= SENDERS:
            if now - self._forgot >= _REST:
                self._forget(now)
            if len(self._left) >= SENDERS:
                sender = None
        left = self._refilled(sender, now)
        answered = left >= 1
        # What is not answered costs nothing: a flood could else use up all that comes back.
        left -= answered
        self._left[sender] = left, now
        if left < 1:
            self._short = now
        return answered

    def _refilled(self, sender: Hashable, now: float) -> float:
        left, before = self._left.get(sender, (BURST, now))
        return min(BURST, left + (now - before) * RATE)

    def _forget(self, now: float) -> None:
        """Forget who has everything again."""
        self._forgot = now
        self._left = {
            sender: seen for sender, seen in self._left.items() if self._refilled(sender, now) < BURST
        }

"""Says when a check is due as the VPN has come up, by a file that stunwall-check.path waits for.

stunwalld has no network of its own and sends nothing: systemd starts the service that does (systemd/README.md).
"""

import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path

FILE = "check-due"
SETTLED = 3.0  # seconds since the VPN came up: routes and addresses follow
PERIOD = 60.0  # seconds from one check to the next at the least, however often the VPN comes up


class CheckDue:
    """The file in `folder`, and when it is to be made. `report`: called with why that failed, "" if it worked."""

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self._file = folder / FILE
        self._report = report
        self._vpn = frozenset[str]()
        self._at: float | None = None  # seconds of the monotonic clock
        self._last = -inf

    def follow(self, vpn: frozenset[str], wanted: bool) -> None:
        """Say what the VPN is now, and whether it is to be checked: if not, what comes up waits until it is."""
        if not wanted or not vpn:
            self._vpn, self._at = frozenset(), None
            return
        if vpn - self._vpn:
            self._at = max(time.monotonic() + SETTLED, self._last + PERIOD)
        self._vpn = vpn

    @property
    def left(self) -> float | None:
        """The seconds until `make` is to be called, None if it is not."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    def make(self) -> None:
        """Make the file, if it is time to."""
        if self.left != 0:
            return
        self._at, self._last = None, time.monotonic()
        try:
            self._file.touch()
        except OSError as error:
            self._report(f"cannot ask for a check by {self._file}: {error.strerror}")
        else:
            self._report("")

    def done(self) -> None:
        """Say that a check has just shown that all is sealed: another would show the same."""
        self._at = None
        self.remove()

    def remove(self) -> None:
        """Remove the file, if it is there."""
        with suppress(OSError):
            self._file.unlink()

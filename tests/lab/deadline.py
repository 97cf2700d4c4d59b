"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable

PATIENCE = 3  # times what is given: other tests may run beside, on the same processors


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Returns as soon as `condition()` is true.

    Raises TimeoutError, naming `what` was waited for, when it isn't within `seconds` of a machine that is not busy.
    """
    patience = seconds * PATIENCE
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:g} s in vain: {what}")
        time.sleep(0.01)

"""Waits for a condition, never for a fixed time."""

import time
from collections.abc import Callable

PATIENCE = 3  # factor on every limit, because other tests may use the same processors


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Returns as soon as `condition()` is true.

    Raises TimeoutError, naming `what` was expected, if it stays false. `seconds` is enough on an idle machine.
    """
    patience = seconds * PATIENCE
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:g} s in vain for {what}")
        time.sleep(0.01)

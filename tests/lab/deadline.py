"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Returns as soon as `condition()` is true.

    Raises TimeoutError, naming `what` was waited for, when it isn't within `seconds`.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.01)

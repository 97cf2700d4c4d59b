"""Speaks to systemd: sd_notify(3) and the watchdog."""

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send a state such as "READY=1" to systemd. Does nothing if systemd did not start this process."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address.startswith("@") else address)
        notify.send(state.encode())


def watchdog() -> float | None:
    """Return the watchdog's period in seconds, None if there is no watchdog (sd_watchdog_enabled(3))."""
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
        process = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 and process == os.getpid() else None

"""The programs that can be a bus: D-Bus's own, and dbus-broker, which Fedora, Arch and others have instead."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

_JOURNAL = Path("/run/systemd/journal/socket")  # /run is the run's own


class Program(StrEnum):
    """A bus, by the name of its program."""

    DAEMON = "dbus-daemon"
    BROKER = "dbus-broker"


def command(program: Program, config: Path, listen: Path, session: bool) -> list[str]:
    """The command line of a bus that listens on this socket, which `config` names, too."""
    if program is Program.DAEMON:
        return ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"]
    # systemd gives it its socket. It is started by the first connection, and connects to itself.
    activate = ["systemd-socket-activate", f"--listen={listen}"]
    launch = ["dbus-broker-launch", f"--config-file={config}", f"--scope={'user' if session else 'system'}"]
    return [*activate, *(["--setenv=DBUS_SESSION_BUS_ADDRESS"] if session else []), *launch]


@contextmanager
def journal() -> Iterator[None]:
    """A socket where journald's would be, without which dbus-broker does not start. Nobody reads what it gets."""
    if _JOURNAL.exists():
        yield
        return
    _JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unread:
        unread.bind(str(_JOURNAL))
        _JOURNAL.chmod(0o666)
        try:
            yield
        finally:
            _JOURNAL.unlink()

"""journald's own protocol, for log entries with fields (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/)."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from struct import pack

SOCKET = Path("/run/systemd/journal/socket")


class JournalSocket:
    """Sends entries to journald. Where it does not listen, nothing is sent."""

    def __init__(self, file: Path = SOCKET) -> None:
        self._file = str(file)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, fields: Mapping[str, str]) -> bool:
        """Send an entry with these fields. Return whether journald took it. Never raises, never waits.

        Args:
            fields: names of upper-case letters, digits and underscores to values. An entry that is too large for a
                datagram (some 200 kB) is not sent.
        """
        with suppress(OSError):
            self._socket.sendto(b"".join(map(_encoded, fields, fields.values())), self._file)
            return True
        return False


def _encoded(name: str, value: str) -> bytes:
    # With its length, a value may have lines, and cannot pass for another field.
    data = value.encode(errors="backslashreplace")
    return b"%s\n%s%s\n" % (name.encode(), pack("<Q", len(data)), data)

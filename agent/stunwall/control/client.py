"""The CLI's end of the socket: asks the daemon."""

import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from stunwall import hints
from stunwall.control.protocol import FILE, ControlError, ControlPermissionError, Status

# Seconds that the CLI waits for the daemon. On a slow machine, reading both tables takes some of them, and making the
# wall anew, as for another mode, takes more.
_STATUS, _CHANGE = 10.0, 30.0
# And where polkit may ask its user for a password, which takes minutes at most (polkit.PATIENCE).
_PROMPTED = 180.0
NOT_RUNNING = f"stunwalld is not running: start it with {hints.START}"


def ask(folder: Path, request: dict[str, Any], seconds: float = _STATUS) -> Status | None:
    """Return the daemon's reply, None if no daemon runs there. Raises ControlError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        try:
            client.connect(str(folder / FILE))
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as stream:
                reply = json.loads(stream.readline())
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except PermissionError as error:
            raise ControlPermissionError(hints.members_only(f"connect to {folder / FILE}")) from error
        except (OSError, ValueError) as error:
            raise ControlError(f"stunwalld does not answer on {folder / FILE}: {error}") from error
    if not isinstance(reply, dict):
        raise ControlError(f"stunwalld answered on {folder / FILE} with something else than an object")
    return reply


class Connection:
    """A connection that the daemon keeps open after its reply to a request.

    Raises ControlError if there is no daemon, and `refused` if it refuses.
    """

    refused: type[ControlError] = ControlError

    def __init__(self, folder: Path, asked: Status) -> None:
        self._received = b""
        self._file = folder / FILE
        self._client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._client.settimeout(_STATUS)
        try:
            self._client.connect(str(self._file))
            self._send(asked)
            (reply, *first) = self.receive()
            if "error" in reply:
                raise self.refused(str(reply["error"]))
        except PermissionError as error:
            self._client.close()
            raise ControlPermissionError(hints.members_only(f"connect to {self._file}")) from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._client.close()
            raise ControlError(NOT_RUNNING) from error
        except OSError as error:
            self._client.close()
            raise ControlError(f"stunwalld does not answer on {self._file}: {error}") from error
        except BaseException:
            self._client.close()
            raise
        self.reply = reply
        self.first = first
        """What came with the reply."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when `receive` is to be called."""
        return self._client.fileno()

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _send(self, line: Status) -> None:
        self._client.sendall(json.dumps(line).encode() + b"\n")

    def receive(self) -> list[Status]:
        """Return what the daemon has sent, at least one object. Raises ControlError if it has hung up."""
        while True:
            received = self._client.recv(65536)
            if not received:
                raise ControlError("stunwalld has ended, or this did not read fast enough")
            *lines, self._received = (self._received + received).split(b"\n")
            if lines:
                try:
                    return [dict(json.loads(line)) for line in lines]
                except (TypeError, ValueError) as error:
                    raise ControlError(f"stunwalld sent something else than JSON objects: {error}") from error


class Subscription(Connection):
    """A connection on which the daemon sends the new events of this process's user.

    `answers`: it also asks there whose a socket is, by its inode (`whose`), and `answer` is to be called.
    """

    refused = ControlPermissionError

    def __init__(self, folder: Path, answers: bool = False) -> None:
        super().__init__(folder, {"command": "subscribe", "answers": answers})

    def answer(self, inode: int, pid: int, executable: str, command: str) -> None:
        """Say which process has a socket open; `pid` 0: none. Raises OSError if the daemon has hung up."""
        self._send({"whose": inode, "pid": pid, "executable": executable, "command": command})


class Check(Connection):
    """A check of a browser, which ends when this is closed: the reply has its servers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {"command": "check"})

    def seen(self) -> list[Status]:
        """Return what has been reported since the last call. Raises ControlError if the daemon has hung up."""
        found, self.first = self.first, []
        self._client.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                found += self.receive()
        return found


def request(folder: Path, asked: dict[str, Any]) -> Status:
    """As `ask`, for what needs a running daemon: raises ControlError if there is none or it refuses.

    With `interactive` in the request, the user may have to answer polkit's prompt first.
    """
    reply = ask(folder, asked, _PROMPTED if asked.get("interactive") else _CHANGE)
    if reply is None:
        raise ControlError(NOT_RUNNING)
    if "error" in reply:
        raise (ControlPermissionError if reply.get("refused") else ControlError)(str(reply["error"]))
    return reply

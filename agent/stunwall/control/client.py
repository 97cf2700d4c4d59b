"""The CLI's end of the socket: asks the daemon."""

import json
import socket
from pathlib import Path
from typing import Any

from stunwall import hints
from stunwall.control.protocol import FILE, ControlError, ControlPermissionError, Status

# Seconds that the CLI waits for the daemon. On a slow machine, reading both tables takes some of them, and making the
# wall anew, as for another mode, takes more.
_STATUS, _CHANGE = 10.0, 30.0


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


def request(folder: Path, asked: dict[str, Any]) -> Status:
    """As `ask`, for what needs a running daemon: raises ControlError if there is none or it refuses."""
    reply = ask(folder, asked, _CHANGE)
    if reply is None:
        raise ControlError(f"stunwalld is not running: start it with {hints.START}")
    if "error" in reply:
        raise ControlError(str(reply["error"]))
    return reply

"""What both ends of the socket know: its file, the shape of a reply, the errors."""

from typing import Any

from stunwall.model import StunwallError

FILE = "control.sock"
Status = dict[str, Any]


class ControlError(StunwallError):
    """The daemon could not be asked."""


class ControlPermissionError(ControlError):
    """The socket is there, but not for this user."""

    exit_code = 4

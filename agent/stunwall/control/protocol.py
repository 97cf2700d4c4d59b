"""What both ends of the socket know: its file, the shape of a reply, the errors."""

from typing import Any

from stunwall.model import StunwallError

FILE = "control.sock"
Status = dict[str, Any]


class ControlError(StunwallError):
    """The daemon could not be asked."""


class ControlPermissionError(ControlError):
    """This user may not ask the daemon, or not for that."""

    exit_code = 4

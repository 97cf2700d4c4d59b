"""The desktop's notification service on the session bus (Desktop Notifications Specification 1.2)."""

from dataclasses import dataclass
from typing import Any

from stunwall.bus import DRIVER, Bus, BusError, BusRefusedError, BusTimeoutError, Object, Received
from stunwall.notify.words import Note

_NAME = "org.freedesktop.Notifications"
_SERVICE = Object(_NAME, "/org/freedesktop/Notifications", _NAME)
_PATIENCE = 10.0  # seconds until the service has answered
_NORMAL = 1  # urgency
_DESKTOP_ENTRY = "stunwall-notify"
_DEFAULT, _NEVER, _BRIEF = -1, 0, 10_000  # milliseconds until it goes away
_ABSENT = ("ServiceUnknown", "NameHasNoOwner")  # org.freedesktop.DBus.Error


@dataclass(frozen=True, slots=True)
class Invoked:
    """The user has chosen an action of a notification."""

    notification: int
    action: str


@dataclass(frozen=True, slots=True)
class Closed:
    """A notification is closed, or all of them are: the service has ended."""

    notification: int | None


class Desktop:
    """The connection to the session bus. Raises BusError: there is none, or nothing on it that shows notifications."""

    def __init__(self) -> None:
        try:
            self._bus = Bus("SESSION", signals=True)
        except BusError as error:
            raise BusError(
                f"there is no session bus ({error}): run this in a desktop session, or start the user service "
                "stunwall-notify there"
            ) from error
        self._owner = ""  # who may say what the user has chosen
        self._bus.follow(interface=_NAME, path=_SERVICE.path)
        self._bus.follow(interface=DRIVER, member="NameOwnerChanged", arg0=_NAME)
        self._capabilities = frozenset(self._call("GetCapabilities")[0])

    def fileno(self) -> int:
        """Return the descriptor that is readable when `answers` is to be called."""
        return self._bus.fileno()

    def close(self) -> None:
        """Leave the bus."""
        self._bus.close()

    def show(self, note: Note, replaces: int = 0) -> int:
        """Show a notification in place of another, 0 for none; return its id. Raises BusError."""
        actions = (
            [word for action in note.actions for word in action] if "actions" in self._capabilities else []
        )
        body = _escaped(note.body) if "body-markup" in self._capabilities else note.body
        hints = {"urgency": ("y", _NORMAL), "desktop-entry": ("s", _DESKTOP_ENTRY)}
        timeout = _BRIEF if note.brief else _DEFAULT
        values = ("stunwall", replaces, "network-vpn", note.summary, body, actions, hints, timeout)
        return int(self._call("Notify", "susssasa{sv}i", *values)[0])

    def answers(self) -> list[Invoked | Closed]:
        """Return what the user has done since the last call. Raises BusError if the bus has ended."""
        found = [self._answer(each) for each in self._bus.signals()]
        return [each for each in found if each is not None]

    def _answer(self, signal: Received) -> Invoked | Closed | None:
        member, body = signal.member, signal.body
        if (signal.sender, member, signal.signature) == (DRIVER, "NameOwnerChanged", "sss"):
            self._owner = body[2]
            return Closed(None)
        if signal.sender != self._owner:  # any program of the session may send signals
            return None
        if (member, signal.signature) == ("ActionInvoked", "us"):
            return Invoked(body[0], body[1])
        if (member, signal.signature) == ("NotificationClosed", "uu"):
            return Closed(body[0])
        return None

    def _call(self, method: str, signature: str = "", *values: object) -> tuple[Any, ...]:
        try:
            reply = self._bus.call(_SERVICE, method, signature, *values, seconds=_PATIENCE)
        except BusRefusedError as error:
            if error.name.endswith(_ABSENT):
                raise BusError(
                    "no program on the session bus shows notifications (org.freedesktop.Notifications): start that of "
                    "your desktop, or install one, such as dunst"
                ) from error
            raise BusError(f"the notification service refuses: {error}") from error
        except BusTimeoutError as error:
            raise BusError(f"the notification service does not answer within {_PATIENCE:.0f} s") from error
        except BusError as error:
            raise BusError(f"the session bus has ended: {error}") from error
        self._owner = reply.sender
        return reply.body


def _escaped(text: str) -> str:
    """Return a text for a body in which markup counts."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

"""Asks polkit whether a process may do something (org.freedesktop.PolicyKit1.Authority).

polkit knows the process by its pidfd since version 124; older ones take its PID and look the start time up. Whoever
asks has to see afterwards that the process still lives: its PID then was no other's meanwhile.
"""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING, Any

from stunwall.model import StunwallError
from stunwall.text import printable

if TYPE_CHECKING:
    from stunwall import bus as dbus

PAUSE, ALLOW, RELOAD = "org.stunwall.pause", "org.stunwall.allow", "org.stunwall.reload"
ACTIONS = (PAUSE, ALLOW, RELOAD)
NAME = "org.freedesktop.PolicyKit1"
PATIENCE = 120.0  # seconds for the user to answer the prompt
_PATIENCE = 30.0  # seconds for what needs no user
_PATH, _INTERFACE = "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1.Authority"
_ALLOW_USER_INTERACTION = 1  # CheckAuthorizationFlags
_LONGEST = 300  # characters of what a prompt shows
_NO_CANCELLATION_ID = ""  # hanging up cancels the check
_UID_MAX = 2**31 - 1  # it is an int32 there


class PolkitError(StunwallError):
    """polkit runs here, but does not say whether the process may."""


class Answer(StrEnum):
    """What polkit says. ABSENT: it does not run here. CHALLENGE: it needs a password, and could not ask for it."""

    ABSENT = "absent"
    ALLOWED = "allowed"
    DENIED = "denied"
    DISMISSED = "dismissed"
    CHALLENGE = "challenge"


class Question:
    """One question, on a connection of its own.

    Args:
        process: the pidfd, PID and user ID of who wants to do it. The descriptor has to stay open while this asks.
        action: one of ACTIONS.
        what: is to be done, as the end of the sentence that a prompt shows.
        interactive: whether polkit may show a prompt.
    """

    def __init__(self, process: tuple[int, int, int], action: str, what: str, interactive: bool) -> None:
        self._process = process
        self._action = action
        self._what = what
        self._interactive = interactive
        self._lock = Lock()
        self._bus: dbus.Bus | None = None
        self._cancelled = False

    def ask(self) -> Answer:
        """Ask, and wait for the answer. Raises PolkitError, also when the time is over or this was cancelled."""
        from stunwall import bus as dbus  # not above: a daemon that never asks does not load jeepney

        try:
            bus = dbus.Bus("SYSTEM", descriptors=True)
        except dbus.NoBusError:
            return Answer.ABSENT
        except dbus.BusError as error:
            raise PolkitError(f"the system bus cannot be asked for it: {error}") from error
        try:
            with self._lock:
                self._bus = bus
                if self._cancelled:
                    bus.interrupt()
            return self._ask(bus)
        except dbus.BusTimeoutError as error:
            raise PolkitError(f"nobody answered within {PATIENCE:.0f} s") from error
        except dbus.BusError as error:
            raise PolkitError(f"asking it failed: {error}") from error
        finally:
            with self._lock:
                self._bus = None
            bus.close()  # a prompt that is still open goes away

    def cancel(self) -> None:
        """Have `ask` end, and the prompt go away. Any thread may call this."""
        with self._lock:
            self._cancelled = True
            if self._bus is not None:
                self._bus.interrupt()

    def _ask(self, bus: dbus.Bus) -> Answer:
        if (owner := _owner(bus)) is None:
            return Answer.ABSENT
        pidfd, pid, uid = self._process
        if pid <= 0 or not 0 <= uid <= _UID_MAX:
            raise PolkitError(f"process {pid} of user {uid} cannot be named to it")
        named = {"pid": ("u", pid), "start-time": ("t", 0), "uid": ("i", uid), "pidfd": ("h", pidfd)}
        reply = bus.call(
            owner,
            "CheckAuthorization",
            "(sa{sv})sa{ss}us",
            ("unix-process", named),
            self._action,
            {"polkit.message": _message(self._what)},
            _ALLOW_USER_INTERACTION if self._interactive else 0,
            _NO_CANCELLATION_ID,
            seconds=PATIENCE,
        )
        return _answer(reply.signature, reply.body)


def known_actions() -> frozenset[str] | None:
    """Return the IDs of all actions that polkit knows, None if it does not run here. Raises PolkitError."""
    from stunwall import bus as dbus

    try:
        with closing(dbus.Bus("SYSTEM")) as bus:
            if (owner := _owner(bus)) is None:
                return None
            reply = bus.call(owner, "EnumerateActions", "s", "", seconds=_PATIENCE)
    except dbus.NoBusError:
        return None
    except dbus.BusError as error:
        raise PolkitError(f"asking it failed: {error}") from error
    if reply.signature != "a(ssssssuuua{ss})":
        raise PolkitError(f"it answers in an unknown form ({reply.signature!r})")
    return frozenset(row[0] for row in reply.body[0])


def _owner(bus: dbus.Bus) -> dbus.Object | None:
    """Return polkit's object, which the bus starts if need be; None if it does not run here. Raises BusError."""
    from stunwall.bus import Object

    if bus.ask_driver("NameHasOwner", "s", NAME) != (True,):
        (names,) = bus.ask_driver("ListActivatableNames")
        if NAME not in names:
            return None
        bus.ask_driver("StartServiceByName", "su", NAME, 0)
    (owner,) = bus.ask_driver("GetNameOwner", "s", NAME)
    return Object(NAME, _PATH, _INTERFACE, str(owner))


def _message(what: str) -> str:
    """Return the sentence for the prompt; polkit would replace $(NAME) in it."""
    return f"Authentication is required to {printable(what).replace('$', '?')[:_LONGEST]}."


def _answer(signature: str, body: tuple[Any, ...]) -> Answer:
    if signature != "(bba{ss})":
        raise PolkitError(f"it answers in an unknown form ({signature!r})")
    ((allowed, challenge, details),) = body
    if allowed is True:
        return Answer.ALLOWED
    if "polkit.dismissed" in details:
        return Answer.DISMISSED
    return Answer.CHALLENGE if challenge else Answer.DENIED

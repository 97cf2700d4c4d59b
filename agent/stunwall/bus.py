"""A D-Bus connection that waits for its replies, for the session's bus and the system's (D-Bus Specification).

Any program on a bus may send signals to any connection, and jeepney takes whatever names a call in its header for the
reply. dbus-daemon stops what nobody asked for, but other buses need not. So a reply counts only if it is one by its
type, and comes from who was asked or from the bus itself.
"""

import socket
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from struct import error as struct_error
from typing import Any, Literal

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, message_bus, new_method_call
from jeepney.auth import AuthenticationError
from jeepney.io.blocking import open_dbus_connection

from stunwall.model import StunwallError

DRIVER = "org.freedesktop.DBus"
# Seconds until the bus itself has answered. It waits 25 for a service that it starts, and at a login systemd starts it
# only when somebody connects.
_PATIENCE = 30.0
# What jeepney raises where a message is not as the specification says.
_MALFORMED = (AttributeError, LookupError, RuntimeError, TypeError, ValueError, struct_error)


class BusError(StunwallError):
    """There is no bus, or it has ended, or who was asked does not answer."""


class NoBusError(BusError):
    """There is no such bus."""


class BusTimeoutError(BusError):
    """No reply came in time."""


class BusRefusedError(BusError):
    """An error is the reply; `name` is its D-Bus name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Received:
    """A reply or a signal. `sender` is a unique name, which the bus has put there; `member` is "" in a reply."""

    sender: str
    member: str
    signature: str
    body: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Object:
    """Whose methods are called: `owner` is the unique name of who has to answer, else any may."""

    name: str
    path: str
    interface: str
    owner: str = ""


class Bus:
    """A connection to a bus. Raises BusError, NoBusError if there is none.

    Args:
        which: the session's bus or the system's.
        signals: whether signals are kept for `signals`; else they are dropped.
        descriptors: whether messages carry file descriptors.
    """

    def __init__(
        self, which: Literal["SESSION", "SYSTEM"], signals: bool = False, descriptors: bool = False
    ) -> None:
        try:
            self._connection = open_dbus_connection(which, enable_fds=descriptors, auth_timeout=_PATIENCE)
        except (KeyError, FileNotFoundError) as error:
            raise NoBusError(f"there is no such bus ({error!r})") from error
        except (OSError, AuthenticationError, *_MALFORMED) as error:
            raise BusError(f"the bus does not let this connect ({error!r})") from error
        self._keep = signals
        self._signals: deque[Received] = deque()

    def fileno(self) -> int:
        """Return the descriptor that is readable when `signals` is to be called."""
        return int(self._connection.sock.fileno())

    def interrupt(self) -> None:
        """End the connection, so that a call that waits in another thread raises BusError."""
        with suppress(OSError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Leave the bus."""
        self._connection.close()

    def follow(self, **rule: str) -> None:
        """Have the bus send signals: `sender`, `interface`, `path`, `member` and `arg0` as far as they are given."""
        condition = rule.pop("arg0", None)
        wanted = MatchRule(type="signal", **rule)
        if condition is not None:
            wanted.add_arg_condition(0, condition)
        self._ask(message_bus.AddMatch(wanted), DRIVER, _PATIENCE)

    def ask_driver(self, method: str, signature: str = "", *values: object) -> tuple[Any, ...]:
        """Call a method of the bus itself, and return its reply. Raises BusError."""
        driver = DBusAddress("/org/freedesktop/DBus", bus_name=DRIVER, interface=DRIVER)
        return self._ask(new_method_call(driver, method, signature or None, values), DRIVER, _PATIENCE).body

    def call(
        self, target: Object, method: str, signature: str = "", *values: object, seconds: float
    ) -> Received:
        """Call a method, and return its reply. Raises BusError."""
        address = DBusAddress(target.path, bus_name=target.owner or target.name, interface=target.interface)
        message = new_method_call(address, method, signature or None, values)
        return self._ask(message, target.owner, seconds)

    def signals(self) -> list[Received]:
        """Return the signals that have come, without waiting. Raises BusError if the bus has ended."""
        with suppress(BusTimeoutError):
            while True:
                self._receive(time.monotonic())
        found = list(self._signals)
        self._signals.clear()
        return found

    def _ask(self, message: Any, owner: str, seconds: float) -> Received:  # noqa: ANN401 - jeepney has no types
        deadline = time.monotonic() + seconds
        try:
            serial = next(self._connection.outgoing_serial)
            self._connection.send(message, serial=serial)
        except (OSError, *_MALFORMED) as error:
            raise BusError(f"the bus has ended: {error!r}") from error
        while True:
            answer = self._receive(deadline)
            fields = answer.header.fields
            if answer.header.message_type not in (MessageType.method_return, MessageType.error):
                continue
            received = _received(fields, answer.body)
            if fields.get(HeaderFields.reply_serial) != serial or received.sender not in (
                DRIVER,
                owner or received.sender,
            ):
                continue
            if answer.header.message_type is MessageType.error:
                raise BusRefusedError(str(fields.get(HeaderFields.error_name, "")), str(answer.body))
            return received

    def _receive(self, deadline: float) -> Any:  # noqa: ANN401
        """Return the next message; a signal is also kept. Raises BusError."""
        try:
            message = self._connection.receive(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError as error:
            raise BusTimeoutError("no answer in time") from error
        except (OSError, *_MALFORMED) as error:
            raise BusError(f"the bus has ended: {error!r}") from error
        if self._keep and message.header.message_type is MessageType.signal:
            self._signals.append(_received(message.header.fields, message.body))
        return message


def _received(fields: Mapping[Any, Any], body: tuple[Any, ...]) -> Received:
    def text(name: HeaderFields) -> str:
        return str(fields.get(name, ""))

    return Received(text(HeaderFields.sender), text(HeaderFields.member), text(HeaderFields.signature), body)

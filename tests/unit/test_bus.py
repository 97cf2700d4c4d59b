"""bus.py: replies as jeepney parses them, from a connection that a test fills."""

from collections import deque
from itertools import count
from typing import Any

import pytest
from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    new_error,
    new_method_call,
    new_method_return,
    new_signal,
)
from jeepney.low_level import Parser

from stunwall import bus
from stunwall.bus import DRIVER, Bus, BusError, BusRefusedError, BusTimeoutError, NoBusError, Object

OURS, POLKIT, STRANGER = ":1.7", ":1.2", ":1.66"
SERVICE = Object("org.example.Service", "/", "org.example.Service", POLKIT)
CALL = new_method_call(DBusAddress("/", "org.example.Service", "org.example.Service"), "Ask")
CALL.header.serial = 1
CALL.header.fields[HeaderFields.sender] = OURS


class Connection:
    """What `open_dbus_connection` returns; `incoming` is what comes after a call, in bytes."""

    def __init__(self, incoming: deque[Any]) -> None:
        self.outgoing_serial = count(1)
        self.incoming = incoming
        self.sent: list[Message] = []

    def send(self, message: Message, serial: int) -> None:
        self.sent.append(message)

    def receive(self, timeout: float) -> Message:
        if not self.incoming:
            raise TimeoutError
        each = self.incoming.popleft()
        if isinstance(each, Exception):
            raise each
        return each


def parsed(message: Message, sender: str, **fields: Any) -> Message:
    """A message as it comes from the bus, which puts the sender in."""
    message.header.fields[HeaderFields.sender] = sender
    for name, value in fields.items():
        message.header.fields[HeaderFields[name]] = value
    parser = Parser()
    parser.add_data(message.serialise(serial=9))
    return parser.get_next_message()


def reply(text: str, sender: str, serial: int = 1) -> Message:
    return parsed(new_method_return(CALL, "s", (text,)), sender, reply_serial=serial)


def signal(text: str, sender: str, **fields: Any) -> Message:
    return parsed(
        new_signal(DBusAddress("/", interface="org.example.Service"), "Said", "s", (text,)), sender, **fields
    )


@pytest.fixture
def incoming(monkeypatch: pytest.MonkeyPatch) -> deque[Any]:
    messages: deque[Any] = deque()
    monkeypatch.setattr(bus, "open_dbus_connection", lambda which, **_: Connection(messages))
    return messages


def ask(target: Object = SERVICE) -> str:
    return str(Bus("SYSTEM").call(target, "Ask", seconds=1).body[0])


def test_the_reply_of_whom_was_asked_counts(incoming: deque[Any]) -> None:
    incoming.append(reply("yes", POLKIT))
    assert ask() == "yes"


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(lambda: reply("yes", STRANGER), id="another_sender"),
        pytest.param(lambda: reply("yes", POLKIT, serial=2), id="another_call"),
        pytest.param(lambda: signal("yes", STRANGER, reply_serial=1), id="a_signal_as_if_it_were_a_reply"),
        pytest.param(lambda: signal("yes", POLKIT, reply_serial=1), id="a_signal_of_whom_was_asked"),
        pytest.param(lambda: parsed(new_error(CALL, "org.example.Error"), STRANGER), id="anothers_error"),
    ],
)
def test_what_a_stranger_sends_is_no_reply(incoming: deque[Any], forged: Any) -> None:
    incoming.extend([forged(), forged(), reply("no", POLKIT)])
    assert ask() == "no"
    incoming.append(forged())
    with pytest.raises(BusTimeoutError):
        ask()


def test_the_buss_own_reply_is_its_own(incoming: deque[Any]) -> None:
    incoming.extend([reply("forged", STRANGER), reply("true", DRIVER)])
    assert Bus("SYSTEM").ask_driver("GetNameOwner", "s", "x") == ("true",)


@pytest.mark.parametrize("sender", [POLKIT, DRIVER])
def test_an_error_is_raised_with_its_name(incoming: deque[Any], sender: str) -> None:
    incoming.append(parsed(new_error(CALL, "org.example.Error.No", "s", ("not now",)), sender))
    with pytest.raises(BusRefusedError, match=r"org\.example\.Error\.No.*not now") as raised:
        ask()
    assert raised.value.name == "org.example.Error.No"


@pytest.mark.parametrize("error", [ConnectionResetError(), ValueError("x"), RuntimeError("x"), KeyError("x")])
def test_a_bus_that_ends_or_sends_nonsense_is_told(incoming: deque[Any], error: Exception) -> None:
    incoming.append(error)
    with pytest.raises(BusError, match="the bus has ended"):
        ask()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (FileNotFoundError(2, "x"), NoBusError),
        (KeyError("DBUS_SESSION_BUS_ADDRESS"), NoBusError),
        (ConnectionRefusedError(111, "x"), BusError),
        (PermissionError(13, "x"), BusError),
        (TimeoutError("x"), BusError),
    ],
)
def test_only_a_bus_that_does_not_exist_is_none(
    monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[BusError]
) -> None:
    def refuse(which: str, **_: object) -> None:
        raise error

    monkeypatch.setattr(bus, "open_dbus_connection", refuse)
    with pytest.raises(BusError) as told:
        Bus("SYSTEM")
    assert type(told.value) is raised


@pytest.mark.parametrize("kept", [True, False])
def test_signals_are_kept_only_if_somebody_wants_them(incoming: deque[Any], kept: bool) -> None:
    made = Bus("SESSION", signals=kept)
    incoming.extend([signal("first", STRANGER), reply("yes", POLKIT), signal("second", STRANGER)])
    made.call(SERVICE, "Ask", seconds=1)
    found = [(each.sender, each.member, each.body) for each in made.signals()]
    assert found == ([(STRANGER, "Said", ("first",)), (STRANGER, "Said", ("second",))] if kept else [])

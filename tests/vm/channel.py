"""The way into a machine: commands run and functions called inside it, several at a time."""

import json
import signal
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lab.deadline import until


class LostError(RuntimeError):
    """The machine ended, or answers no more."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended."""

    command: tuple[str, ...]
    code: int
    output: str
    errors: str

    def __str__(self) -> str:
        return f"{' '.join(self.command)}: {self.code}\n{self.output}{self.errors}"


@dataclass(slots=True)
class Order:
    """Something that the machine was told to do, and its answer once it has come."""

    number: int
    answered: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] = field(default_factory=dict)


class Running:
    """A command that runs inside."""

    def __init__(self, channel: "Channel", order: Order, command: tuple[str, ...]) -> None:
        self._channel, self._order, self._command = channel, order, command

    @property
    def ended(self) -> bool:
        return self._order.answered.is_set()

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Sends it to the command and its children."""
        order = self._channel.send({"signal": number, "to": self._order.number})
        self._channel.wait(order, 60)

    def stop(self) -> None:
        """Ends it, unless it has ended."""
        if not self.ended:
            self.signal()
            self.wait()

    def wait(self, seconds: float = 60) -> Done:
        answer = self._channel.wait(self._order, seconds)
        return Done(self._command, answer["code"], answer["output"], answer["errors"])


class Channel:
    """Speaks to guest/control.py, through a connection to qemu."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.ready = threading.Event()
        """Set once the machine has said that it listens."""
        self._ended = False
        self._orders: dict[int, Order] = {}
        self._last = 0
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name="channel", daemon=True)
        self._reader.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        # What qemu had not read when it ended resets the connection.
        with self._socket.makefile("rb") as lines, suppress(ConnectionResetError):
            for line in lines:
                answer = json.loads(line)
                if "ready" in answer:
                    self.ready.set()
                    continue
                order = self._orders.pop(answer["id"])
                order.answer = answer
                order.answered.set()
        self._ended = True

    def send(self, what: dict[str, Any]) -> Order:
        """Gives the order and returns at once."""
        with self._lock:
            self._last += 1
            order = self._orders[self._last] = Order(self._last)
            self._socket.sendall(json.dumps({"id": order.number, **what}).encode() + b"\n")
        return order

    def wait(self, order: Order, seconds: float) -> dict[str, Any]:
        """The answer, within `seconds`; LostError if the machine ends before it, RuntimeError if it failed."""
        until(lambda: order.answered.is_set() or self._ended, seconds, "the machine's answer")
        if not order.answered.is_set():
            raise LostError("the machine ended before it answered")
        if "failed" in order.answer:
            raise RuntimeError(f"inside the machine:\n{order.answer['failed']}")
        return order.answer

    def start(self, *command: str, text: str = "", env: dict[str, str] | None = None) -> Running:
        """Starts `command` with `text` on its standard input."""
        return Running(self, self.send({"run": command, "input": text, "env": env or {}}), command)

    def call(self, function: str, *arguments: Any, seconds: float = 60) -> Any:
        """What 'module:name' of the checkout's tests returns for `arguments`, inside; all of it has to be JSON."""
        return self.wait(self.send({"call": function, "arguments": arguments}), seconds)["value"]

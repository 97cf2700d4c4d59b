"""What the tests do inside the machine: guest/control.py imports it there, from the checkout's disk.

Only the standard library and the lab's own files that need no more; arguments and results are JSON.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from lab.addresses import ECHO_SERVER, PHYSICAL
from lab.namespace import Namespace
from lab.probe import Binding, connect
from lab.probe import ask as probe
from lab.topology import QUEUE_TOTAL
from lab.wire import MARKER_PORT

T = TypeVar("T")


class Here(Namespace):
    """The machine's own network, for what the lab does in a namespace."""

    def __init__(self) -> None:
        self.name = "here"

    def call(self, work: Callable[[], T]) -> T:
        return work()

    def command(self, *arguments: str) -> list[str]:
        return list(arguments)


def encode(binding: Binding) -> dict[str, Any]:
    return asdict(binding)


def ask(
    server: tuple[str, int], payload: str, binding: dict[str, Any], kind: int, seconds: float
) -> str | None:
    """lab.probe.ask, with its bytes as hexadecimal digits."""
    host, port = server
    reply = probe(Here(), (host, port), bytes.fromhex(payload), Binding(**binding), kind, seconds)
    return None if reply is None else reply.hex()


def send_marker(family: int, marker: str) -> None:
    with connect(Here(), (ECHO_SERVER[family], MARKER_PORT), Binding(device=PHYSICAL)) as sock:
        sock.send(bytes.fromhex(marker))


def queues_empty() -> bool:
    return all(
        line.split()[QUEUE_TOTAL] == "0" for line in Here().read("netfilter/nfnetlink_queue").splitlines()
    )

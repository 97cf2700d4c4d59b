"""Programs that send STUN all the time."""

import threading
from contextlib import suppress
from socket import AF_INET, SOCK_DGRAM
from typing import Self

from lab.addresses import STUN_PORT, STUN_SERVER
from lab.deadline import until
from lab.messages import binding_request
from lab.probe import Binding
from lab.topology import Lab

PACE = 0.005  # seconds between two packets of a sender: two stay below stunwall's limit of 500 a second
AT_LEAST = 2  # packets of each sender while a test waits


class Senders:
    """A socket for each binding, which sends Binding Requests from entering to leaving."""

    def __init__(self, lab: Lab, *bindings: Binding) -> None:
        self._lab = lab
        self._ended = threading.Event()
        self._sent = [0] * len(bindings)
        self._threads = [
            threading.Thread(target=self._run, args=(number, binding), name=f"sender {number}", daemon=True)
            for number, binding in enumerate(bindings)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait(self) -> None:
        """Returns when each has begun and ended AT_LEAST more packets."""
        # One more, since one may be on its way already.
        wanted = [sent + AT_LEAST + 1 for sent in self._sent]
        until(lambda: all(a >= b for a, b in zip(self._sent, wanted, strict=True)), 5, "more STUN")

    def _run(self, number: int, binding: Binding) -> None:
        with self._lab.client.socket(AF_INET, SOCK_DGRAM) as sock:
            binding.apply(sock)
            while not self._ended.wait(PACE):
                with suppress(OSError):  # the wall's EPERM, or no route at the moment
                    sock.sendto(binding_request(), (STUN_SERVER[AF_INET], STUN_PORT))
                self._sent[number] += 1

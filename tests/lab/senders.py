"""Programs that keep sending STUN."""

import threading
from contextlib import suppress
from socket import AF_INET
from typing import Self

from lab.addresses import COTURN
from lab.deadline import until
from lab.messages import binding_request, transaction_of
from lab.namespace import Namespace
from lab.probe import Binding
from lab.topology import Lab

# Seconds between two packets of a sender. It exceeds stunwall's limit of a flow, which drops most of what it blocks.
PACE = 0.005


class Senders:
    """A socket for each binding, which sends Binding Requests from entering to leaving.

    `namespace`: the client's, if not said otherwise.
    """

    def __init__(
        self, lab: Lab, *bindings: Binding, namespace: Namespace | None = None, family: int = AF_INET
    ) -> None:
        self.transactions: list[bytes] = []
        """The transaction ID of each request, noted before the request is sent."""
        self._namespace, self._family = namespace or lab.client, family
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

    def wait(self, packets: int = 2) -> None:
        """Returns when every sender has begun and finished sending this many more packets."""
        # One more, because one may have been begun before the call.
        wanted = [sent + packets + 1 for sent in self._sent]
        until(lambda: all(a >= b for a, b in zip(self._sent, wanted, strict=True)), 5, "more STUN to be sent")

    def _run(self, number: int, binding: Binding) -> None:
        with binding.open(self._namespace, self._family) as sock:
            while not self._ended.wait(PACE):
                request = binding_request()
                self.transactions.append(transaction_of(request))
                with suppress(OSError):  # EPERM from a firewall, or no route at the moment
                    sock.sendto(request, COTURN[self._family])
                self._sent[number] += 1

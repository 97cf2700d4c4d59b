"""The signalling server of a call: it hands each side's messages to the other side."""

import queue
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Literal, Self

from browser.site import Message, Site
from lab.namespace import Namespace

POLL_SECONDS = 5  # how long a request for messages stays open; the page then asks again

Role = Literal["caller", "callee"]
OTHER: Mapping[Role, Role] = {"caller": "callee", "callee": "caller"}


class Signalling:
    """Serves call.html to both sides, each with its own settings, and collects their reports."""

    def __init__(
        self, namespaces: Mapping[Role, Namespace], settings: Mapping[Role, Mapping[str, Any]]
    ) -> None:
        inboxes: dict[Role, queue.Queue[Message]] = {role: queue.Queue() for role in namespaces}
        self._sites = {
            role: Site(
                namespace,
                "call.html",
                {"role": role, **settings[role]},
                receive=partial(_next_messages, inboxes[role]),
                send=inboxes[OTHER[role]].put,
            )
            for role, namespace in namespaces.items()
        }

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for site in self._sites.values():
                stack.enter_context(site)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def address(self, role: Role) -> str:
        """Where that side's browser finds its page."""
        return self._sites[role].address

    def report(self, role: Role, seconds: float) -> Message | None:
        """That side's report, or None if its page reports nothing within `seconds`."""
        return self._sites[role].report(seconds)


def _next_messages(inbox: queue.Queue[Message]) -> list[Message]:
    """The next message as a list, or an empty list after POLL_SECONDS."""
    try:
        return [inbox.get(timeout=POLL_SECONDS)]
    except queue.Empty:
        return []

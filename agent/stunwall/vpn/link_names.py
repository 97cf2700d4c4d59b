"""The names of interfaces as they were when the VPN was last found out, so that no packet needs a system call."""

import socket
from collections.abc import Iterable, Mapping

from stunwall.vpn.interfaces import Link


class LinkNames:
    """Names by index, of one snapshot of the network. They go with the view that was made of the same snapshot."""

    def __init__(self) -> None:
        self._names: Mapping[int, str] = {}
        self._indexes: Mapping[str, int] = {}

    def follow(self, links: Iterable[Link]) -> None:
        """Use the names of these links from now on."""
        self._names = {link.index: link.name for link in links}
        self._indexes = {name: index for index, name in self._names.items()}

    def name(self, index: int) -> str:
        """Return an interface's name, `#INDEX` for one that is gone since."""
        known = self._names.get(index)
        if known is not None:
            return known
        try:
            new = socket.if_indextoname(index)
        except OSError:
            return f"#{index}"
        # The name may have been the VPN's, until a moment ago: then this is another interface.
        return f"#{index}" if new in self._indexes else new

    def index(self, name: str) -> int:
        """Return the index of an interface, 0 if there is none (any more)."""
        known = self._indexes.get(name)
        if known is not None:
            return known
        try:
            return socket.if_nametoindex(name)
        except OSError:
            return 0

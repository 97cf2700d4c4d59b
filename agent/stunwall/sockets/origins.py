"""Where a connection of this machine comes from, and where it would go if nothing bound its socket."""

import socket
import time
from collections.abc import Iterable
from contextlib import suppress

from stunwall.model import Arrival, Datagram, Origin, Program
from stunwall.sockets.diag import Socket, SocketLookup
from stunwall.sockets.processes import Processes
from stunwall.sockets.programs import Programs
from stunwall.sockets.route import RouteLookup

# Seconds for which the program of a cgroup and user is remembered: less than a browser needs to start and ask for the
# microphone, and enough that many connections cost little.
_REMEMBERED = 1.0
_ENTRIES = 256


class Origins:
    """Looks up whose a connection is, in the network namespace where this was made. Not for several threads.

    `more`: names or globs of programs that do WebRTC, besides the known ones.
    """

    def __init__(self, sockets: SocketLookup, more: Iterable[str] = ()) -> None:
        self._sockets = sockets
        self._routes = RouteLookup()
        self._processes = Processes()
        self._known: dict[tuple[int, int], tuple[float, Program]] = {}
        self.name_programs(more)

    def close(self) -> None:
        """Close the netlink sockets."""
        self._routes.close()
        self._processes.close()

    def name_programs(self, more: Iterable[str]) -> None:
        """Use other names from now on."""
        self._programs = Programs(more)
        self._known.clear()

    def find(self, datagram: Datagram, arrival: Arrival) -> Origin:
        """Return the origin of a packet of this machine. Never raises for what is in the packet."""
        own = self._sockets.find(datagram, arrival.outgoing)
        route = self._routes.find(datagram, arrival.mark, None if own is None else own.uid)
        return Origin(
            route=_name(route),
            bound_to_device=own is not None and own.interface != 0,
            program=Program.UNKNOWN if own is None else self._program(own),
        )

    def _program(self, own: Socket) -> Program:
        """Return which kind of program has a socket: a browser, if one of its user is in the socket's cgroup."""
        key, now = (own.cgroup, own.uid), time.monotonic()
        until, program = self._known.get(key, (0.0, Program.UNKNOWN))
        if now < until:
            return program
        program = self._look_at_processes(own)
        if len(self._known) >= _ENTRIES:
            self._known.clear()
        self._known[key] = now + _REMEMBERED, program
        return program

    def _look_at_processes(self, own: Socket) -> Program:
        found = Program.UNKNOWN
        for process in self._processes.of(own.cgroup):
            if process.uid == own.uid:
                if process.name in self._programs:
                    return Program.WEBRTC
                found = Program.OTHER
        return found


def _name(index: int) -> str:
    with suppress(OSError):
        return socket.if_indextoname(index)
    return ""

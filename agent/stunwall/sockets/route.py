"""Where the kernel would route a packet if nothing bound its socket (rtnetlink(7), RTM_GETROUTE)."""

import sys
from struct import pack

from stunwall.model import FAMILIES, Datagram
from stunwall.netlink import attribute, attributes
from stunwall.sockets.query import KernelQuery

_NETLINK_ROUTE = 0  # linux/netlink.h
_RTM_GETROUTE = 26  # linux/rtnetlink.h, and the attributes
_RTA_DST, _RTA_OIF, _RTA_MARK = 1, 4, 16
_RTA_UID, _RTA_IP_PROTO, _RTA_SPORT, _RTA_DPORT = 25, 27, 28, 29
_RTMSG = 12  # the size of struct rtmsg


class RouteLookup:
    """Asks the kernel for routes, in the network namespace where this was made. Not for several threads."""

    def __init__(self) -> None:
        self._query = KernelQuery(_NETLINK_ROUTE)

    def close(self) -> None:
        """Close the netlink socket."""
        self._query.close()

    def find(self, datagram: Datagram, mark: int, uid: int | None) -> int:
        """Return the index of the interface that a packet would leave by, 0 if there is no route. Never raises.

        What its socket may be bound to does not count: its source address, an interface. Its mark, user, protocol and
        ports do, as routing rules may look for them.
        """
        address = datagram.destination.packed
        # struct rtmsg: family, lengths of destination and source, then nothing
        body = pack("=BBB9x", FAMILIES[datagram.family], len(address) * 8, 0)
        body += attribute(_RTA_DST, address) + attribute(_RTA_MARK, pack("=I", mark))
        body += attribute(_RTA_IP_PROTO, pack("=B", datagram.transport.number))
        body += attribute(_RTA_SPORT, pack("!H", datagram.source_port))
        body += attribute(_RTA_DPORT, pack("!H", datagram.destination_port))
        if uid is not None:
            body += attribute(_RTA_UID, pack("=I", uid))
        reply = self._query.ask(_RTM_GETROUTE, body) or b""
        return int.from_bytes(attributes(reply, _RTMSG, len(reply)).get(_RTA_OIF, b""), sys.byteorder)

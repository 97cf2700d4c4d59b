"""The other end of a call: a machine of its own on the lab's internet, and a count of what passes to it."""

import socket
import struct
import threading
from collections import Counter
from socket import AF_INET, AF_INET6, AF_PACKET, SOCK_RAW, SOL_SOCKET
from types import TracebackType
from typing import Self

from lab.addresses import REAL, STUN_SERVER, STUN_SERVER_ALTERNATE
from lab.frame import parse
from lab.namespace import Namespace
from lab.topology import LOOSE, Lab
from lab.wire import BUFFER, ETH_P_ALL, PACKET_STATISTICS, SO_RCVBUFFORCE, SOL_PACKET

PEER = {AF_INET: "198.51.100.6", AF_INET6: "2001:db8:3::6"}
"""The other end's addresses, public and behind no NAT: a check gets there wherever it comes from."""

OTHERS = frozenset((*STUN_SERVER.values(), STUN_SERVER_ALTERNATE, *PEER.values()))
"""Who must not learn the client's real address: the STUN and TURN server, and the other end of the call."""

CABLE = """
    link add port3 netns internet type veth peer name eth0 netns peer
"""
BRIDGE = """
    link set port3 master servers
    link set port3 up
"""
ADDRESSES = f"""
    addr add {PEER[AF_INET]}/24 dev eth0
    addr add {PEER[AF_INET6]}/64 dev eth0 nodad
    link set eth0 up
    route add default via 198.51.100.1
    route add ::/0 via 2001:db8:3::1
"""


class Peer:
    """The machine, from entering to leaving it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def __enter__(self) -> Self:
        self.namespace = Namespace("peer")
        try:
            self.namespace.sysctl("ipv6/conf/default/accept_dad", 0)
            self.namespace.sysctl("ipv4/conf/default/rp_filter", LOOSE)
            self._lab.internet.ip(CABLE)
            self._lab.internet.ip(BRIDGE)
            self.namespace.ip(ADDRESSES)
        except BaseException:
            self.namespace.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.namespace.close()


class Crossing:
    """Counts, beyond the provider, the packets between the client's real address and OTHERS.

    Unlike Wire it sees both directions, and addresses as the servers and the peer see them, behind the NAT.
    The numbers are whole once it is left.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._ended = threading.Event()
        self.packets: Counter[tuple[str, str]] = Counter()
        """(source, destination) → packets."""

    def __enter__(self) -> Self:
        self._socket = self._lab.internet.socket(AF_PACKET, SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.bind(("isp", ETH_P_ALL))
        self._socket.settimeout(0.05)
        self._thread = threading.Thread(target=self._record, name="crossing", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        statistics = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self._socket.close()
        seen, dropped = struct.unpack("II", statistics)
        if dropped:
            raise RuntimeError(f"the counter lost {dropped} of {seen} frames, so it can't say what passed")

    def _record(self) -> None:
        while True:
            try:
                packet = parse(self._socket.recv(1 << 18))
            except TimeoutError:
                if self._ended.is_set():
                    return
                continue
            ends = {packet.source, packet.destination} if packet else set()
            if packet and ends & OTHERS and not ends.isdisjoint(REAL.values()):
                self.packets[packet.source, packet.destination] += 1

    @property
    def from_client(self) -> int:
        return sum(count for (source, _), count in self.packets.items() if source in REAL.values())

    @property
    def to_client(self) -> int:
        return self.packets.total() - self.from_client

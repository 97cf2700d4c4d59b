"""The other end of a call: a machine of its own on the lab's internet, and a count of the packets to and from it."""

from collections import Counter
from contextlib import ExitStack
from socket import AF_INET, AF_INET6
from typing import Self

from lab.addresses import REAL, STUN_SERVER, STUN_SERVER_ALTERNATE
from lab.capture import Capture
from lab.frame import parse
from lab.topology import Lab, namespace

PEER = {AF_INET: "198.51.100.6", AF_INET6: "2001:db8:3::6"}
"""The peer's addresses. They are public and behind no NAT, so that a connectivity check always reaches them."""

OTHERS = frozenset((*STUN_SERVER.values(), STUN_SERVER_ALTERNATE, *PEER.values()))
"""Who must not learn the client's real address: the STUN and TURN server, and the peer."""

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
    """The machine exists from entering to leaving."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.namespace = namespace(stack, "peer")
            self._lab.internet.ip(CABLE)
            self._lab.internet.ip(BRIDGE)
            self.namespace.ip(ADDRESSES)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class Crossing(Capture):
    """Counts, beyond the provider, the packets between the client's real address and OTHERS.

    Unlike Wire it sees both directions, and the addresses that servers and peer see, as the provider's NAT is
    behind it. The numbers are final once it is left.
    """

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.internet, "isp")
        self.packets: Counter[tuple[str, str]] = Counter()
        """(source, destination) → packets."""

    def take(self, frame: bytes, outgoing: bool) -> None:
        packet = parse(frame)
        ends = {packet.source, packet.destination} if packet else set()
        if packet and ends & OTHERS and not ends.isdisjoint(REAL.values()):
            self.packets[packet.source, packet.destination] += 1

    @property
    def from_client(self) -> int:
        return sum(count for (source, _), count in self.packets.items() if source in REAL.values())

    @property
    def to_client(self) -> int:
        return self.packets.total() - self.from_client

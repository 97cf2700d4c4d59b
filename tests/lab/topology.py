"""The machines of the lab, and the cables between them.

      box ──── client ──── isp ──── internet ──┬── vpn
    10.88.0.2  192.168.1.2  NAT      router     │   198.51.100.2, 2001:db8:3::2
    container  2001:db8:1::2         203.0.113.1 └── stun
               │            203.0.113.10             198.51.100.3 and .4, 2001:db8:3::3  coturn
               └─ wgc 10.9.0.2 ·········· WireGuard ··· 198.51.100.5, 2001:db8:3::5      echo
                                          to vpn

The provider translates the client's IPv4 address to 203.0.113.10, and routes its IPv6 without translation.
"""

from contextlib import ExitStack
from functools import partial
from socket import AF_INET, AF_INET6
from typing import Self

from lab.addresses import BOX_NETWORK, COTURN, ECHO_SERVER
from lab.coturn import Coturn
from lab.deadline import until
from lab.echo import Echo
from lab.messages import binding_request
from lab.namespace import Namespace, require_isolation
from lab.probe import DEVICE_BOUND, ask, connect
from lab.wire import MARKER_PORT
from lab.wireguard import WireGuard

CLIENT_CABLES = """
    link add phys0 netns client type veth peer name home netns isp
    link add box0 netns client type veth peer name eth0 netns box
"""
CABLES = """
    link add wan netns isp type veth peer name isp netns internet
    link add port1 netns internet type veth peer name eth0 netns vpn
    link add port2 netns internet type veth peer name eth0 netns stun
"""

CLIENT = """
    addr add 192.168.1.2/24 dev phys0
    addr add 2001:db8:1::2/64 dev phys0 nodad
    addr add 10.88.0.1/24 dev box0
    addr add fd88::1/64 dev box0 nodad
    link set phys0 up
    link set box0 up
    route add default via 192.168.1.1
    route add ::/0 via 2001:db8:1::1
"""
BOX = """
    addr add 10.88.0.2/24 dev eth0
    addr add fd88::2/64 dev eth0 nodad
    link set eth0 up
    route add default via 10.88.0.1
    route add ::/0 via fd88::1
"""
ISP = """
    addr add 192.168.1.1/24 dev home
    addr add 2001:db8:1::1/64 dev home nodad
    addr add 203.0.113.10/24 dev wan
    addr add 2001:db8:2::10/64 dev wan nodad
    link set home up
    link set wan up
    route add default via 203.0.113.1
    route add ::/0 via 2001:db8:2::1
"""
INTERNET = """
    link add servers type bridge
    link set port1 master servers
    link set port2 master servers
    addr add 203.0.113.1/24 dev isp
    addr add 2001:db8:2::1/64 dev isp nodad
    addr add 198.51.100.1/24 dev servers
    addr add 2001:db8:3::1/64 dev servers nodad
    link set isp up
    link set port1 up
    link set port2 up
    link set servers up
    route add 2001:db8:1::/64 via 2001:db8:2::10
"""
VPN = """
    addr add 198.51.100.2/24 dev eth0
    addr add 2001:db8:3::2/64 dev eth0 nodad
    link set eth0 up
    route add default via 198.51.100.1
    route add ::/0 via 2001:db8:3::1
"""
STUN = """
    addr add 198.51.100.3/24 dev eth0
    addr add 198.51.100.4/24 dev eth0
    addr add 198.51.100.5/24 dev eth0
    addr add 2001:db8:3::3/64 dev eth0 nodad
    addr add 2001:db8:3::5/64 dev eth0 nodad
    link set eth0 up
    route add default via 198.51.100.1
    route add ::/0 via 2001:db8:3::1
"""

QUEUE_TOTAL = 2  # the column of /proc/net/netfilter/nfnetlink_queue that counts packets without a verdict yet
LOOSE = 2  # rp_filter, as systemd's 50-default.conf sets it on most desktops


class Outside:
    """The provider and everything behind it, with the servers running, from entering to leaving.

    A subclass adds the client, and with it `home`, the provider's end of the client's cable.
    """

    isp: Namespace
    internet: Namespace
    server: Namespace
    stun: Namespace
    coturn: Coturn
    echo: Echo

    def __enter__(self) -> Self:
        require_isolation()
        with ExitStack() as stack:
            self.isp, self.internet, self.server, self.stun = (
                namespace(stack, name) for name in ("isp", "internet", "vpn", "stun")
            )
            self._bring_client(stack)
            self._connect()
            self.coturn = Coturn(self.stun)
            stack.callback(self.coturn.close)
            self.echo = Echo(self.stun)
            stack.callback(self.echo.close)
            self._finish(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _bring_client(self, stack: ExitStack) -> None:
        """Makes `home`, and everything that the client consists of."""
        raise NotImplementedError

    def _finish(self, stack: ExitStack) -> None:
        """Does what needs the servers."""

    def _connect(self) -> None:
        for router in (self.isp, self.internet, self.server):
            route(router)
        self.internet.ip(CABLES)
        self.isp.ip(ISP)
        self.internet.ip(INTERNET)
        self.server.ip(VPN)
        self.stun.ip(STUN)
        self.isp.masquerade("ip lab_nat", 'oifname "wan"')


class Lab(Outside):
    """All of the machines, with the servers running and the VPN down, from entering to leaving."""

    client: Namespace
    box: Namespace
    vpn: WireGuard

    def _bring_client(self, stack: ExitStack) -> None:
        self.client, self.box = (namespace(stack, name) for name in ("client", "box"))
        route(self.client)
        self.client.ip(CLIENT_CABLES)
        self.client.ip(CLIENT)
        self.box.ip(BOX)
        self.masquerade_box()
        # As wg-quick does: the reverse path check of a reply then uses the reply's mark.
        self.client.sysctl("ipv4/conf/all/src_valid_mark", 1)

    def _finish(self, stack: ExitStack) -> None:
        self.vpn = WireGuard(self.client, self.server)
        stack.callback(self.vpn.close)
        # The first packets over IPv6 may come before the neighbours are resolved.
        for server in COTURN.values():
            until(partial(ask, self.client, server, binding_request()), 10, f"STUN at {server}")

    def masquerade_box(self) -> None:
        """Gives a packet of the container the address of the interface it leaves by, as Docker does."""
        for family, word in ((AF_INET, "ip"), (AF_INET6, "ip6")):
            self.client.masquerade(f"{word} lab_nat", f'{word} saddr {BOX_NETWORK[family]} oifname != "box0"')

    def send_marker(self, family: int, marker: bytes) -> None:
        """Sends `marker` from the client's physical interface, to a port on which nobody listens."""
        with connect(self.client, (ECHO_SERVER[family], MARKER_PORT), DEVICE_BOUND) as sock:
            sock.send(marker)

    def packets_waiting(self) -> int:
        """How many packets in the client's queues have no verdict yet."""
        table = self.client.read("netfilter/nfnetlink_queue")
        return sum(int(line.split()[QUEUE_TOTAL]) for line in table.splitlines())

    def queues_empty(self) -> bool:
        """Whether every packet of the client has its verdict."""
        return self.packets_waiting() == 0


def namespace(stack: ExitStack, name: str) -> Namespace:
    """A new namespace, with the settings that all the lab's namespaces share; `stack` closes it."""
    made = Namespace(name)
    stack.callback(made.close)
    for scope in ("all", "default"):
        # No address is used twice, and detecting that would cost seconds.
        made.sysctl(f"ipv6/conf/{scope}/accept_dad", 0)
        # No router announces itself, and the tests count packets.
        made.sysctl(f"ipv6/conf/{scope}/router_solicitations", 0)
        made.sysctl(f"ipv4/conf/{scope}/rp_filter", LOOSE)
    return made


def route(router: Namespace) -> None:
    """Makes it forward packets."""
    router.sysctl("ipv4/ip_forward", 1)
    router.sysctl("ipv6/conf/all/forwarding", 1)

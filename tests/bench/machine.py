"""A machine to measure on: as little as makes a client, a machine behind it, and servers one hop away.

    box ─── client ─┬─ phys0 ────────────── far: the servers, 203.0.113.7 and .8
                    └─ vpn0, "the VPN" ────

    10.88.0.2 of the box, and 192.168.1.2 of the client, are routed around the VPN. Everything else goes into it. With
    IPv6 there are only the client, 2001:db8:1::2, and the server 2001:db8:7::7.

Every peer has its own, so that all of them are there at once and take turns by the millisecond. Nothing on it uses
connection tracking, unless a peer brings it.
"""

import os
import re
import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from socket import AF_INET6

from bench.tools import program
from lab.namespace import Namespace
from lab.process import Process
from lab.topology import namespace, route
from lab.tunnel import open_tun

SERVER, OTHER_SERVER, SERVER6 = "203.0.113.7", "203.0.113.8", "2001:db8:7::7"
BY_WAY_OUT, BY_WAY_OUT6, INTO_VPN = "192.168.1.2", "2001:db8:1::2", ""
"""Source addresses of the client's sockets."""
BOX_BY_WAY_OUT, BOX_INTO_VPN = "10.88.0.2", "10.89.0.2"
"""Those of the box's."""
PHYSICAL, VPN = "phys0", "vpn0"
VPN_ADDRESS = "10.9.0.2"
TABLE = 51820
LONG = 70  # bytes: measured packets are longer, and those that begin a flow are not

CLIENT = f"""
    addr add 192.168.1.2/24 dev {PHYSICAL}
    addr add 10.88.0.1/24 dev box0
    addr add 10.89.0.1/24 dev box0
    addr add {VPN_ADDRESS}/24 dev {VPN}
    link set {PHYSICAL} up
    link set box0 up
    link set {VPN} up
    route add default via 192.168.1.1
    route add default dev {VPN} table {TABLE}
    rule add not fwmark {TABLE} table {TABLE} pref 32765
    rule add table main suppress_prefixlength 0 pref 32764
    rule add from 192.168.1.2 lookup main pref 100
    rule add from 10.88.0.0/24 lookup main pref 97
"""
CLIENT6 = f"""
    addr add {BY_WAY_OUT6}/64 dev {PHYSICAL}
    addr add fd00:9::2/64 dev {VPN}
    route add default via 2001:db8:1::1
    route add default dev {VPN} table {TABLE}
    rule add not fwmark {TABLE} table {TABLE} pref 32765
    rule add table main suppress_prefixlength 0 pref 32764
    rule add from {BY_WAY_OUT6} lookup main pref 100
"""
BOX = """
    addr add 10.88.0.2/24 dev eth0
    addr add 10.89.0.2/24 dev eth0
    link set eth0 up
    route add default via 10.88.0.1
"""
FAR = f"""
    addr add {SERVER}/32 dev lo
    addr add {OTHER_SERVER}/32 dev lo
    addr add 192.168.1.1/24 dev home
    addr add 10.9.0.1/24 dev vpns0
    link set home up
    link set vpns0 up
    route add 10.88.0.0/24 via 192.168.1.2
    route add 10.89.0.0/24 dev vpns0
"""
FAR6 = f"""
    addr add {SERVER6}/128 dev lo
    addr add 2001:db8:1::1/64 dev home
    addr add fd00:9::1/64 dev vpns0
"""
# What is measured ends where it has arrived, or would have.
SINK = f"""
    table inet sink {{
        chain arrived {{
            type filter hook prerouting priority raw
            udp dport 9 udp length > {LONG} counter drop
        }}
    }}
"""
# A packet in a tun would wake up the program that carries it: that is the VPN's cost, and no other's.
TUN_SINK = f"""
    table netdev sink {{
        chain leaves {{
            type filter hook egress device "{VPN}" priority 1000
            udp dport 9 udp length > {LONG} counter drop
            tcp dport 9 ip length > {LONG} counter drop
        }}
    }}
"""


class Tunnel(Enum):
    """What the VPN is."""

    TUN = auto()
    """A tun device: like WireGuard's, it has no link layer. A thread carries the few packets that there are."""
    CABLE = auto()
    """A cable, which the configuration names: the fastest VPN there can be, so that its own time hides no other."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The namespaces of one machine."""

    client: Namespace
    box: Namespace
    far: Namespace

    def ended(self) -> int:
        """How many measured packets have ended in the sinks; a connection's by the way out do not."""
        sinks = ((self.far, "inet"), (self.client, "netdev"))
        lists = (each.run("nft", "list", "table", family, "sink").stdout for each, family in sinks)
        return sum(int(number) for text in lists for number in re.findall(r"counter packets (\d+)", text))


@contextmanager
def machine(name: str, tunnel: Tunnel) -> Iterator[Machine]:
    """A machine whose VPN is up and whose servers run; `name` is unique, and short."""
    with ExitStack() as stack:
        client, box, far = (namespace(stack, f"{name}-{each}") for each in ("client", "box", "far"))
        client.ip(f"""
            link add {PHYSICAL} type veth peer name home netns {far.name}
            link add box0 type veth peer name eth0 netns {box.name}
        """)
        if tunnel is Tunnel.CABLE:
            # No ARP, as in a tunnel: both ends have the same address of the link layer.
            client.ip(f"link add {VPN} address 02:00:00:00:00:09 type veth peer name vpns0 netns {far.name}")
            client.ip(f"link set {VPN} arp off")
            far.ip("link set vpns0 address 02:00:00:00:00:09 arp off")
        else:
            stack.enter_context(_carried(client, far))
        client.ip(CLIENT)
        box.ip(BOX)
        far.ip(FAR)
        client.ip(CLIENT6, AF_INET6)
        far.ip(FAR6, AF_INET6)
        route(client)
        client.sysctl("ipv4/conf/all/src_valid_mark", 1)  # as wg-quick does
        far.nft(SINK)
        if tunnel is Tunnel.TUN:
            client.nft(TUN_SINK)
        for address in (SERVER, OTHER_SERVER, SERVER6):
            server = Process(far, str(program("server")), address)
            stack.callback(server.kill)
            server.wait_line("serving", 5)
        yield Machine(client, box, far)


@contextmanager
def _carried(client: Namespace, far: Namespace) -> Iterator[None]:
    """A tun device at each end, whose packets are carried from one to the other inside the `with`."""
    ends = open_tun(client, VPN), open_tun(far, "vpns0")
    ended, end = os.pipe()

    def carry() -> None:
        while ended not in (ready := select.select([*ends, ended], [], [])[0]):
            for each in ready:
                os.write(ends[1 - ends.index(each)], os.read(each, 65535))

    thread = threading.Thread(target=carry, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(end)
        thread.join()
        for each in (*ends, ended):
            os.close(each)

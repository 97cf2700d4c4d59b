"""The ways in which STUN bypasses the VPN on real systems, each as something that the lab can do and undo."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM

from lab.addresses import BOX, BOX_NETWORK, CLIENT, COTURN, FAMILIES, NOBODY, PHYSICAL, both
from lab.namespace import Namespace
from lab.probe import ANSWER_SECONDS, DEVICE_BOUND, SOURCE_BOUND, UNBOUND, Binding, ask
from lab.topology import Lab

BYPASS_MARK, APP_MARK = 0x77, 0x78

# Split tunnels such as Mullvad's: the output hook changes the mark, so the kernel routes the packet again. Its
# source address was chosen for the tunnel, and is masqueraded.
REMARK = f"""
    chain output {{
        type route hook output priority mangle
        meta mark {APP_MARK:#x} meta mark set {BYPASS_MARK:#x}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat
        meta mark {BYPASS_MARK:#x} oifname "{PHYSICAL}" masquerade
    }}
"""


class Tunnel(Enum):
    """What the VPN carries while the leak exists."""

    BOTH = "both families"
    IPV4 = "IPv4 only"
    DOWN = "nothing"


@dataclass(frozen=True, slots=True)
class Leak:
    """One cause of leaks."""

    name: str
    binding: dict[int, Binding] = field(default_factory=lambda: both(UNBOUND))
    rule: dict[int, str] = field(default_factory=dict)
    """By family: the policy routing rule that it needs, as `ip rule` takes it."""
    chains: str = ""
    """The nftables chains that it needs."""
    tunnel: Tunnel = Tunnel.BOTH
    from_box: bool = False
    families: tuple[int, ...] = FAMILIES
    kinds: tuple[int, ...] = (SOCK_DGRAM, SOCK_STREAM)

    def sender(self, lab: Lab) -> Namespace:
        return lab.box if self.from_box else lab.client

    @contextmanager
    def made(self, lab: Lab, *families: int) -> Iterator[None]:
        """The leak exists inside the `with`, for these families. Afterwards its rules are gone; the VPN stays."""
        set_tunnel(lab, self.tunnel)
        with ExitStack() as stack:
            if self.chains:
                stack.enter_context(lab.client.table("inet lab_split", self.chains))
            for family in families:
                if family in self.rule:
                    stack.enter_context(lab.client.rule(self.rule[family], family))
            yield

    def ask(
        self, lab: Lab, family: int, kind: int, payload: bytes, seconds: float = ANSWER_SECONDS
    ) -> bytes | None:
        """The STUN server's reply to `payload` sent through this leak, or None (see probe.ask)."""
        return ask(self.sender(lab), COTURN[family], payload, self.binding[family], kind, seconds)


def set_tunnel(lab: Lab, tunnel: Tunnel) -> None:
    """Brings the VPN into the state `tunnel`, and returns once it carries packets."""
    match tunnel:
        case Tunnel.DOWN:
            lab.vpn.down()
        case Tunnel.IPV4:
            lab.vpn.up()
        case Tunnel.BOTH:
            lab.vpn.up(ipv6=True)


@contextmanager
def route_via_box(lab: Lab) -> Iterator[None]:
    """The container routes to another network, so its cable may lead out, for all that stunwall can know."""
    lab.client.ip(f"route add 10.50.0.0/16 via {BOX[AF_INET]} dev box0")
    try:
        yield
    finally:
        lab.client.ip("route del 10.50.0.0/16")


# sing-box, v2rayN (SagerNet sing-tun's rules): packets from the physical address bypass the VPN.
SOURCE_RULE = Leak(
    "source_rule",
    binding=SOURCE_BOUND,
    rule={family: f"from {CLIENT[family]} lookup main pref 100" for family in FAMILIES},
)
DEVICE = Leak("device_bound", binding=both(DEVICE_BOUND))
# UDP alone: TCP ignores IP_UNICAST_IF when it connects.
UNICAST_IF = Leak("unicast_if", binding=both(Binding(unicast_if=PHYSICAL)), kinds=(SOCK_DGRAM,))
FWMARK = Leak(
    "fwmark",
    binding=both(Binding(mark=BYPASS_MARK)),
    rule=both(f"fwmark {BYPASS_MARK:#x} lookup main pref 99"),
)
REMARKED = Leak("remarked_in_output", binding=both(Binding(mark=APP_MARK)), rule=FWMARK.rule, chains=REMARK)
USER_RULE = Leak(
    "user_rule",
    binding=both(Binding(owner=NOBODY)),
    rule=both(f"uidrange {NOBODY}-{NOBODY} lookup main pref 98"),
)
CONTAINER = Leak(
    "container",
    rule={family: f"from {BOX_NETWORK[family]} lookup main pref 97" for family in FAMILIES},
    from_box=True,
)
IPV6_OUTSIDE = Leak("ipv6_outside_ipv4_vpn", tunnel=Tunnel.IPV4, families=(AF_INET6,))
CONTAINER_IPV6 = Leak(
    "container_ipv6_outside_ipv4_vpn", tunnel=Tunnel.IPV4, from_box=True, families=(AF_INET6,)
)
VPN_DOWN = Leak("vpn_down", tunnel=Tunnel.DOWN)
CONTAINER_VPN_DOWN = Leak("container_vpn_down", tunnel=Tunnel.DOWN, from_box=True)

LEAKS = (
    SOURCE_RULE,
    DEVICE,
    UNICAST_IF,
    FWMARK,
    REMARKED,
    USER_RULE,
    CONTAINER,
    IPV6_OUTSIDE,
    CONTAINER_IPV6,
    VPN_DOWN,
    CONTAINER_VPN_DOWN,
)

"""Each way in which real systems send STUN past their VPN, as something the lab can do and undo."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from socket import SOCK_DGRAM, SOCK_STREAM

from lab.addresses import BOX_NETWORK, CLIENT, FAMILIES, PHYSICAL, STUN_PORT, STUN_SERVER
from lab.namespace import Namespace
from lab.probe import UNBOUND, Binding, ask
from lab.topology import Lab

BYPASS_MARK, APP_MARK = 0x77, 0x78
BYPASS_USER = 65534  # nobody

# Split tunnels of the Mullvad kind: the packet is marked anew in the output hook, the kernel routes it again,
# and its source address, chosen for the tunnel, is masqueraded.
REMARK = f"""
table inet lab_split {{
    chain output {{
        type route hook output priority mangle
        meta mark {APP_MARK:#x} meta mark set {BYPASS_MARK:#x}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat
        meta mark {BYPASS_MARK:#x} oifname "{PHYSICAL}" masquerade
    }}
}}
"""


class Tunnel(Enum):
    """What the VPN carries while the leak is made."""

    BOTH = "both families"
    IPV4 = "IPv4 only"
    DOWN = "nothing"


@dataclass(frozen=True, slots=True)
class Leak:
    """One cause of leaks. `rule` is an `ip rule` selector and action, by family."""

    name: str
    binding: dict[int, Binding] = field(default_factory=lambda: dict.fromkeys(FAMILIES, UNBOUND))
    rule: dict[int, str] = field(default_factory=dict)
    table: str = ""
    tunnel: Tunnel = Tunnel.BOTH
    from_box: bool = False
    families: tuple[int, ...] = FAMILIES
    kinds: tuple[int, ...] = (SOCK_DGRAM, SOCK_STREAM)

    def sender(self, lab: Lab) -> Namespace:
        return lab.box if self.from_box else lab.client

    @contextmanager
    def made(self, lab: Lab, *families: int) -> Iterator[None]:
        """The leak exists inside the `with`; afterwards its rules are gone; the VPN stays."""
        set_tunnel(lab, self.tunnel)
        ruled = [family for family in families if family in self.rule]
        if self.table:
            lab.client.nft(self.table)
        for family in ruled:
            lab.client.ip(f"rule add {self.rule[family]}", family)
        try:
            yield
        finally:
            for family in ruled:
                lab.client.ip(f"rule del {self.rule[family]}", family)
            if self.table:
                lab.client.nft("delete table inet lab_split")

    def ask(self, lab: Lab, family: int, kind: int, payload: bytes, seconds: float = 1.0) -> bytes | None:
        """The STUN server's reply to `payload` sent by way of this leak, or None (see probe.ask)."""
        return ask(
            self.sender(lab), (STUN_SERVER[family], STUN_PORT), payload, self.binding[family], kind, seconds
        )


def set_tunnel(lab: Lab, tunnel: Tunnel) -> None:
    """Brings the VPN into the state `tunnel`, and returns when it carries packets."""
    match tunnel:
        case Tunnel.DOWN:
            lab.vpn.down()
        case Tunnel.IPV4:
            lab.vpn.up()
        case Tunnel.BOTH:
            lab.vpn.up(ipv6=True)


def _each(rule: str) -> dict[int, str]:
    return dict.fromkeys(FAMILIES, rule)


def _bound(**how: object) -> dict[int, Binding]:
    return dict.fromkeys(FAMILIES, Binding(**how))  # type: ignore[arg-type]


SOURCE_RULE = Leak(
    # sing-box, v2rayN (SagerNet sing-tun's rules): what comes from the physical address stays outside.
    "source_rule",
    binding={family: Binding(source=CLIENT[family]) for family in FAMILIES},
    rule={family: f"from {CLIENT[family]} lookup main pref 100" for family in FAMILIES},
)
DEVICE = Leak("device_bound", binding=_bound(device=PHYSICAL))
# TCP ignores IP_UNICAST_IF when it connects.
UNICAST_IF = Leak("unicast_if", binding=_bound(unicast_if=PHYSICAL), kinds=(SOCK_DGRAM,))
FWMARK = Leak(
    "fwmark", binding=_bound(mark=BYPASS_MARK), rule=_each(f"fwmark {BYPASS_MARK:#x} lookup main pref 99")
)
REMARKED = Leak(
    "remarked_in_output",
    binding=_bound(mark=APP_MARK),
    rule=_each(f"fwmark {BYPASS_MARK:#x} lookup main pref 99"),
    table=REMARK,
)
USER_RULE = Leak(
    "user_rule",
    binding=_bound(owner=BYPASS_USER),
    rule=_each(f"uidrange {BYPASS_USER}-{BYPASS_USER} lookup main pref 98"),
)
CONTAINER = Leak(
    "container",
    rule={family: f"from {BOX_NETWORK[family]} lookup main pref 97" for family in FAMILIES},
    from_box=True,
)
IPV6_OUTSIDE = Leak("ipv6_outside_ipv4_vpn", tunnel=Tunnel.IPV4, families=FAMILIES[1:])
CONTAINER_IPV6 = Leak(
    "container_ipv6_outside_ipv4_vpn", tunnel=Tunnel.IPV4, from_box=True, families=FAMILIES[1:]
)
VPN_DOWN = Leak("vpn_down", tunnel=Tunnel.DOWN)
CONTAINER_VPN_DOWN = Leak("container_vpn_down", tunnel=Tunnel.DOWN, from_box=True)

LEAKS = (
    SOURCE_RULE, DEVICE, UNICAST_IF, FWMARK, REMARKED, USER_RULE, CONTAINER,
    IPV6_OUTSIDE, CONTAINER_IPV6, VPN_DOWN, CONTAINER_VPN_DOWN,
)  # fmt: skip

"""Every name and address in the lab, by owner.

All of them are from documentation or private ranges (RFC 5737, RFC 3849, RFC 1918, RFC 4193), used inside
namespaces only.
"""

from socket import AF_INET, AF_INET6
from typing import TypeVar

T = TypeVar("T")

FAMILIES: tuple[int, int] = (AF_INET, AF_INET6)

PHYSICAL = "phys0"
"""The client's interface to its provider. STUN may never leave by it."""
VPN = "wgc"
"""The client's WireGuard interface."""

CLIENT: dict[int, str] = {AF_INET: "192.168.1.2", AF_INET6: "2001:db8:1::2"}
"""The client's own addresses on its physical interface."""
ROUTER: dict[int, str] = {AF_INET: "192.168.1.1", AF_INET6: "2001:db8:1::1"}
"""The provider's addresses on the same link: the client's default gateway."""
REAL: dict[int, str] = {AF_INET: "203.0.113.10", AF_INET6: "2001:db8:1::2"}
"""What a server sees of the client outside the VPN: the secret that stunwall keeps."""
VPN_SERVER: dict[int, str] = {AF_INET: "198.51.100.2", AF_INET6: "2001:db8:3::2"}
"""What a server sees of the client through the VPN; also the WireGuard endpoint."""
VPN_PORT = 51820
TUNNEL: dict[int, str] = {AF_INET: "10.9.0.2", AF_INET6: "fd09::2"}
"""The client's addresses inside the tunnel."""

STUN_SERVER: dict[int, str] = {AF_INET: "198.51.100.3", AF_INET6: "2001:db8:3::3"}
"""coturn, UDP and TCP."""
STUN_SERVER_ALTERNATE = "198.51.100.4"
"""coturn's second address, which the tests of RFC 5780 and RFC 3489 need."""
STUN_NAME = "turn.example"
"""A name of it, where something knows names (RFC 2606)."""
STUN_PORT = 3478
STUN_PORTS = (3478, 80, 19302)
"""Where coturn listens."""
TLS_PORTS = (5349, 443)
"""Where it listens over TLS."""
COTURN: dict[int, tuple[str, int]] = {family: (STUN_SERVER[family], STUN_PORT) for family in FAMILIES}
"""coturn's address and usual port."""

ECHO_SERVER: dict[int, str] = {AF_INET: "198.51.100.5", AF_INET6: "2001:db8:3::5"}
"""Sends back what it receives."""

BOX: dict[int, str] = {AF_INET: "10.88.0.2", AF_INET6: "fd88::2"}
"""A container behind the client, which forwards and masquerades for it."""
BOX_NETWORK: dict[int, str] = {AF_INET: "10.88.0.0/24", AF_INET6: "fd88::/64"}

NOBODY = 65534
"""Debian's user and group without rights."""


def both(value: T) -> dict[int, T]:
    """The same value for both families."""
    return dict.fromkeys(FAMILIES, value)


def family_name(family: int) -> str:
    """For test IDs and messages."""
    return "IPv6" if family == AF_INET6 else "IPv4"

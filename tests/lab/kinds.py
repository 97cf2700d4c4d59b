"""The kinds of VPN that the lab can run, and the sockets that bypass each of them."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from socket import SOCK_DGRAM, SOCK_STREAM
from typing import Protocol

from lab import openvpn, tunnel, wgquick
from lab.addresses import FAMILIES, VPN, both
from lab.openvpn import OpenVPN
from lab.probe import DEVICE_BOUND, SOURCE_BOUND, Binding
from lab.topology import Lab
from lab.tunnel import BY_MARK, BY_SOURCE, Proxy
from lab.wgquick import WgQuick


class Connection(Protocol):
    """A VPN whose server is running, and whose client end goes up and down."""

    def up(self) -> None: ...
    def down(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of VPN."""

    name: str
    interface: str
    make: Callable[[Lab], Connection]
    bypassing: dict[int, tuple[Binding, ...]] = field(default_factory=lambda: both((DEVICE_BOUND,)))
    """By family: the sockets that bypass it."""
    transports: tuple[int, ...] = (SOCK_DGRAM, SOCK_STREAM)
    """The transports that it carries."""
    named: bool = False
    """Whether it counts as a VPN only if the configuration names it."""

    @property
    def names(self) -> list[str]:
        """The configuration's `interfaces` for it."""
        return [self.interface] if self.named else []

    def bypasses(self) -> list[tuple[int, Binding, int]]:
        """(family, binding, transport) of every way to bypass it."""
        return [
            (family, binding, transport)
            for family in FAMILIES
            for binding in self.bypassing[family]
            for transport in self.transports
        ]

    @contextmanager
    def made(self, lab: Lab) -> Iterator[Connection]:
        """Its server runs inside the `with`. At first its client end is down, and so is the lab's own VPN."""
        lab.vpn.down()
        with closing(self.make(lab)) as connection:
            yield connection


class _Own:
    """The lab's own WireGuard, which the lab closes."""

    def __init__(self, lab: Lab) -> None:
        self._vpn = lab.vpn

    def up(self) -> None:
        self._vpn.up(ipv6=True)

    def down(self) -> None:
        self._vpn.down()

    close = down


class _Routed:
    """The proxy, with one of its ways of routing."""

    def __init__(self, lab: Lab, routing: tunnel.Routing) -> None:
        self._proxy, self._routing = Proxy(lab.client, lab.server), routing

    def up(self) -> None:
        self._proxy.up(self._routing, ipv6=True)

    def down(self) -> None:
        self._proxy.down()

    def close(self) -> None:
        self._proxy.close()


_MARKED = Binding(mark=tunnel.BYPASS)

WIREGUARD = Kind("wireguard", VPN, _Own)
WG_QUICK = Kind("wg_quick", wgquick.INTERFACE, lambda lab: WgQuick(lab.client))
OPENVPN = Kind("openvpn", openvpn.INTERFACE, lambda lab: OpenVPN(lab.client, lab.server))
OPENVPN_TAP = Kind(
    "openvpn_tap", openvpn.INTERFACE, lambda lab: OpenVPN(lab.client, lab.server, "tap"), named=True
)
PROXY_BY_SOURCE = Kind(
    "proxy_by_source",
    tunnel.INTERFACE,
    lambda lab: _Routed(lab, BY_SOURCE),
    bypassing={family: (SOURCE_BOUND[family], DEVICE_BOUND) for family in FAMILIES},
)
PROXY_BY_MARK = Kind(
    "proxy_by_mark",
    tunnel.INTERFACE,
    lambda lab: _Routed(lab, BY_MARK),
    bypassing=both((_MARKED, DEVICE_BOUND)),
    transports=(SOCK_DGRAM,),
)

KINDS = (WIREGUARD, WG_QUICK, OPENVPN, OPENVPN_TAP, PROXY_BY_SOURCE, PROXY_BY_MARK)

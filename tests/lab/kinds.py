"""The kinds of VPN that the lab brings up for real, and the sockets that bypass each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socket import SOCK_DGRAM, SOCK_STREAM
from typing import Protocol

from lab import openvpn, tunnel, wgquick
from lab.addresses import CLIENT, FAMILIES, PHYSICAL, VPN
from lab.openvpn import OpenVPN
from lab.probe import Binding
from lab.topology import Lab
from lab.tunnel import BY_MARK, BY_SOURCE, Proxy
from lab.wgquick import WgQuick

DEVICE_BOUND = Binding(device=PHYSICAL)


class Connection(Protocol):
    """A VPN whose server runs, and whose client end goes up and down."""

    def up(self) -> None: ...
    def down(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of VPN. `bypasses`: the sockets that go around it, by family; `transports`: what it carries."""

    name: str
    interface: str
    make: Callable[[Lab], Connection]
    bypasses: dict[int, tuple[Binding, ...]] = field(
        default_factory=lambda: dict.fromkeys(FAMILIES, (DEVICE_BOUND,))
    )
    transports: tuple[int, ...] = (SOCK_DGRAM, SOCK_STREAM)
    named: bool = False
    """Whether stunwall has to be told its name."""

    @property
    def names(self) -> list[str]:
        """The configuration's `interfaces` for it."""
        return [self.interface] if self.named else []

    def ways_around(self) -> list[tuple[int, Binding, int]]:
        """(family, binding, transport) of each."""
        return [
            (f, binding, kind) for f in FAMILIES for binding in self.bypasses[f] for kind in self.transports
        ]

    @contextmanager
    def made(self, lab: Lab) -> Iterator[Connection]:
        """The server runs inside the `with`, the client end is down at first, and so is the lab's own VPN."""
        lab.vpn.down()
        connection = self.make(lab)
        try:
            yield connection
        finally:
            connection.close()


class _Own:
    """The lab's own WireGuard, which the lab itself closes."""

    def __init__(self, lab: Lab) -> None:
        self._vpn = lab.vpn

    def up(self) -> None:
        self._vpn.up(ipv6=True)

    def down(self) -> None:
        self._vpn.down()

    close = down


class _Routed:
    """The proxy with one of its ways of routing."""

    def __init__(self, lab: Lab, routing: tunnel.Routing) -> None:
        self._proxy, self._routing = Proxy(lab.client, lab.server), routing

    def up(self) -> None:
        self._proxy.up(self._routing, ipv6=True)

    def down(self) -> None:
        self._proxy.down()

    def close(self) -> None:
        self._proxy.close()


_SOURCE_BOUND: dict[int, tuple[Binding, ...]] = {
    family: (Binding(source=CLIENT[family]), DEVICE_BOUND) for family in FAMILIES
}
_MARKED: tuple[Binding, ...] = (Binding(mark=tunnel.AROUND), DEVICE_BOUND)

WIREGUARD = Kind("wireguard", VPN, _Own)
WG_QUICK = Kind("wg_quick", wgquick.INTERFACE, lambda lab: WgQuick(lab.client))
OPENVPN = Kind("openvpn", openvpn.INTERFACE, lambda lab: OpenVPN(lab.client, lab.server))
OPENVPN_TAP = Kind(
    "openvpn_tap", openvpn.INTERFACE, lambda lab: OpenVPN(lab.client, lab.server, "tap"), named=True
)
PROXY_BY_SOURCE = Kind(
    "proxy_by_source", tunnel.INTERFACE, lambda lab: _Routed(lab, BY_SOURCE), bypasses=_SOURCE_BOUND
)
PROXY_BY_MARK = Kind(
    "proxy_by_mark", tunnel.INTERFACE, lambda lab: _Routed(lab, BY_MARK),
    bypasses=dict.fromkeys(FAMILIES, _MARKED), transports=(SOCK_DGRAM,),
)  # fmt: skip

KINDS = (WIREGUARD, WG_QUICK, OPENVPN, OPENVPN_TAP, PROXY_BY_SOURCE, PROXY_BY_MARK)

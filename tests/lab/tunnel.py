"""A VPN client like sing-box, a proxy: a program carries the packets of a tun device to its server.

The routing is that of SagerNet's sing-tun: `auto_route`, by source address, or `auto_redirect`, by mark.
In the tunnel the packets are not encrypted but disguised, so that the wire does not find their bytes.
"""

import fcntl
import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, SOCK_DGRAM

from lab.addresses import CLIENT, PHYSICAL, VPN_SERVER, both
from lab.namespace import Namespace
from lab.probe import Binding
from lab.topology import Lab

INTERFACE, SERVER_INTERFACE = "tun0", "tuns0"
PORT = 4433
MTU = 1400
ADDRESS = {AF_INET: "172.19.0.1", AF_INET6: "fdfe:dcba:9876::1"}
"""The client's addresses inside the tunnel."""
TABLE = 2022
INTO, BYPASS = 0x2023, 0x2024
"""sing-box's marks: for packets that go into the tunnel, and for those that bypass it, such as its own."""

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
_DISGUISE = bytes(byte ^ 0xA5 for byte in range(256))


def inside(payload: bytes) -> bytes:
    """The IP packet that the proxy client carries in a datagram's payload."""
    return payload.translate(_DISGUISE)


# All UDP that is neither the proxy's own nor for the LAN. (sing-box redirects TCP to a port of its own.)
MARKING = f"""
table inet lab_proxy {{
    chain output {{
        type route hook output priority mangle
        meta mark {BYPASS:#x} return
        ip daddr {{ 127.0.0.0/8, 192.168.1.0/24 }} return
        ip6 daddr {{ ::1, fe80::/10, ff00::/8, 2001:db8:1::/64 }} return
        meta l4proto udp meta mark set {INTO:#x} ct mark set meta mark
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Routing:
    """How packets get into the tunnel: `ip rule` selectors and actions by family, and an nftables table."""

    name: str
    rules: dict[int, tuple[str, ...]]
    table: str = ""


BY_SOURCE = Routing(
    "by_source",
    {
        AF_INET: (
            f"to 172.19.0.0/30 lookup {TABLE} pref 9000",
            f"lookup {TABLE} suppress_prefixlength 0 pref 9001",
            "not dport 53 lookup main suppress_prefixlength 0 pref 9002",
            f"iif {INTERFACE} goto 9010 pref 9003",
            f"not iif lo lookup {TABLE} pref 9003",
            f"from 0.0.0.0/32 iif lo lookup {TABLE} pref 9003",
            f"from 172.19.0.0/30 iif lo lookup {TABLE} pref 9003",
            "nop pref 9010",
        ),
        AF_INET6: (
            f"lookup {TABLE} suppress_prefixlength 0 pref 9000",
            "not dport 53 lookup main suppress_prefixlength 0 pref 9001",
            f"iif {INTERFACE} goto 9010 pref 9001",
            "from ::/1 iif lo goto 9010 pref 9001",
            "from 8000::/1 iif lo goto 9010 pref 9001",
            f"from fdfe:dcba:9876::/126 iif lo lookup {TABLE} pref 9002",
            f"lookup {TABLE} pref 9003",
            "nop pref 9010",
        ),
    },
)
"""`auto_route`: a socket bound to the physical address bypasses the tunnel."""

_MARK_RULES = (
    f"fwmark {BYPASS:#x} goto 9002 pref 9000",
    f"fwmark {INTO:#x} lookup {TABLE} pref 9001",
    "nop pref 9002",
    f"lookup {TABLE} pref 32768",
)
BY_MARK = Routing("by_mark", both(_MARK_RULES), MARKING)
"""`auto_redirect`: an output chain marks packets, so that the interface seen at the output hook isn't final."""
UNROUTED = Routing("unrouted", both(()))
"""Nothing leads into the tunnel."""


class Proxy:
    """The server end, up from the constructor to close(), and the client end, which goes up and down."""

    def __init__(self, client: Namespace, server: Namespace) -> None:
        self._client, self._server = client, server
        self._routing: Routing | None = None
        self._families: tuple[int, ...] = ()
        self._device: int | None = None
        self._peer: tuple[str, int] | None = None
        self._near = client.socket(AF_INET, SOCK_DGRAM)
        # Bound as with sing-box's auto_detect_interface; the mark is for auto_redirect.
        Binding(device=PHYSICAL, mark=BYPASS).apply(self._near)
        self._near.connect((VPN_SERVER[AF_INET], PORT))
        self._far = server.socket(AF_INET, SOCK_DGRAM)
        self._far.bind((VPN_SERVER[AF_INET], PORT))
        self._far_device = open_tun(server, SERVER_INTERFACE)
        self._connect_server()
        self._wake, self._waker = socket.socketpair()
        # Held while a packet is carried, and while the device is replaced.
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._carry(self._near.fileno(), self._to_client)
        self._carry(self._far.fileno(), self._to_internet)
        self._carry(self._far_device, self._back)
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def _connect_server(self) -> None:
        self._server.ip(f"""
            addr add 172.19.0.2/30 dev {SERVER_INTERFACE}
            addr add fdfe:dcba:9876::2/126 dev {SERVER_INTERFACE} nodad
            link set {SERVER_INTERFACE} mtu {MTU} up
            route add {CLIENT[AF_INET]}/32 dev {SERVER_INTERFACE}
            route add {CLIENT[AF_INET6]}/128 dev {SERVER_INTERFACE}
        """)
        self._server.masquerade("inet lab_proxy", f'iifname "{SERVER_INTERFACE}"')

    def close(self) -> None:
        self.down()
        self._waker.close()
        self._thread.join()
        self._selector.close()
        for sock in (self._wake, self._near, self._far):
            sock.close()
        os.close(self._far_device)
        self._server.nft("delete table inet lab_proxy")

    def up(self, routing: Routing = BY_SOURCE, ipv6: bool = False) -> None:
        """Makes the device, its routes and the rules. With `ipv6` both families go through the tunnel."""
        self.down()
        self._routing = routing
        self._families = (AF_INET, AF_INET6) if ipv6 else (AF_INET,)
        for family in self._families:
            self._client.ip("\n".join(f"rule add {rule}" for rule in routing.rules[family]), family)
        if routing.table:
            self._client.nft(routing.table)
        self.plug()

    def down(self) -> None:
        """Removes the device and the rules; has no effect if it is down."""
        self.unplug()
        if self._routing is None:
            return
        for family in self._families:
            self._client.ip("\n".join(f"rule del {rule}" for rule in self._routing.rules[family]), family)
        if self._routing.table:
            self._client.nft("delete table inet lab_proxy")
        self._routing = None

    def plug(self) -> None:
        """Makes the device, its addresses and its routes, but not the rules."""
        device = open_tun(self._client, INTERFACE)
        with self._lock:
            self._device = device
            self._carry(device, self._to_server)
        six = AF_INET6 in self._families
        self._client.ip(f"""
            addr add {ADDRESS[AF_INET]}/30 dev {INTERFACE}
            {f"addr add {ADDRESS[AF_INET6]}/126 dev {INTERFACE} nodad" if six else ""}
            link set {INTERFACE} mtu {MTU} up
            route add default dev {INTERFACE} table {TABLE}
            {f"route add ::/0 dev {INTERFACE} table {TABLE}" if six else ""}
        """)

    def unplug(self) -> None:
        """Closes the device, as a crash does: it is gone with its routes, and the rules stay."""
        with self._lock:
            if self._device is not None:
                self._selector.unregister(self._device)
                os.close(self._device)
            self._device = None

    def _carry(self, descriptor: int, how: Callable[[], None]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, how)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                # An error is a lost packet: the device is down or gone, or an ICMP error arrived.
                with self._lock, suppress(OSError):
                    key.data()

    def _to_server(self) -> None:
        if self._device is not None:
            self._near.send(os.read(self._device, 65535).translate(_DISGUISE))

    def _to_internet(self) -> None:
        packet, self._peer = self._far.recvfrom(65535, socket.MSG_DONTWAIT)
        os.write(self._far_device, packet.translate(_DISGUISE))

    def _back(self) -> None:
        packet = os.read(self._far_device, 65535)
        if self._peer is not None:
            self._far.sendto(packet.translate(_DISGUISE), self._peer)

    def _to_client(self) -> None:
        packet = self._near.recv(65535, socket.MSG_DONTWAIT)
        if self._device is not None:
            os.write(self._device, packet.translate(_DISGUISE))


@contextmanager
def proxy(lab: Lab, routing: Routing = BY_SOURCE, ipv6: bool = False) -> Iterator[Proxy]:
    """A proxy, up, inside the `with`."""
    with closing(Proxy(lab.client, lab.server)) as connection:
        connection.up(routing, ipv6)
        yield connection


def open_tun(namespace: Namespace, name: str) -> int:
    """The descriptor of a new tun device, which exists until the descriptor is closed."""

    def make() -> int:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        return device

    return namespace.call(make)

"""The VPN: WireGuard in user space, routed on the client as wg-quick does it."""

import subprocess
from socket import AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, socket

from lab.addresses import TUNNEL, VPN, VPN_PORT, VPN_SERVER
from lab.deadline import until
from lab.namespace import Namespace
from lab.process import Process

SERVER_INTERFACE = "wgs"  # wireguard-go's control sockets are named by interface, in one folder for all
TABLE = FWMARK = 51820  # wg-quick's defaults

NAT = """
table inet lab_nat {
    chain postrouting {
        type nat hook postrouting priority srcnat
        iifname "wgs" masquerade
    }
}
"""


def _wg(*arguments: str, text: str = "") -> str:
    done = subprocess.run(["wg", *arguments], input=text, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class WireGuard:
    """The server end, up for the whole time, and the client end, which goes up and down."""

    def __init__(self, client: Namespace, server: Namespace) -> None:
        self._client = client
        self._server_key, self._client_key = _wg("genkey"), _wg("genkey")
        self._client_end: Process | None = None
        self._families: tuple[int, ...] = ()
        self._server_end = _start(server, SERVER_INTERFACE)
        self._configure(server, SERVER_INTERFACE, f"""
            [Interface]
            PrivateKey = {self._server_key}
            ListenPort = {VPN_PORT}
            [Peer]
            PublicKey = {_wg("pubkey", text=self._client_key)}
            AllowedIPs = {TUNNEL[AF_INET]}/32, {TUNNEL[AF_INET6]}/128
        """)  # fmt: skip
        server.ip("""
            addr add 10.9.0.1/24 dev wgs
            addr add fd09::1/64 dev wgs nodad
            link set wgs up
        """)
        server.nft(NAT)

    def close(self) -> None:
        self.down()
        self._server_end.stop()

    def _configure(self, namespace: Namespace, interface: str, text: str) -> None:
        # The control socket is a file, so `wg` may run in any network namespace.
        _wg("setconf", interface, "/dev/stdin", text=text)

    def up(self, ipv6: bool = False) -> None:
        """Makes the interface, its addresses, routes and rules, and returns after the first handshake.

        With `ipv6` both families go through the tunnel, else IPv4 only, which leaves IPv6 outside.
        """
        self.down()
        self._client_end = _start(self._client, VPN)
        self._configure(self._client, VPN, f"""
            [Interface]
            PrivateKey = {self._client_key}
            FwMark = {FWMARK}
            [Peer]
            PublicKey = {_wg("pubkey", text=self._server_key)}
            Endpoint = {VPN_SERVER[AF_INET]}:{VPN_PORT}
            AllowedIPs = 0.0.0.0/0, ::/0
            PersistentKeepalive = 25
        """)  # fmt: skip
        self._client.ip(f"""
            addr add {TUNNEL[AF_INET]}/24 dev {VPN}
            {f"addr add {TUNNEL[AF_INET6]}/64 dev {VPN} nodad" if ipv6 else ""}
            link set {VPN} up
        """)
        self._families = (AF_INET, AF_INET6) if ipv6 else (AF_INET,)
        for family in self._families:
            self._client.ip(f"route add default dev {VPN} table {TABLE}", family)
        self._rules("add")
        until(self._shook_hands, 10, f"a WireGuard handshake with {VPN_SERVER[AF_INET]}")

    def _shook_hands(self) -> bool:
        return not _wg("show", VPN, "latest-handshakes").endswith("\t0")

    def _rules(self, verb: str) -> None:
        # As wg-quick: all but WireGuard's packets use the VPN's table, unless main has more than a default.
        for family in self._families:
            self._client.ip(f"""
                rule {verb} not fwmark {FWMARK} table {TABLE} pref 32765
                rule {verb} table main suppress_prefixlength 0 pref 32764
            """, family)  # fmt: skip

    def down(self) -> None:
        """Removes the interface and the rules; without effect if the VPN is down."""
        if self._client_end is None:
            return
        self._client_end.stop()
        self._client_end = None
        self._rules("del")
        self._families = ()

    def cut(self) -> None:
        """Kills the client end as a crash does: the interface is gone, its rules stay."""
        assert self._client_end is not None
        self._client_end.kill()


def _listens(path: str) -> bool:
    # Not by `wg show`: it unlinks a socket that is bound but does not listen yet.
    with socket(AF_UNIX, SOCK_STREAM) as asking:
        return asking.connect_ex(path) == 0


def _start(namespace: Namespace, interface: str) -> Process:
    process = Process(namespace, "wireguard-go", "-f", interface, env={"LOG_LEVEL": "error"})
    control = f"/run/wireguard/{interface}.sock"
    try:
        until(lambda: _listens(control), 10, f"wireguard-go's {control}")
    except TimeoutError as late:
        process.kill()
        raise RuntimeError(f"{late}; it printed:\n{process.output}") from late
    return process

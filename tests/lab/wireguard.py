"""The VPN: WireGuard in user space, routed on the client as wg-quick does it."""

import subprocess
from functools import partial
from socket import AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, socket

from lab.addresses import ECHO_SERVER, TUNNEL, VPN, VPN_PORT, VPN_SERVER
from lab.deadline import until
from lab.echo import UDP_PORTS
from lab.namespace import Namespace
from lab.probe import ask
from lab.process import Process

# Unlike the client's: wireguard-go names its control sockets by interface, in one folder for all namespaces.
SERVER_INTERFACE = "wgs"
TABLE = FWMARK = 51820  # wg-quick's defaults


def wg(*arguments: str, text: str = "") -> str:
    """What `wg` prints; its control sockets are files, so that it works from any network namespace."""
    done = subprocess.run(["wg", *arguments], input=text, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def wait_handshake(interface: str) -> None:
    """Returns once WireGuard has shaken hands with the server on this interface."""
    # The time of the last handshake is 0 before the first one.
    until(lambda: not wg("show", interface, "latest-handshakes").endswith("\t0"), 10, "a WireGuard handshake")


class WireGuard:
    """The server end, which stays up, and the client end, which goes up and down."""

    def __init__(self, client: Namespace, server: Namespace) -> None:
        self._client = client
        self._server_key, self._client_key = wg("genkey"), wg("genkey")
        self._client_end: Process | None = None
        self._families: tuple[int, ...] = ()
        self._server_end = _start(server, SERVER_INTERFACE)
        configuration = f"""
            [Interface]
            PrivateKey = {self._server_key}
            ListenPort = {VPN_PORT}
            [Peer]
            PublicKey = {wg("pubkey", text=self._client_key)}
            AllowedIPs = {TUNNEL[AF_INET]}/32, {TUNNEL[AF_INET6]}/128
        """
        wg("setconf", SERVER_INTERFACE, "/dev/stdin", text=configuration)
        server.ip("""
            addr add 10.9.0.1/24 dev wgs
            addr add fd09::1/64 dev wgs nodad
            link set wgs up
        """)
        server.masquerade("inet lab_nat", f'iifname "{SERVER_INTERFACE}"')

    def close(self) -> None:
        self.down()
        self._server_end.stop()

    def up(self, ipv6: bool = False) -> None:
        """Makes the interface, its addresses, routes and rules, and returns once it carries packets.

        With `ipv6` both families go through the tunnel; without it only IPv4 does, and IPv6 stays outside.
        """
        self.down()
        self._client_end = _start(self._client, VPN)
        configuration = f"""
            [Interface]
            PrivateKey = {self._client_key}
            FwMark = {FWMARK}
            [Peer]
            PublicKey = {wg("pubkey", text=self._server_key)}
            Endpoint = {VPN_SERVER[AF_INET]}:{VPN_PORT}
            AllowedIPs = 0.0.0.0/0, ::/0
            PersistentKeepalive = 25
        """
        wg("setconf", VPN, "/dev/stdin", text=configuration)
        self._client.ip(f"""
            addr add {TUNNEL[AF_INET]}/24 dev {VPN}
            {f"addr add {TUNNEL[AF_INET6]}/64 dev {VPN} nodad" if ipv6 else ""}
            link set {VPN} up
        """)
        self._families = (AF_INET, AF_INET6) if ipv6 else (AF_INET,)
        for family in self._families:
            self._client.ip(f"route add default dev {VPN} table {TABLE}", family)
        self._rules("add")
        wait_handshake(VPN)
        # On a busy machine the kernel may still drop what comes in for an IPv6 address of an interface that came up
        # some milliseconds ago (in ip6_forward, as if the address were another machine's).
        for family in self._families:
            echo = (ECHO_SERVER[family], UDP_PORTS[0])
            until(
                partial(ask, self._client, echo, b"carries packets?"),
                10,
                f"an echo from {echo} through the VPN",
            )

    def _rules(self, verb: str) -> None:
        # wg-quick's: every packet but WireGuard's own uses the VPN's table, unless the main table has a route to
        # its destination that is not a default route.
        rules = f"""
            rule {verb} not fwmark {FWMARK} table {TABLE} pref 32765
            rule {verb} table main suppress_prefixlength 0 pref 32764
        """
        for family in self._families:
            self._client.ip(rules, family)

    def down(self) -> None:
        """Removes the interface and the rules; has no effect if the VPN is down."""
        if self._client_end is None:
            return
        self._client_end.stop()
        self._client_end = None
        self._rules("del")
        self._families = ()

    def cut(self) -> None:
        """Kills the client end, as a crash does: the interface is gone, its rules stay."""
        assert self._client_end is not None
        self._client_end.kill()


def _listens(path: str) -> bool:
    # Not by `wg show`, which unlinks a socket that is bound but does not listen yet.
    with socket(AF_UNIX, SOCK_STREAM) as client:
        return client.connect_ex(path) == 0


def _start(namespace: Namespace, interface: str) -> Process:
    process = Process(namespace, "wireguard-go", "-f", interface, env={"LOG_LEVEL": "error"})
    control = f"/run/wireguard/{interface}.sock"
    try:
        until(lambda: _listens(control), 10, f"wireguard-go's {control}")
    except TimeoutError as late:
        process.kill()
        raise RuntimeError(f"{late}; it printed:\n{process.output}") from late
    return process

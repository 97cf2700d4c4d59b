"""Another VPN: Debian's OpenVPN, with a real handshake and certificates of its own."""

import subprocess
import tempfile
from pathlib import Path
from socket import AF_INET

from lab.addresses import VPN_SERVER
from lab.namespace import Namespace
from lab.process import Process

INTERFACE, SERVER_INTERFACE = "ovc0", "ovs0"
PORT = 1194
DONE = "Initialization Sequence Completed"

NAT = f"""
table inet lab_openvpn {{
    chain postrouting {{
        type nat hook postrouting priority srcnat
        iifname "{SERVER_INTERFACE}" masquerade
    }}
}}
"""


class OpenVPN:
    """The server end, there from the constructor to close(), and the client end, which goes up and down.

    `kind` is "tun" or "tap". Both families go through the tunnel.
    """

    def __init__(self, client: Namespace, server: Namespace, kind: str = "tun") -> None:
        self._client, self._server, self._kind = client, server, kind
        self._folder = tempfile.TemporaryDirectory(prefix="openvpn-")
        self._client_end: Process | None = None
        self._certify()
        self._server_end = self._start(
            server, SERVER_INTERFACE, "server",
            "--server", "10.8.0.0", "255.255.255.0", "--server-ipv6", "fd08::/64", "--topology", "subnet",
            "--local", VPN_SERVER[AF_INET], "--port", str(PORT), "--dh", "none",
            "--push", "redirect-gateway def1 ipv6", "--keepalive", "10", "60",
        )  # fmt: skip
        server.nft(NAT)

    def close(self) -> None:
        self.down()
        self._server_end.stop()
        self._server.nft("delete table inet lab_openvpn")
        self._folder.cleanup()

    def up(self) -> None:
        """Connects, and returns when the addresses and routes are there."""
        self.down()
        self._client_end = self._start(
            self._client, INTERFACE, "client",
            "--client", "--nobind", "--remote", VPN_SERVER[AF_INET], str(PORT), "--remote-cert-tls", "server",
        )  # fmt: skip

    def down(self) -> None:
        """Disconnects, which removes interface and routes; without effect if it is down."""
        if self._client_end is not None:
            self._client_end.stop()
            self._client_end = None

    def _start(self, namespace: Namespace, interface: str, who: str, *options: str) -> Process:
        folder = self._folder.name
        process = Process(
            namespace, "openvpn", "--dev", interface, "--dev-type", self._kind, "--disable-dco",
            "--proto", "udp4", "--ca", f"{folder}/ca.pem",
            "--cert", f"{folder}/{who}.pem", "--key", f"{folder}/{who}.key", *options,
        )  # fmt: skip
        try:
            process.wait_line(DONE, 20)
        except RuntimeError:
            process.kill()
            raise
        return process

    def _certify(self) -> None:
        """Makes an authority, and a key and certificate for each end."""
        folder = Path(self._folder.name)
        use = ("-addext", "keyUsage=digitalSignature")
        issuer = ("-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key")
        for who, extra in (
            ("ca", ()),
            ("server", (*use, "-addext", "extendedKeyUsage=serverAuth", *issuer)),
            ("client", (*use, "-addext", "extendedKeyUsage=clientAuth", *issuer)),
        ):
            subprocess.run([
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-days", "2", "-subj", f"/CN=lab {who}",
                "-keyout", f"{folder}/{who}.key", "-out", f"{folder}/{who}.pem", *extra,
            ], check=True, capture_output=True)  # fmt: skip

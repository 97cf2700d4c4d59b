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
CONNECTED = "Initialization Sequence Completed"

SERVER_OPTIONS = f"""
    --server 10.8.0.0 255.255.255.0 --server-ipv6 fd08::/64 --topology subnet
    --local {VPN_SERVER[AF_INET]} --port {PORT} --dh none --keepalive 10 60
"""
CLIENT_OPTIONS = "--client --nobind --remote-cert-tls server"
KEY_OPTIONS = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"


class OpenVPN:
    """The server end, up from the constructor to close(), and the client end, which goes up and down.

    `kind` is "tun" or "tap". Both families go through the tunnel.
    """

    def __init__(self, client: Namespace, server: Namespace, kind: str = "tun") -> None:
        self._client, self._server, self._kind = client, server, kind
        self._folder = tempfile.TemporaryDirectory(prefix="openvpn-")
        self._client_end: Process | None = None
        self._certify()
        options = (*SERVER_OPTIONS.split(), "--push", "redirect-gateway def1 ipv6")
        self._server_end = self._start(server, SERVER_INTERFACE, "server", *options)
        server.masquerade("inet lab_openvpn", f'iifname "{SERVER_INTERFACE}"')

    def close(self) -> None:
        self.down()
        self._server_end.stop()
        self._server.nft("delete table inet lab_openvpn")
        self._folder.cleanup()

    def up(self, remote: str = VPN_SERVER[AF_INET], launcher: tuple[str, ...] = ()) -> None:
        """Connects to `remote`, an address or a name, and returns when the addresses and routes are there.

        `launcher`: the command line that starts the client, if it isn't started directly.
        """
        self.down()
        options = (*CLIENT_OPTIONS.split(), "--remote", remote, str(PORT))
        self._client_end = self._start(self._client, INTERFACE, "client", *options, launcher=launcher)

    def down(self) -> None:
        """Disconnects, which removes interface and routes; has no effect if it is down."""
        if self._client_end is not None:
            self._client_end.stop()
            self._client_end = None

    def _start(
        self,
        namespace: Namespace,
        interface: str,
        who: str,
        *options: str,
        launcher: tuple[str, ...] = (),
    ) -> Process:
        folder = self._folder.name
        link = f"--dev {interface} --dev-type {self._kind} --disable-dco --proto udp4"
        keys = f"--ca {folder}/ca.pem --cert {folder}/{who}.pem --key {folder}/{who}.key"
        process = Process(namespace, *launcher, "openvpn", *link.split(), *keys.split(), *options)
        try:
            process.wait_line(CONNECTED, 20)
        except RuntimeError:
            process.kill()
            raise
        return process

    def _certify(self) -> None:
        """Makes a certificate authority, and a key and certificate for each end."""
        folder = Path(self._folder.name)
        signed = f"-CA {folder}/ca.pem -CAkey {folder}/ca.key -addext keyUsage=digitalSignature"
        for who, options in (
            ("ca", ""),
            ("server", f"{signed} -addext extendedKeyUsage=serverAuth"),
            ("client", f"{signed} -addext extendedKeyUsage=clientAuth"),
        ):
            files = f"-subj /CN={who} -keyout {folder}/{who}.key -out {folder}/{who}.pem"
            command = f"openssl req {KEY_OPTIONS} {files} {options}"
            subprocess.run(command.split(), check=True, capture_output=True)

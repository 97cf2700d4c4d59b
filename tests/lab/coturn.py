"""A real STUN and TURN server."""

import hashlib
import ssl
import subprocess
import tempfile
from pathlib import Path
from socket import SOCK_DGRAM, SOCK_STREAM

from lab.addresses import STUN_PORT, STUN_PORTS, STUN_SERVER, STUN_SERVER_ALTERNATE, TLS_PORTS
from lab.deadline import until
from lab.messages import binding_request
from lab.namespace import Namespace
from lab.probe import ask, transport_name
from lab.process import Process

USER, PASSWORD, REALM = "lab", "lab", "lab"

OPTIONS = f"""
    -n --no-cli --no-dtls -m 2
    --log-file stdout --simple-log --log-binding
    --lt-cred-mech --user {USER}:{PASSWORD} --realm {REALM}
    --allow-loopback-peers
    --listening-port {STUN_PORT} --tls-listening-port {TLS_PORTS[0]}
"""
CERTIFICATE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=lab"


class Coturn:
    """turnserver on STUN_PORTS, UDP and TCP, IPv4 and IPv6, ready when the constructor returns.

    On TLS_PORTS over TLS; `certificate` is the SHA-256 digest of its certificate, which no one else has signed.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="coturn-")
        folder = self._folder.name
        self.certificate = _make_certificate(folder)
        addresses = (*STUN_SERVER.values(), STUN_SERVER_ALTERNATE)
        servers = [(address, port) for address in STUN_SERVER.values() for port in STUN_PORTS]
        # turnserver tells TLS by its first bytes, on any port.
        over_tls = [(address, port) for address in STUN_SERVER.values() for port in TLS_PORTS[1:]]
        auxiliary = [_address_and_port(*server) for server in (*servers, *over_tls) if server[1] != STUN_PORT]
        self._process = Process(
            namespace,
            "turnserver",
            *OPTIONS.split(),
            f"--pidfile={folder}/pid",
            f"--userdb={folder}/db",
            f"--cert={folder}/certificate",
            f"--pkey={folder}/key",
            *(f"--listening-ip={address}" for address in addresses),
            *(f"--aux-server={server}" for server in auxiliary),
        )
        for server in servers:
            for kind in (SOCK_DGRAM, SOCK_STREAM):
                self._wait(namespace, server, kind)

    def _wait(self, namespace: Namespace, server: tuple[str, int], kind: int) -> None:
        def answers() -> bool:
            if not self._process.running:
                raise RuntimeError(f"turnserver ended:\n{self._process.output}")
            return ask(namespace, server, binding_request(), kind=kind, seconds=0.1) is not None

        try:
            until(answers, 10, f"coturn on {server}, {transport_name(kind)}")
        except TimeoutError as late:
            self.close()
            raise RuntimeError(f"{late}; it printed:\n{self._process.output}") from late

    def close(self) -> None:
        self._process.stop()
        self._folder.cleanup()


def _address_and_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _make_certificate(folder: str) -> bytes:
    """Make a certificate and its key; return the certificate's SHA-256 digest."""
    files = ("-keyout", f"{folder}/key", "-out", f"{folder}/certificate")
    subprocess.run([*CERTIFICATE.split(), *files], check=True, capture_output=True)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(folder, "certificate").read_text())).digest()

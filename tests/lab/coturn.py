"""A real STUN and TURN server."""

import tempfile
from socket import SOCK_DGRAM, SOCK_STREAM

from lab.addresses import STUN_PORT, STUN_PORTS, STUN_SERVER, STUN_SERVER_ALTERNATE
from lab.deadline import until
from lab.messages import binding_request
from lab.namespace import Namespace
from lab.probe import ask, transport_name
from lab.process import Process

USER, PASSWORD, REALM = "lab", "lab", "lab"

OPTIONS = f"""
    -n --no-cli --no-tls --no-dtls -m 2
    --log-file stdout --simple-log --log-binding
    --lt-cred-mech --user {USER}:{PASSWORD} --realm {REALM}
    --allow-loopback-peers
    --listening-port {STUN_PORT}
"""


class Coturn:
    """turnserver on STUN_PORTS, UDP and TCP, IPv4 and IPv6, ready when the constructor returns."""

    def __init__(self, namespace: Namespace) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="coturn-")
        folder = self._folder.name
        addresses = (*STUN_SERVER.values(), STUN_SERVER_ALTERNATE)
        servers = [(address, port) for address in STUN_SERVER.values() for port in STUN_PORTS]
        auxiliary = [_address_and_port(*server) for server in servers if server[1] != STUN_PORT]
        self._process = Process(
            namespace,
            "turnserver",
            *OPTIONS.split(),
            f"--pidfile={folder}/pid",
            f"--userdb={folder}/db",
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

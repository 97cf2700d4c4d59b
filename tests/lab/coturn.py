"""A real STUN and TURN server."""

import tempfile
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM

from lab.addresses import STUN_PORT, STUN_PORTS, STUN_SERVER, STUN_SERVER_ALTERNATE
from lab.deadline import until
from lab.messages import binding_request
from lab.namespace import Namespace
from lab.probe import ask
from lab.process import Process

USER, PASSWORD, REALM = "lab", "lab", "lab"


class Coturn:
    """turnserver on STUN_PORTS, UDP and TCP, IPv4 and IPv6, ready when the constructor returns."""

    def __init__(self, namespace: Namespace) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="coturn-")
        extra = [port for port in STUN_PORTS if port != STUN_PORT]
        self._process = Process(
            namespace, "turnserver", "-n", "--no-cli", "--no-tls", "--no-dtls", "-m", "2",
            "--log-file", "stdout", "--simple-log", "--log-binding",
            "--pidfile", f"{self._folder.name}/pid", "--userdb", f"{self._folder.name}/db",
            "--lt-cred-mech", "--user", f"{USER}:{PASSWORD}", "--realm", REALM,
            "--listening-port", str(STUN_PORT),
            *(f"--listening-ip={ip}" for ip in (*STUN_SERVER.values(), STUN_SERVER_ALTERNATE)),
            *(f"--aux-server={STUN_SERVER[AF_INET]}:{port}" for port in extra),
            *(f"--aux-server=[{STUN_SERVER[AF_INET6]}]:{port}" for port in extra),
            "--allow-loopback-peers",
        )  # fmt: skip
        for family, ip in STUN_SERVER.items():
            for kind in (SOCK_DGRAM, SOCK_STREAM):
                for port in STUN_PORTS:
                    self._wait(namespace, family, kind, (ip, port))

    def _wait(self, namespace: Namespace, family: int, kind: int, server: tuple[str, int]) -> None:
        def answers() -> bool:
            if not self._process.running:
                raise RuntimeError(f"turnserver ended:\n{self._process.output}")
            return ask(namespace, server, binding_request(), kind=kind, seconds=0.1) is not None

        try:
            until(answers, 10, f"coturn on {server}, {'UDP' if kind == SOCK_DGRAM else 'TCP'}")
        except TimeoutError as late:
            self.close()
            raise RuntimeError(f"{late}; it printed:\n{self._process.output}") from late

    def close(self) -> None:
        self._process.stop()
        self._folder.cleanup()

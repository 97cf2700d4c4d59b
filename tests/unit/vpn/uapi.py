"""Programs that answer for a WireGuard interface as wireguard-go does, honest and hostile ones."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# wireguard.com/xplatform, of a server with three peers.
ANSWER = b"""\
private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a
listen_port=12912
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33
preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52
allowed_ip=192.168.4.4/32
endpoint=[abcd:23::33%2]:51820
public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376
tx_bytes=38333
rx_bytes=2224
allowed_ip=192.168.4.6/32
persistent_keepalive_interval=111
endpoint=182.122.22.19:3233
public_key=662e14fd594556f522604703340351258903b64f35553763f19426ab2a515c58
endpoint=5.152.198.39:51820
allowed_ip=192.168.4.10/32
last_handshake_time_sec=0
protocol_version=1
errno=0

"""
FOUND = {("abcd:23::33", 51820), ("182.122.22.19", 3233), ("5.152.198.39", 51820)}

Program = Callable[[socket.socket], None]


@contextmanager
def program(folder: Path, behave: Program, name: str = "wgt0") -> Iterator[list[bytes]]:
    """A program that serves the interface's socket; yields what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / f"{name}.sock"))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client, suppress(OSError):
                        asked.append(client.recv(100))
                        behave(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def says(*pieces: bytes, open_for: float = 0.0) -> Program:
    def behave(client: socket.socket) -> None:
        for piece in pieces:
            client.sendall(piece)
        if open_for:
            client.settimeout(open_for)
            client.recv(1)  # until the other side has had enough

    return behave

"""Serves one page on the loopback interface to this user's own browser, and takes what it posts."""

import json
import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from stunwall.cli.options import caller

_HOST = "127.0.0.1"
_BODY_MAX = 1 << 18  # bytes; two session descriptions are some 10,000
_PATIENCE = 10.0  # seconds for a request: a browser opens connections that it does not use
_TOKEN = 24  # random bytes
_TCP = Path("/proc/net/tcp")
NONCE = "NONCE"
"""What stands in the page for the nonce of its script and style."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser that has posted something: its User-Agent, its user, and its socket's inode."""

    user_agent: str
    uid: int
    inode: int


Action = Callable[[Any, Visitor], Mapping[str, Any]]
"""Takes what the page posted, and who did; returns what the page gets, with `finished` at the end."""


class PageServer:
    """Serves a page from entering to leaving, at an address that cannot be guessed.

    Other users of this machine can connect, and can read the address in the command line of a browser, so they are
    refused by the owner of their socket; pages of other origins are refused by Host and Origin.

    Args:
        html: the page; it may use nothing but its own script and style.
        actions: what the page may post, by the last part of the path.
        users: whose browsers are served.
    """

    def __init__(self, html: str, actions: Mapping[str, Action], users: frozenset[int]) -> None:
        self.opened = threading.Event()
        """Whether a browser has opened the page."""
        self.finished = threading.Event()
        """Whether the page has got a reply that has `finished`."""
        self.html = html
        self.actions = actions
        self.users = users
        self.path = f"/{secrets.token_urlsafe(_TOKEN)}/"
        self._server = ThreadingHTTPServer((_HOST, 0), partial(_Requests, self))
        self._server.daemon_threads = True
        self.host = f"{_HOST}:{self._server.server_port}"
        self.address = f"http://{self.host}{self.path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Requests(BaseHTTPRequestHandler):
    timeout = _PATIENCE
    server_version = "stunwall"
    sys_version = ""

    def __init__(self, page: PageServer, *given: Any) -> None:  # noqa: ANN401 - as http.server has it
        self._page = page
        super().__init__(*given)

    def do_GET(self) -> None:
        """Send the page."""
        if self._visitor() is None or self.path != self._page.path:
            self._send(404, "text/plain", b"")
            return
        nonce = secrets.token_urlsafe(_TOKEN)
        self._page.opened.set()
        self._send(200, "text/html; charset=utf-8", self._page.html.replace(NONCE, nonce).encode(), nonce)

    def do_POST(self) -> None:
        """Take what the page posts."""
        action = self._page.actions.get(self.path.removeprefix(self._page.path))
        visitor = self._visitor()
        if (
            visitor is None
            or not self.path.startswith(self._page.path)
            or action is None
            or self.headers.get("Origin") != f"http://{self._page.host}"
        ):
            self._send(404, "text/plain", b"")
            return
        said = self._body()
        if said is None:
            self._send(400, "text/plain", b"")
            return
        reply = action(said, visitor)
        self._send(200, "application/json", json.dumps(reply).encode())
        if reply.get("finished"):
            self._page.finished.set()

    def _visitor(self) -> Visitor | None:
        """Return the browser that asks; None unless it is of one of the users, and means this host by its own name."""
        uid, inode = _owner(self.connection)
        if self.headers.get("Host") != self._page.host or uid not in self._page.users:
            return None
        return Visitor(self.headers.get("User-Agent", ""), uid, inode)

    def _body(self) -> Any:  # noqa: ANN401 (it is JSON)
        """Return the JSON that was posted, None if it is none, or too long."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > _BODY_MAX:
            return None
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return None

    def _send(self, status: int, kind: str, body: bytes, nonce: str = "") -> None:
        own = f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; " if nonce else ""
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            (
                "Content-Security-Policy",
                f"default-src 'none'; img-src data:; {own}base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):  # the browser has gone
            self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """Print nothing."""


def _owner(connection: socket.socket) -> tuple[int, int]:
    """Return user and inode of the other end of a connection within this machine, (-1, 0) if unknown (proc_net(5))."""
    client, server = (_proc(*end) for end in (connection.getpeername(), connection.getsockname()))
    with suppress(OSError):
        for line in _TCP.read_text().splitlines()[1:]:
            fields = line.split()
            # A socket that its program has closed is shown as root's, without an inode.
            if fields[1:3] == [client, server] and fields[9] != "0":
                return int(fields[7]), int(fields[9])
    return -1, 0


def _proc(address: str, port: int) -> str:
    (number,) = struct.unpack("=I", socket.inet_aton(address))
    return f"{number:08X}:{port:04X}"


def own_users() -> frozenset[int]:
    """Return the user who runs this, and the one who has called sudo."""
    return frozenset({os.getuid(), caller() or 0})

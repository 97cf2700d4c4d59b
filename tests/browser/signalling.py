"""The call's own signalling server: it hands each side's messages to the other.

It listens on the loopback of each side's namespace, so that signalling itself never shows on the wire, and
because http://127.0.0.1 is secure enough for getUserMedia.
"""

import json
import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, SOCK_STREAM
from types import TracebackType
from typing import Any, Literal, Self

from lab.namespace import Namespace

PAGE = Path(__file__).with_name("call.html")
POLL_SECONDS = 5  # how long the server keeps a question for messages open; the page then asks again

Role = Literal["caller", "callee"]
OTHER: Mapping[Role, Role] = {"caller": "callee", "callee": "caller"}
Message = dict[str, Any]


class Signalling:
    """Serves call.html to both sides, with each side's settings in it, and collects what they report."""

    def __init__(
        self, namespaces: Mapping[Role, Namespace], settings: Mapping[Role, Mapping[str, Any]]
    ) -> None:
        self._inboxes: dict[Role, queue.Queue[Message]] = {role: queue.Queue() for role in namespaces}
        self._reports: dict[Role, queue.Queue[Message]] = {role: queue.Queue() for role in namespaces}
        self._servers = {
            role: _listen(namespace, self._requests(role, settings[role]))
            for role, namespace in namespaces.items()
        }
        self.address = {
            role: f"http://127.0.0.1:{server.server_port}/" for role, server in self._servers.items()
        }
        """Where each side's browser finds its page."""

    def _requests(self, role: Role, settings: Mapping[str, Any]) -> type[BaseHTTPRequestHandler]:
        inbox, outbox, reports = self._inboxes[role], self._inboxes[OTHER[role]], self._reports[role]
        page = PAGE.read_text().replace("SETTINGS;", f"{json.dumps({'role': role, **settings})};").encode()

        class Requests(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/":
                    self._reply(200, "text/html; charset=utf-8", page)
                elif self.path == "/receive":
                    self._reply(200, "application/json", json.dumps(_take(inbox)).encode())
                else:
                    self._reply(404, "text/plain", b"")

            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                (reports if self.path == "/report" else outbox).put(message)
                self._reply(204, "text/plain", b"")

            def _reply(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):  # the browser has ended while its question was open
                    self.wfile.write(body)

            def log_message(self, format: str, *values: object) -> None:
                pass  # what went wrong is in the report

        return Requests

    def __enter__(self) -> Self:
        self._threads = [
            threading.Thread(
                target=server.serve_forever, args=(0.05,), name=f"signalling {role}", daemon=True
            )
            for role, server in self._servers.items()
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server, thread in zip(self._servers.values(), self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def report(self, role: Role, seconds: float) -> Message | None:
        """What that side's page posted, or None if it posts nothing within `seconds`."""
        try:
            return self._reports[role].get(timeout=seconds)
        except queue.Empty:
            return None


def _listen(namespace: Namespace, requests: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), requests, bind_and_activate=False)
    server.socket.close()  # made in this thread's namespace
    server.socket = namespace.socket(AF_INET, SOCK_STREAM)
    server.server_bind()
    server.server_activate()
    return server


def _take(inbox: queue.Queue[Message]) -> list[Message]:
    """The next message as a list, or an empty one after POLL_SECONDS."""
    try:
        return [inbox.get(timeout=POLL_SECONDS)]
    except queue.Empty:
        return []

"""The web server of page.html, on the client's own loopback."""

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import AF_INET, SOCK_STREAM
from types import TracebackType
from typing import Any, Self

from lab.namespace import Namespace

PAGE = Path(__file__).with_name("page.html")


class Page:
    """Serves the page inside `namespace` and hands over what it reports."""

    def __init__(self, namespace: Namespace, ice_servers: list[dict[str, str]]) -> None:
        self._reports: queue.Queue[dict[str, Any]] = queue.Queue()
        self._server = HTTPServer(("127.0.0.1", 0), self._handler(ice_servers), bind_and_activate=False)
        self._server.socket.close()  # made in this thread's namespace
        self._server.socket = namespace.socket(AF_INET, SOCK_STREAM)
        self._server.server_bind()
        self._server.server_activate()
        self.address = f"http://127.0.0.1:{self._server.server_port}/"
        """Secure enough for getUserMedia, as all of 127.0.0.0/8 is."""

    def _handler(self, ice_servers: list[dict[str, str]]) -> type[BaseHTTPRequestHandler]:
        reports = self._reports
        html = PAGE.read_text().replace("ICE_SERVERS;", f"{json.dumps(ice_servers)};").encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.path.partition("?")[0] == "/"
                self._reply(200 if known else 404, html if known else b"")

            def do_POST(self) -> None:
                reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._reply(204, b"")

            def _reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *values: object) -> None:
                pass  # a page's two requests are no news

        return Handler

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="page", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def report(self, seconds: float) -> dict[str, Any] | None:
        """What the page posted, or None if it posts nothing within `seconds`."""
        try:
            return self._reports.get(timeout=seconds)
        except queue.Empty:
            return None

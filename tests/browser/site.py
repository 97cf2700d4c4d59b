"""A web page for a browser in the lab, served on the loopback interface of the browser's own namespace.

So neither the page nor its report shows on the wire, and http://127.0.0.1 is secure enough for getUserMedia.
"""

import json
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, SOCK_STREAM
from typing import Any, Self

from lab.namespace import Namespace

Message = dict[str, Any]


class Site:
    """Serves one HTML file of this folder at `address`, from entering to leaving.

    The file's word SETTINGS becomes the JSON of `settings`. The page posts its result to /report; `receive` answers
    GET /receive with JSON, and `send` takes what is posted to /send.
    """

    def __init__(
        self,
        namespace: Namespace,
        file: str,
        settings: Mapping[str, Any],
        receive: Callable[[], object] = list,
        send: Callable[[Message], None] = lambda message: None,
    ) -> None:
        html = Path(__file__).with_name(file).read_text().replace("SETTINGS;", f"{json.dumps(settings)};")
        self._reports: queue.Queue[Message] = queue.Queue()
        posts = {"/report": self._reports.put, "/send": send}
        requests = _requests(html.encode(), receive, posts)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), requests, bind_and_activate=False)
        self._server.socket.close()  # it belongs to this thread's namespace
        self._server.socket = namespace.socket(AF_INET, SOCK_STREAM)
        self._server.server_bind()
        self._server.server_activate()
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name=file, daemon=True
        )
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def report(self, seconds: float) -> Message | None:
        """What the page posted to /report, or None if it posts nothing within `seconds`."""
        try:
            return self._reports.get(timeout=seconds)
        except queue.Empty:
            return None


def _requests(
    html: bytes, receive: Callable[[], object], posts: Mapping[str, Callable[[Message], None]]
) -> type[BaseHTTPRequestHandler]:
    class Requests(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/":
                    self._reply(200, "text/html; charset=utf-8", html)
                case "/receive":
                    self._reply(200, "application/json", json.dumps(receive()).encode())
                case _:
                    self._reply(404, "text/plain", b"")

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            posts[self.path](message)
            self._reply(204, "text/plain", b"")

        def _reply(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # the browser ended while its request was open
                self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            pass  # what went wrong is in the page's report

    return Requests

"""cli/browser_page.py: whom the page is served to, and what it may post."""

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from stunwall.cli import browser_page
from stunwall.cli.browser_page import PageServer, Visitor

ME = frozenset({os.getuid()})
HTML = '<style nonce="NONCE"></style><script nonce="NONCE"></script>'


class Served:
    """A page server, and what was posted to it."""

    def __init__(self, users: frozenset[int] = ME) -> None:
        self.posted: list[tuple[Any, Visitor]] = []
        self.page = PageServer(HTML, {"stage": self._stage}, users)

    def _stage(self, said: Any, visitor: Visitor) -> Mapping[str, Any]:
        self.posted.append((said, visitor))
        return {"finished": said == "last"}

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        given = {"Host": self.page.host, "Origin": f"http://{self.page.host}", **headers}
        address, port = self.page.host.split(":")
        connection = http.client.HTTPConnection(address, int(port), timeout=5)
        connection.request(method, path, body, {name: text for name, text in given.items() if text})
        reply = connection.getresponse()
        found = reply.status, reply.headers, reply.read()
        connection.close()
        return found

    def get(self, path: str = "", **headers: str) -> int:
        return self.ask("GET", path or self.page.path, None, **headers)[0]

    def post(self, body: object = None, path: str = "stage", **headers: str) -> int:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", self.page.path + path, data, **headers)[0]


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    with made.page:
        yield made


def test_the_page_has_a_nonce_of_its_own_and_may_load_nothing_else(served: Served) -> None:
    assert not served.page.opened.is_set()
    found = [served.ask("GET", served.page.path) for _ in range(2)]
    nonces = set()
    for status, headers, body in found:
        assert status == 200
        text = body.decode()
        nonce = text.split('"')[1]
        assert text == HTML.replace("NONCE", nonce)
        assert headers["Content-Security-Policy"] == (
            f"default-src 'none'; img-src data:; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        nonces.add(nonce)
    assert len(nonces) == 2
    assert served.page.opened.is_set()


def test_the_address_is_another_one_each_time() -> None:
    made = [Served().page for _ in range(2)]
    assert len({page.path for page in made}) == 2
    assert all(len(page.path) > 30 and page.address.startswith("http://127.0.0.1:") for page in made)


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/stage", "//", "/../", "*"])
def test_nothing_else_is_there(served: Served, path: str) -> None:
    assert served.get(path) == 404
    assert served.get(served.page.path + "stage") == 404
    assert served.get(served.page.path.upper()) == 404
    assert not served.page.opened.is_set()


@pytest.mark.parametrize("host", ["localhost", "evil.example", "127.0.0.1", "127.0.0.1:80", ""])
def test_by_another_name_it_is_not_there(served: Served, host: str) -> None:
    """DNS rebinding."""
    given = host if ":" in host or not host else f"{host}:{served.page.host.split(':')[1]}"
    if given == served.page.host:
        given = "127.0.0.1"
    assert served.get(Host=given or "-") == 404
    assert served.post({}, Host=given or "-") == 404
    assert served.posted == []


@pytest.mark.parametrize(
    "origin", ["", "null", "https://evil.example", "http://127.0.0.1", "http://localhost:80"]
)
def test_pages_of_other_origins_may_not_post(served: Served, origin: str) -> None:
    assert served.post({}, Origin=origin) == 404
    assert served.posted == []


def test_what_the_page_posts_is_taken(served: Served) -> None:
    assert served.post({"a": 1}, **{"User-Agent": "Chrome"}) == 200
    ((said, visitor),) = served.posted
    assert said == {"a": 1}
    assert (visitor.user_agent, visitor.uid) == ("Chrome", os.getuid())
    assert visitor.inode > 0
    assert not served.page.finished.is_set()
    assert served.post("last") == 200
    assert served.page.finished.wait(5)


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 10_000, b"\xff", b"x" * 300_000])
def test_what_is_no_json_or_too_long_is_refused(served: Served, body: bytes) -> None:
    assert served.post(body) == 400
    assert served.posted == []


def test_an_unknown_action_is_refused(served: Served) -> None:
    assert served.post({}, "other") == 404
    assert served.ask("POST", "/stage", b"{}")[0] == 404


def test_another_users_browser_is_refused() -> None:
    made = Served(frozenset({os.getuid() + 1}))
    with made.page:
        assert made.get() == 404
        assert made.post({}) == 404
    assert made.posted == []


@pytest.mark.parametrize(("called", "more"), [("1234", {1234}), ("", set()), ("x", set()), ("٣", set())])
def test_who_has_called_sudo_may_open_it_too(
    monkeypatch: pytest.MonkeyPatch, called: str, more: set[int]
) -> None:
    monkeypatch.setenv("SUDO_UID", called)
    assert browser_page.own_users() == ME | more


def test_a_socket_that_its_program_has_closed_is_nobodys() -> None:
    """The kernel shows it as root's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
        with ours:
            assert browser_page._owner(ours)[0] == os.getuid()
            client.close()
            assert browser_page._owner(ours) == (-1, 0)

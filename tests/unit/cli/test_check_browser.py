"""cli/check_browser.py: what the page gets, who opens it, and what the terminal shows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stunwall.browsers import machine
from stunwall.check.browser import Machine
from stunwall.cli import check_browser
from stunwall.cli.browser_page import Visitor
from stunwall.cli.check_browser import NothingShownError, Session, show
from stunwall.control.protocol import ControlError, ControlPermissionError
from unit.browsers.fake import Fake
from unit.cli.command import HOSTILE

CHROME = Visitor("Chrome", os.getuid(), 0)
MACHINE = Machine({}, frozenset({4}), around=1)
SERVERS = [
    {"ip_version": 4, "address": "203.0.113.7", "port": 20000, "as_usual": False},
    {"ip_version": 4, "address": "203.0.113.7", "port": 20001, "as_usual": True},
    {"ip_version": 6, "address": "2001:db8::7", "port": 20002, "as_usual": False},
    {"ip_version": 6, "address": "2001:db8::7", "port": 20003, "as_usual": True},
]
CANDIDATE = "candidate:1 1 udp 1 192.168.1.2 4000 typ host"


def told(port: int) -> dict[str, Any]:
    """What stunwalld says of a blocked request."""
    return {
        "ip_version": 4,
        "source": "192.168.1.2",
        "source_port": 4000,
        "server_port": port,
        "interface": "eth0",
        "label": "203.0.113.9",
        "verdict": "blocked",
        "reason": "outside-vpn",
        "why": "it would have bypassed the VPN",
    }


class Check:
    """In place of the connection to stunwalld."""

    error: ControlError | None = None
    open = 0

    def __init__(self, folder: Path) -> None:
        if Check.error is not None:
            raise Check.error
        Check.open += 1
        self.reply = {"servers": SERVERS}

    def seen(self) -> list[dict[str, Any]]:
        if Check.error is not None:
            raise Check.error
        return [told(20000), told(20001)]

    def close(self) -> None:
        Check.open -= 1


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(Check, "error", None)
    monkeypatch.setattr(Check, "open", 0)
    monkeypatch.setattr(check_browser, "Check", Check)
    monkeypatch.setenv("TZ", "UTC")  # redaction changes it
    return Session(Path("/run"), MACHINE)


def gathered() -> dict[str, Any]:
    return {
        "candidates": [CANDIDATE],
        "errors": ["400"],
        "milliseconds": 130,
        "complete": True,
        "sdp": "v=0",
    }


def stage(session: Session, *, microphone: bool, **more: Any) -> dict[str, Any]:
    begun = session.actions["begin"]({}, CHROME)
    assert begun == {
        "labelled": ["stun:203.0.113.7:20000", "stun:[2001:db8::7]:20002"],
        "usual": ["stun:203.0.113.7:20001", "stun:[2001:db8::7]:20003"],
    }
    assert Check.open == 1
    report = {"microphone": microphone, "labelled": gathered(), "usual": gathered()} | more
    reply = dict(session.actions["stage"](report, CHROME))
    assert Check.open == 0
    return reply


def test_the_policy_is_that_of_the_program_which_has_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake(tmp_path)
    fake.install("chromium system")
    monkeypatch.setattr(machine, "this_machine", lambda: fake.machine)
    program = tmp_path / "chromium"
    shutil.copy(Path(sys.executable).resolve(), program)
    code = "import os, socket; s = socket.socket(); print(os.fstat(s.fileno()).st_ino, flush=True); input()"
    ready = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([program, "-I", "-c", code], **ready) as process:  # type: ignore[call-overload]
        inode = int(process.stdout.readline())
        found = check_browser.browser_policy(Visitor("", os.getuid(), inode))
        process.communicate("\n")
    assert found.startswith("Chromium goes by "), found
    assert check_browser.browser_policy(Visitor("", os.getuid(), inode)) == ""


def test_the_page_goes_on_until_it_has_had_the_microphone(session: Session) -> None:
    first = stage(session, microphone=False)
    assert (first["verdict"], first["finished"]) == ("inconclusive", False)
    denied = stage(session, microphone=True, failure="this page was not allowed to use it")
    assert (denied["verdict"], denied["finished"]) == ("inconclusive", False)
    last = stage(session, microphone=True)
    assert (last["verdict"], last["finished"]) == ("sealed", True)
    assert (
        last["why"] == "2 requests of this browser would have bypassed the VPN: stunwall blocked all of them."
    )
    assert [each["microphone"] for each in last["stages"]] == [False, True]
    assert last["stages"][1]["rows"] == [
        {
            "ip_version": 4,
            "interface": "eth0",
            "shown": "192.168.1.2",
            "hint": "means nothing outside your network",
            "kinds": "host",
            "outcome": "blocked",
            "why": "it would have bypassed the VPN",
        }
    ]
    assert session.said() == {name: last[name] for name in session.said()}


def test_it_ends_when_the_user_does_not_want_to_go_on(session: Session) -> None:
    stage(session, microphone=False)
    ended = session.actions["end"]({}, CHROME)
    assert (ended["verdict"], ended["finished"]) == ("inconclusive", True)


def test_the_copy_has_no_address_of_the_user(session: Session) -> None:
    last = stage(session, microphone=True)
    copy = json.loads(last["redacted"])
    assert copy["verdict"] == "sealed"
    assert copy["browser"] == "Chrome"
    assert "192.168.1.2" not in last["redacted"]
    assert copy["stages"][0]["rows"][0]["shown"].startswith("192.168.")


def test_a_daemon_that_has_ended_meanwhile_shows_nothing(session: Session) -> None:
    session.actions["begin"]({}, CHROME)
    Check.error = ControlError("stunwalld has ended")
    reply = session.actions["stage"]({"microphone": False, "labelled": gathered()}, CHROME)
    assert (reply["verdict"], reply["headline"]) == ("inconclusive", "Inconclusive: nothing was tested")
    assert reply["why"] == "The page could not test it: stunwalld has ended."
    assert session.actions["begin"]({}, CHROME) == {"error": "stunwalld has ended"}


@pytest.mark.parametrize("said", [None, [], 1, "x", {}, {"labelled": 1}])
def test_anything_that_is_posted_gets_an_answer(session: Session, said: Any) -> None:
    assert session.actions["stage"](said, Visitor(HOSTILE, 0, 0))["verdict"] == "inconclusive"
    assert session.actions["begin"](said, Visitor(HOSTILE, 0, 0))
    assert "\x1b" not in session.said()["browser"]


def test_without_the_daemon_it_is_inconclusive(session: Session) -> None:
    session.test()
    assert Check.open == 0
    Check.error = ControlError("stunwalld is not running")
    with pytest.raises(
        NothingShownError, match="the browser cannot be checked: stunwalld is not running"
    ) as caught:
        session.test()
    assert caught.value.exit_code == 5
    Check.error = ControlPermissionError("no")
    with pytest.raises(ControlPermissionError):
        session.test()


@pytest.mark.parametrize(
    ("uid", "display", "opener", "print_url", "says", "opens"),
    [
        (
            1000,
            ":0",
            "/bin/xdg-open",
            False,
            "Your browser should open. If it does not, open this address in it:",
            True,
        ),
        (
            1000,
            ":0",
            "/bin/xdg-open",
            True,
            "Open this address in the browser that you want to check:",
            False,
        ),
        (1000, "", "/bin/xdg-open", False, "Open this address in the browser that you want to check:", False),
        (1000, ":0", None, False, "Open this address in the browser that you want to check:", False),
        (
            0,
            ":0",
            "/bin/xdg-open",
            False,
            "Not opened by root: your browser runs as you. Open this address in it:",
            False,
        ),
    ],
)
def test_the_users_own_browser_opens_where_there_is_a_desktop(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uid: int,
    display: str,
    opener: str | None,
    print_url: bool,
    says: str,
    opens: bool,
) -> None:
    opened: list[list[str]] = []
    monkeypatch.setattr("os.getuid", lambda: uid)
    monkeypatch.setattr("shutil.which", lambda name: opener)
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: opened.append(command))
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    check_browser._open("http://127.0.0.1:1/x/", print_url)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        says,
        "  http://127.0.0.1:1/x/",
        "This ends when the page is done, or with Ctrl-C.",
    ]
    assert opened == ([[opener, "http://127.0.0.1:1/x/"]] if opens else [])


def test_the_terminal_shows_what_the_page_shows(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    stage(session, microphone=False, failure="WebRTC is off")
    stage(session, microphone=True)
    show(session.said())
    assert capsys.readouterr().out == (
        "SEALED: A web page can't learn your real address\n"
        "2 requests of this browser would have bypassed the VPN: stunwall blocked all of\nthem.\n\n"
        "Without the microphone:\n  WebRTC is off\n\n"
        "With the microphone:\n"
        "  IPv4  eth0  192.168.1.2  blocked: it would have bypassed the VPN\n"
        "  A page finds its addresses: 130 ms; errors: 400\n\n"
        "IPv6: the browser sent no request, and this machine has no way out.\n\n"
        "Can a page tell?  It can guess: this browser tells a page that a STUN server\n"
        "                  refused its request (400, Bad Request). Nothing in the answer\n"
        "                  names stunwall.\n"
    )


def test_what_a_page_says_reaches_the_terminal_made_harmless(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    stage(session, microphone=True, usual=gathered() | {"errors": [HOSTILE]})
    stage(session, microphone=False, failure=HOSTILE)
    show(session.said())
    printed = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\r", "\0", "\u202e"} & set(printed)

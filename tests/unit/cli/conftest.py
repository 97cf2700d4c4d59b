"""Runs the command `stunwall` with a private configuration, and a daemon that it can ask."""

import os
import pwd
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stunwall.cli import main
from stunwall.control.peer import Peer
from stunwall.control.server import Control
from unit.cli.command import Daemon, Result, Stunwall
from unit.status import STATUS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the record and the socket, and of the configuration that names it."""
    (tmp_path / "c.toml").write_text(f'state_dir = "{tmp_path}"\nrun_dir = "{tmp_path}"\n')
    return tmp_path


@pytest.fixture(autouse=True)
def time_zone() -> Iterator[None]:
    """Gives the process its time zone back, which a redacted command sets to UTC."""
    before = os.environ.get("TZ")
    yield
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redaction on a host `deskhost` with a user `alice`, with the same key every time."""
    users = [pwd.struct_passwd(("alice", "x", 4711, 4711, "", "/home/alice", "/bin/sh"))]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(socket, "gethostname", lambda: "deskhost.example")
    monkeypatch.setattr(secrets, "token_bytes", bytes)


@pytest.fixture
def stunwall(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Stunwall:
    """Runs the command in this process, as the console script does."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):  # a tester's own desktop
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, config: Path | None = None) -> Result:
        monkeypatch.setattr(
            sys, "argv", ["stunwall", "--config", str(config or folder / "c.toml"), *arguments]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture
def daemon(served: Daemon) -> dict[str, Any]:
    """What the daemon answers."""
    return served.reply


@pytest.fixture
def served(folder: Path) -> Iterator[Daemon]:
    """A daemon on a real socket that answers every request with `reply`."""
    one = Daemon(dict(STATUS), [])

    def answer(request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        one.asked.append(request)
        return one.reply

    reader, writer = socket.socketpair()
    with selectors.DefaultSelector() as selector, closing(reader), closing(writer):
        control = Control(folder, selector, answer)
        selector.register(reader, selectors.EVENT_READ, None)

        def turn() -> None:
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    key.data()

        thread = threading.Thread(target=turn)
        thread.start()
        yield one
        writer.send(b"x")
        thread.join()
        control.close()

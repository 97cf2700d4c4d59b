"""A fake machine for the checks of `stunwall doctor`; conftest.py puts it in place of the real one."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stunwall import __version__, polkit
from stunwall.config import Config
from stunwall.doctor import checks, daemon, machine, other_programs, service
from stunwall.doctor.findings import Finding, Result
from stunwall.doctor.machine import Machine, ProgramError
from stunwall.queue import nfqueue
from stunwall.wall import inspection, modules, requirements, ruleset, state
from stunwall.wall.inspection import Inspection
from stunwall.wall.state import Rule, Wall
from unit.status import STATUS

PROBLEM, WARNING, UNKNOWN, NOTE, OK = Result
OURS = os.getpid()  # the pid of a live process, which usually also is its netlink port
NOBODY = 1 << 30  # above the highest pid (linux/threads.h, PID_MAX_LIMIT)


def status(**changed: Any) -> dict[str, Any]:
    """The status of a healthy daemon."""
    return STATUS | {"version": __version__, "pid": OURS, "redirects": [4, 6]} | changed


def wall(*, queue: int | None = 4780, paused: int = 0) -> Wall:
    rules = ruleset.expected(ruleset.text())
    return Wall(tuple(Rule(chain, comment, 0, 0) for chain, comment in rules), {}, {}, queue, paused)


def inspected(loaded: Any, *differences: str, complete: bool = True) -> Any:
    """What a look at the wall returns or raises; `loaded` is a Wall, None or an exception."""
    return Inspection(loaded, differences, complete) if isinstance(loaded, Wall) else loaded


def unit(**changed: str) -> str:
    """What `systemctl show` prints for a healthy unit."""
    well = {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active", "Result": "success"}
    shown = well | {"NeedDaemonReload": "no", "NRestarts": "0"} | changed
    return "".join(f"{name}={value}\n" for name, value in shown.items())


@dataclass
class FakeMachine:
    """Everything that the checks see of a machine, which is healthy until a test changes it."""

    folder: Path
    systemd: Path
    wall: Any = field(default_factory=wall)
    differences: tuple[str, ...] = ()
    complete: bool = True
    daemon: Any = field(default_factory=status)
    ruleset: Any = field(default_factory=list)
    missing: str | None = None
    queues: bool = True
    modules_gone: str = ""
    known_actions: Any = None
    listeners: dict[int, int] = field(default_factory=lambda: {4780: OURS})
    printed: dict[str, str] = field(default_factory=dict)
    """What programs print, by their command line."""

    @property
    def machine(self) -> Machine:
        settings = Config(state_dir=self.folder / "state", run_dir=self.folder)
        return Machine(self.folder / "stunwall.toml", settings, self.daemon)

    def output(self, *command: str) -> str:
        if " ".join(command) not in self.printed:
            raise ProgramError(f"cannot run {command[0]}: No such file or directory")
        return self.printed[" ".join(command)]

    def find(self, check: str, looked_at: Machine | None = None) -> dict[Result, list[Finding]]:
        """The findings of a check, by result."""
        found: dict[Result, list[Finding]] = {}
        for each in checks.run(check, looked_at or self.machine):
            found.setdefault(each.result, []).append(each)
        return found

    def one(self, check: str, result: Result) -> Finding:
        """The only finding of a check, which has this result."""
        found = self.find(check)
        assert found.keys() == {result}, found
        (only,) = found[result]
        return only


def answers(value: Callable[[], Any]) -> Callable[..., Any]:
    """A function that returns what a test has set, or raises it if it is an exception."""

    def answer(*_: object) -> Any:
        result = value()
        if isinstance(result, Exception):
            raise result
        return result

    return answer


def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """Put a healthy fake machine where the checks look."""
    fake = FakeMachine(tmp_path / "etc", tmp_path / "systemd")
    state_dir = fake.folder / "state"
    state_dir.mkdir(0o750, parents=True)
    fake.systemd.mkdir()
    (tmp_path / "net").mkdir()
    process = tmp_path / "proc" / str(OURS)
    process.mkdir(parents=True)
    (process / "comm").write_text("python\n")
    (process / "cmdline").write_bytes(b"python\0")
    (fake.folder / "stunwall.toml").write_text(f'state_dir = "{state_dir}"\nrun_dir = "{fake.folder}"\n')
    fake.printed = {"nft --version": "nftables v1.0.6\n", "ip -4 -j rule": "[]\n", "ip -6 -j rule": ""}
    fake.printed["systemctl is-enabled nftables.service"] = "disabled\n"
    fake.printed["systemctl cat nftables.service"] = "ExecStart=/usr/sbin/nft -f /etc/nftables.conf\n"
    fake.printed["timedatectl show -P NTPSynchronized"] = "yes\n"
    fake.printed |= {f"systemctl show {name}": unit() for name in service.UNITS}
    monkeypatch.setattr(state, "read", answers(lambda: fake.wall))
    look = lambda: inspected(fake.wall, *fake.differences, complete=fake.complete)  # noqa: E731
    monkeypatch.setattr(inspection, "inspect", answers(look))
    monkeypatch.setattr(inspection, "read_ruleset", answers(lambda: fake.ruleset))
    monkeypatch.setattr(requirements, "missing", lambda refused, load, redirect: fake.missing)
    monkeypatch.setattr(requirements, "queues", lambda refused: fake.queues)
    monkeypatch.setattr(modules, "gone", lambda: fake.modules_gone)
    monkeypatch.setattr(polkit, "known_actions", answers(lambda: fake.known_actions))
    monkeypatch.setattr(nfqueue, "listeners", lambda: fake.listeners)
    monkeypatch.setattr(daemon, "ask", answers(lambda: fake.daemon))
    monkeypatch.setattr(machine, "_INTERFACES", tmp_path / "net")
    monkeypatch.setattr(machine, "_SYSTEMD", fake.systemd)
    monkeypatch.setattr(Machine, "output", staticmethod(fake.output))
    monkeypatch.setattr(other_programs, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(
        other_programs, "_NFTABLES_CONF", (tmp_path / "nftables.conf", tmp_path / "other.conf")
    )
    return fake

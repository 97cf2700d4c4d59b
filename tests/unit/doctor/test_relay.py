"""doctor/relay.py: a program on this machine that relays the VPN, in a folder in place of /proc."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stunwall.doctor import relay
from stunwall.doctor.relay import Relay
from unit.fake_machine import NOTE, OK, WARNING, FakeMachine, status
from unit.recorded import event, record

# As in /proc/net/udp of an x86 machine; 0100007F is 127.0.0.1, 2328 the port 9000, 9C40 the port 40000.
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer\n"
LINE = "  1: {place} 00000000:0000 07 00000000:00000000 00:00000000 00000000 {uid:5} 0 {inode} 2 0000000000000000 0\n"
HERE, ANYWHERE, ANYWHERE6, OTHER = "0100007F:2328", "00000000:2328", f"{'0' * 32}:2328", "0100007F:2329"
SENDING = "00000000:9C40"
SERVICE = "system.slice/vk-turn.service"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "proc-of-relay"
    (folder / "net").mkdir(parents=True)
    monkeypatch.setattr(relay, "_PROC", folder)
    return folder


def running(proc: Path, place: str = HERE, cgroup: str = SERVICE, uid: int = 0, table: str = "udp") -> None:
    """A program that has a socket at `place`, and one that sends from port 40000."""
    lines = {"udp": [LINE.format(place=SENDING, uid=uid, inode=8)]}
    lines.setdefault(table, []).append(LINE.format(place=place, uid=uid, inode=7))
    for name, some in lines.items():
        (proc / "net" / name).write_text(HEAD + "".join(some))
    process = proc / "812"
    (process / "fd").mkdir(parents=True)
    for number, target in enumerate(("/dev/null", "socket:[7]", "socket:[8]", "pipe:[9]")):
        (process / "fd" / str(number)).symlink_to(target)
    (process / "comm").write_text("vk-turn-proxy\n")
    (process / "cgroup").write_text(f"1:cpu:/\n0::/{cgroup}\n")
    (proc / "813").mkdir()  # has just ended


def daemon(**changed: Any) -> dict[str, Any]:
    return status(local_endpoints=[["127.0.0.1", 9000]], **changed)


@pytest.mark.parametrize(
    ("place", "table"), [(HERE, "udp"), (ANYWHERE, "udp"), (ANYWHERE6, "udp6"), (HERE, "tcp")]
)
def test_the_program_at_the_endpoint_is_found(proc: Path, tmp_path: Path, place: str, table: str) -> None:
    running(proc, place, table=table)
    assert relay.find(daemon(), tmp_path) == [
        Relay("127.0.0.1:9000", "vk-turn-proxy", 812, 0, SERVICE),
    ]


def test_there_is_none_without_an_endpoint_here_or_a_program_at_it(proc: Path, tmp_path: Path) -> None:
    assert relay.find(daemon(), tmp_path) == []
    running(proc, OTHER)
    assert relay.find(daemon(), tmp_path) == []
    assert relay.find(status(), tmp_path) == []
    assert relay.find({}, tmp_path) == []


@pytest.mark.parametrize(
    ("cgroup", "excepted"), [(SERVICE, True), ("system.slice", True), (f"{SERVICE}x", False)]
)
def test_a_program_with_an_exception_is_left_out(
    proc: Path, tmp_path: Path, cgroup: str, excepted: bool
) -> None:
    running(proc)
    assert bool(relay.find(daemon(cgroups=[None, [], [cgroup]]), tmp_path)) is not excepted


def test_what_was_blocked_of_it_lately_is_told(proc: Path, fake: FakeMachine) -> None:
    running(proc)
    fake.daemon = daemon()
    found = fake.find("vpn")
    assert "is blocked if it is STUN or TURN" in found[NOTE][0].what
    old = event(40000, seen=time.time() - 7200)
    record(
        fake.folder / "state",
        replace(old, destination="203.0.113.9"),
        event(40000),
        replace(event(40001), destination="203.0.113.10"),
        replace(event(40000), destination="203.0.113.11", verdict="accepted"),
    )
    (warning,) = fake.find("vpn")[WARNING]
    assert warning.what == (
        "the VPN's endpoint 127.0.0.1:9000 is on this machine, where vk-turn-proxy (pid 812, vk-turn.service) relays "
        "it; what that sends outside the VPN is blocked: STUN to 203.0.113.7:3478"
    )
    assert warning.next == 'sudo stunwall allow add --unit vk-turn.service --why "relays the VPN"'
    fake.daemon = daemon(cgroups=[[SERVICE]])
    assert fake.find("vpn").keys() == {OK}


MANAGER = "user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("uid", "cgroup", "cure"),
    [
        (0, SERVICE, 'sudo stunwall allow add --unit vk-turn.service --why "relays the VPN"'),
        (65534, SERVICE, 'sudo stunwall allow add --unit vk-turn.service --why "relays the VPN"'),
        (
            65534,
            f"{MANAGER}/app.slice/app-gnome-turn\\x2dproxy-812.scope",
            "sudo stunwall allow add --user nobody --unit 'app-gnome-turn\\x2dproxy-*.scope' --why \"relays the VPN\"",
        ),
        (
            65534,
            "user.slice/user-65534.slice/session-2.scope",
            "start p in a unit of its own (`systemd-run --user --scope --unit=relay COMMAND`), then run "
            '`sudo stunwall allow add --user nobody --unit relay.scope --why "relays the VPN"`',
        ),
        (
            0,
            "",
            "start p in a unit of its own (`systemd-run --scope --unit=relay COMMAND`), then run "
            '`sudo stunwall allow add --unit relay.scope --why "relays the VPN"`',
        ),
        (
            3999999999,
            f"{MANAGER}/a.service",
            'sudo stunwall allow add --user 3999999999 --unit a.service --why "relays the VPN"',
        ),
    ],
)
def test_one_command_makes_an_exception_for_it(uid: int, cgroup: str, cure: str) -> None:
    assert Relay("127.0.0.1:9000", "p", 812, uid, cgroup).cure == cure

"""The daemon as a service manager meets it: signs of life, a reload, what stays when it ends."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM

import pytest

from lab.addresses import PHYSICAL, STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.agent import Agent, wall_stands
from lab.leaks import DEVICE
from lab.messages import binding_request, reflexive_address
from lab.probe import Binding, ask
from lab.topology import Lab
from lab.wire import Wire

SERVER = (STUN_SERVER[AF_INET], STUN_PORT)
OUTSIDE = Binding(device=PHYSICAL)
PERIOD = "900000"  # microseconds: a beat every 0.3 s


@pytest.fixture(autouse=True)
def vpn(lab: Lab) -> None:
    lab.vpn.up(ipv6=True)


class Manager:
    """The socket that systemd would give the service (sd_notify(3))."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)

    def close(self) -> None:
        self._socket.close()

    def hears(self, word: str, seconds: float) -> bool:
        """Whether the service says `word` within so many seconds."""
        self._socket.settimeout(seconds)
        try:
            while self._socket.recv(4096).decode() != word:
                pass
        except TimeoutError:
            return False
        return True

    def forget(self) -> None:
        """Drops what was said so far."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            pass


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(tmp_path)
    yield one
    one.close()


@contextmanager
def watched(lab: Lab, manager: Manager) -> Iterator[Agent]:
    agent = Agent(lab)
    try:
        agent.start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC=PERIOD)
        yield agent
    finally:
        agent.close()


def test_signs_of_life_come_while_packets_get_verdicts(lab: Lab, manager: Manager) -> None:
    with watched(lab, manager), Wire(lab) as wire:
        assert manager.hears("READY=1", 5)
        for _ in range(3):
            assert manager.hears("WATCHDOG=1", 5)
        assert not wire.stun()


def test_no_sign_of_life_without_the_queue(lab: Lab, manager: Manager) -> None:
    with watched(lab, manager) as agent:
        assert manager.hears("WATCHDOG=1", 5)
        # The daemon is up and hears all else, but no packet comes to it any more.
        take_away_the_queue(lab)
        manager.forget()
        assert not manager.hears("WATCHDOG=1", 2)
        assert agent.cli("status").returncode == 0  # sealed all the same


def take_away_the_queue(lab: Lab) -> None:
    """The heartbeat's way alone is closed, ahead of the wall: what would be so if the kernel's queue were dead."""
    lab.client.nft(
        "table inet lab_dead { chain c { type filter hook postrouting priority -500; "
        'oifname "lo" meta mark 0x90000000 drop; }; }'
    )


@pytest.fixture(autouse=True)
def no_dead_queue(lab: Lab) -> Iterator[None]:
    yield
    lab.client.run("nft", "delete", "table", "inet", "lab_dead")


def test_a_daemon_that_is_stopped_gives_no_sign_of_life(lab: Lab, manager: Manager) -> None:
    with watched(lab, manager) as agent:
        assert manager.hears("WATCHDOG=1", 5)
        pid = agent.pid
        os.kill(pid, signal.SIGSTOP)
        manager.forget()
        assert not manager.hears("WATCHDOG=1", 2)
        os.kill(pid, signal.SIGCONT)
        assert manager.hears("WATCHDOG=1", 5)


def test_reload_takes_a_new_configuration_without_a_moment_open(lab: Lab) -> None:
    with Agent(lab) as agent, Wire(lab) as wire:
        assert ask(lab.client, SERVER, binding_request(), OUTSIDE) is not None  # the 403
        agent.set(on_block="drop", guard_ports=[443], status_for_all=True, leave_wall_on_stop=True)
        done = agent.cli("reload")
        assert (done.returncode, done.stderr) == (0, "")
        assert "on_block" in done.stdout
        assert ask(lab.client, SERVER, binding_request(), OUTSIDE, seconds=0.5) is None
        assert (
            "elements = { 443 }"
            in lab.client.run("nft", "list", "set", "inet", "stunwall", "guard_ports").stdout
        )
        assert (agent.folder / "run" / "control.sock").stat().st_mode & 0o777 == 0o666
        assert agent.cli("reload").stdout == "Nothing has changed.\n"
        assert not wire.stun()
        assert agent.stop() == 0
        assert wall_stands(lab)


def test_reload_changes_the_mode(lab: Lab) -> None:
    source = Binding(source="192.168.1.2")
    with Agent(lab) as agent:
        lab.client.ip("rule add from 192.168.1.2 lookup main pref 100")
        try:
            agent.set(mode="redirect")
            assert agent.cli("reload").stdout == "In force now: mode.\n"
            answer = ask(lab.client, SERVER, binding_request(), source)
            assert reflexive_address(answer) == VPN_SERVER[AF_INET]
            agent.set(mode="block")
            assert agent.cli("reload").returncode == 0
            assert "lookup 4780" not in lab.client.run("ip", "rule").stdout
            with Wire(lab) as wire:
                assert reflexive_address(ask(lab.client, SERVER, binding_request(), source)) is None
                assert not wire.stun()
        finally:
            lab.client.ip("rule del pref 100")


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [
        ({"mode": "off"}, 3, "line 3: mode:"),
        ({"queue": 4781, "mode": "redirect"}, 1, "nothing is changed, as queue can't be"),
        ({"mark_mask": 0x30000000}, 1, "restart it"),
    ],
)
def test_reload_refuses_what_it_cannot_take_and_goes_on_as_before(
    lab: Lab, keys: dict[str, str | int], code: int, said: str
) -> None:
    with Agent(lab) as agent, Wire(lab) as wire:
        agent.set(**keys)
        done = agent.cli("reload")
        assert done.returncode == code
        assert said in done.stderr
        assert ask(lab.client, SERVER, binding_request(), OUTSIDE) is not None  # the 403, as before
        assert not wire.stun()
        agent.set()
        assert agent.cli("status").returncode == 0


def test_told_to_leave_the_wall_it_ends_and_take_down_removes_all(lab: Lab) -> None:
    agent = Agent(lab, mode="redirect")
    try:
        agent.start("--leave-wall")
        assert "lookup 4780" in lab.client.run("ip", "rule").stdout
        assert agent.stop() == 0
        assert wall_stands(lab)
        assert DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request(), 0.3) is None
        assert agent.daemon("--take-down").returncode == 0
        assert not wall_stands(lab)
        assert agent.daemon("--take-down").returncode == 0  # once more does no harm
    finally:
        agent.close()


def test_take_down_removes_what_a_killed_daemon_left(lab: Lab) -> None:
    agent = Agent(lab, mode="redirect")
    try:
        agent.start()
        agent.kill()
        for family in ("-4", "-6"):
            assert "lookup 4780" in lab.client.run("ip", family, "rule").stdout
        assert agent.daemon("--take-down").returncode == 0
        assert not wall_stands(lab)
        for family in ("-4", "-6"):
            assert "lookup 4780" not in lab.client.run("ip", family, "rule").stdout
            assert lab.client.run("ip", family, "route", "show", "table", "4780").stdout == ""
    finally:
        agent.close()


@pytest.mark.parametrize("leave", [False, True])
def test_what_the_unit_runs_at_the_end_heeds_the_configuration(lab: Lab, leave: bool) -> None:
    agent = Agent(lab, leave_wall_on_stop=leave)
    try:
        agent.start()
        agent.kill()
        assert agent.daemon("--stopped").returncode == 0
        assert wall_stands(lab) == leave
    finally:
        agent.close()


def test_with_a_wrong_configuration_the_wall_stays_at_the_end(lab: Lab) -> None:
    agent = Agent(lab)
    try:
        agent.start()
        agent.kill()
        agent.set(mode="off")
        done = agent.daemon("--stopped")
        assert done.returncode == 3
        assert "mode" in done.stderr
        assert wall_stands(lab)
        assert agent.daemon("--take-down").returncode == 0
        assert not wall_stands(lab)
    finally:
        agent.close()

"""The daemon as a service manager sees it: watchdog, reload, and what stays in the kernel when it ends."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from socket import AF_INET

import pytest

from lab.addresses import CLIENT, COTURN, VPN_SERVER
from lab.agent import QUEUE, Agent, Value, redirect_rules, wall_is_up
from lab.messages import REFUSED, binding_request, error_code
from lab.observe import address_seen, assert_sealed
from lab.probe import DEVICE_BOUND, SOURCE_BOUND, ask
from lab.topology import Lab
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn")

PERIOD = "900000"  # microseconds of systemd's watchdog: stunwalld notifies it every 0.3 s


def refused(lab: Lab) -> bool:
    """Whether a request outside the VPN gets the daemon's refusal."""
    return error_code(ask(lab.client, COTURN[AF_INET], binding_request(), DEVICE_BOUND)) == REFUSED


# The watchdog


class Manager:
    """The notification socket that systemd gives to a service (sd_notify(3))."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)

    def close(self) -> None:
        self._socket.close()

    def hears(self, word: str, seconds: float) -> bool:
        """Whether the service sends `word` within `seconds`."""
        self._socket.settimeout(seconds)
        try:
            while self._socket.recv(4096).decode() != word:
                pass
        except TimeoutError:
            return False
        return True

    def forget(self) -> None:
        """Drops what the service has sent so far."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            pass


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with closing(Manager(tmp_path)) as manager:
        yield manager


@contextmanager
def watched(lab: Lab, manager: Manager) -> Iterator[Agent]:
    with closing(Agent(lab)) as agent:
        agent.start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC=PERIOD)
        yield agent


def test_watchdog_is_notified_while_packets_get_verdicts(lab: Lab, manager: Manager) -> None:
    with watched(lab, manager), Wire(lab) as wire:
        assert manager.hears("READY=1", 5)
        for _ in range(3):
            assert manager.hears("WATCHDOG=1", 5)
        assert not wire.stun()


# Drops the daemon's probe alone, before the wall.
DEAD_QUEUE = """
    chain c {
        type filter hook postrouting priority -500
        oifname "lo" meta mark 0x90000000 drop
    }
"""


def test_watchdog_is_not_notified_while_the_queue_is_dead(lab: Lab, manager: Manager) -> None:
    with watched(lab, manager) as agent:
        assert manager.hears("WATCHDOG=1", 5)
        # The daemon runs and handles everything else, but its own probe no longer reaches it through the queue.
        with lab.client.table("inet lab_dead", DEAD_QUEUE):
            manager.forget()
            assert not manager.hears("WATCHDOG=1", 2)
            assert agent.cli("status").returncode == 0  # nothing can leak all the same


def test_watchdog_is_not_notified_while_the_daemon_is_stopped(lab: Lab, manager: Manager) -> None:
    with watched(lab, manager) as agent:
        assert manager.hears("WATCHDOG=1", 5)
        os.kill(agent.pid, signal.SIGSTOP)
        manager.forget()
        assert not manager.hears("WATCHDOG=1", 2)
        os.kill(agent.pid, signal.SIGCONT)
        assert manager.hears("WATCHDOG=1", 5)


# Reload


def test_reload_applies_a_new_configuration_and_lets_nothing_out(lab: Lab) -> None:
    with Agent(lab) as agent, Wire(lab) as wire:
        assert refused(lab)
        agent.set(on_block="drop", guard_ports=[443], status_for_all=True, leave_wall_on_stop=True)
        done = agent.cli("reload")
        assert (done.returncode, done.stderr) == (0, "")
        assert "on_block" in done.stdout
        assert not refused(lab)
        ports = lab.client.run("nft", "list", "set", "inet", "stunwall", "guard_ports").stdout
        assert "elements = { 443 }" in ports
        assert (agent.folder / "run" / "control.sock").stat().st_mode & 0o777 == 0o666
        assert agent.cli("reload").stdout == "Nothing has changed.\n"
        assert not wire.stun()
        assert agent.stop() == 0
        assert wall_is_up(lab)


def test_reload_changes_the_mode(lab: Lab) -> None:
    source_bound = SOURCE_BOUND[AF_INET]
    with Agent(lab) as agent, lab.client.rule(f"from {CLIENT[AF_INET]} lookup main pref 100"):
        agent.set(mode="redirect")
        assert agent.cli("reload").stdout == "Now in effect: mode.\n"
        assert address_seen(lab, binding=source_bound) == VPN_SERVER[AF_INET]
        agent.set(mode="block")
        assert agent.cli("reload").returncode == 0
        assert not redirect_rules(lab)
        with Wire(lab) as wire:
            assert address_seen(lab, binding=source_bound, seconds=0.5) is None
            assert not wire.stun()


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [
        ({"mode": "off"}, 3, "line 3: mode:"),
        ({"queue": QUEUE + 1, "mode": "redirect"}, 1, "nothing was changed: queue cannot change"),
        ({"mark_mask": 0x30000000}, 1, "Restart it"),
    ],
)
def test_reload_refuses_what_it_cannot_apply_and_changes_nothing(
    lab: Lab, keys: dict[str, Value], code: int, said: str
) -> None:
    with Agent(lab) as agent, Wire(lab) as wire:
        agent.set(**keys)
        done = agent.cli("reload")
        assert done.returncode == code
        assert said in done.stderr
        assert refused(lab)
        assert not wire.stun()
        agent.set()
        assert agent.cli("status").returncode == 0


# What stays when the daemon ends


def test_with_leave_wall_the_wall_stays_until_take_down(lab: Lab) -> None:
    with closing(Agent(lab, mode="redirect")) as agent:
        agent.start("--leave-wall")
        assert redirect_rules(lab)
        assert agent.stop() == 0
        assert wall_is_up(lab)
        assert_sealed(lab)
        assert agent.daemon("--take-down").returncode == 0
        assert not wall_is_up(lab)
        assert agent.daemon("--take-down").returncode == 0, "a second time does no harm"


def test_take_down_removes_what_a_killed_daemon_left(lab: Lab) -> None:
    with closing(Agent(lab, mode="redirect")) as agent:
        agent.start()
        agent.kill()
        rules = [rule for rule in redirect_rules(lab) if "lookup" in rule]
        assert len(rules) == 2, "one for each family"
        assert agent.daemon("--take-down").returncode == 0
        assert not wall_is_up(lab)
        assert redirect_rules(lab) == []


@pytest.mark.parametrize("leave", [False, True], ids=["default", "leave_wall_on_stop"])
def test_stopped_option_of_the_unit_follows_the_configuration(lab: Lab, leave: bool) -> None:
    with closing(Agent(lab, leave_wall_on_stop=leave)) as agent:
        agent.start()
        agent.kill()
        assert agent.daemon("--stopped").returncode == 0
        assert wall_is_up(lab) == leave


def test_with_a_wrong_configuration_the_wall_stays_until_take_down(lab: Lab) -> None:
    with closing(Agent(lab)) as agent:
        agent.start()
        agent.kill()
        agent.set(mode="off")
        done = agent.daemon("--stopped")
        assert done.returncode == 3
        assert "mode" in done.stderr
        assert wall_is_up(lab)
        assert agent.daemon("--take-down").returncode == 0
        assert not wall_is_up(lab)

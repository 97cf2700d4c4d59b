"""`stunwall exposure`: what the ledger of a real daemon says of its time."""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM
from typing import Any

import pytest

from lab.agent import RULES, Agent
from lab.deadline import until
from lab.leaks import DEVICE
from lab.messages import binding_request
from lab.observe import status
from lab.second_lock import owned_by_another, up, without_rules
from lab.topology import Lab
from lab.wire import Wire
from stunwall.record.schema import FILE

WAIT = 15  # seconds
JIFFY = 0.01  # seconds, at 100 Hz: the kernel counts time-outs in them

pytestmark = pytest.mark.usefixtures("vpn")


def kinds(agent: Agent) -> list[str]:
    done = agent.cli("exposure", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    shown = [span["kind"] for span in found["spans"]]
    assert done.returncode == (1 if shown else 0)
    return shown


def seconds(agent: Agent, kind: str) -> float:
    found: dict[str, Any] = json.loads(agent.cli("exposure", "--json").stdout)
    return float(found["seconds"][kind])


def wait_kind(agent: Agent, kind: str) -> None:
    until(lambda: kind in kinds(agent), WAIT, f"the kind {kind}")


def restart(agent: Agent) -> None:
    """Starts and stops the daemon, so that the ledger is written."""
    agent.start("--leave-wall")
    agent.stop()


def test_a_pause_is_in_the_ledger(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.cli("pause", "30m")
        agent.cli("resume")
        wait_kind(agent, "paused")
        print(agent.cli("exposure").stdout)


def gaps(agent: Agent) -> list[Any]:
    daemon = status(agent)["daemon"]
    assert daemon is not None
    found: list[Any] = daemon["gaps"]
    return found


@pytest.fixture
def other_rules(lab: Lab) -> Iterator[None]:
    """Loads the client's own rules again after a test that flushes them."""
    yield
    lab.client.nft("flush ruleset")
    lab.masquerade_box()


@pytest.mark.usefixtures("other_rules")
@pytest.mark.parametrize("locked", [True, False], ids=["with the second lock", "without"])
def test_removed_rules_are_exposure_only_without_the_second_lock(lab: Lab, locked: bool) -> None:
    with nullcontext() if locked else owned_by_another(lab), Agent(lab) as agent:
        assert up(agent) is locked
        # The daemon is stopped for a moment, to show that this is so.
        with without_rules(lab, agent), Wire(lab) as wire:
            DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request(), 0.5)
            assert bool(wire.stun()) is not locked
        until(lambda: bool(gaps(agent)), WAIT, "the gap")
        (gap,) = gaps(agent)
        assert gap["second_lock_held"] is locked
        if not locked:
            wait_kind(agent, "wall-gone")
        agent.stop()  # then all is written
        assert kinds(agent) == (["stopped"] if locked else ["wall-gone", "stopped"])
        print(agent.cli("exposure").stdout)


def test_a_rule_of_another_program_is_exposure_also_with_the_second_lock(lab: Lab) -> None:
    with Agent(lab) as agent:
        assert up(agent)
        lab.client.nft("insert rule inet stunwall decide meta mark set 0x80000000 accept")
        wait_kind(agent, "wall-gone")
        assert not gaps(agent)[0]["second_lock_held"]


def test_status_sums_it_up(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.cli("pause", "30m")
        wait_kind(agent, "paused")
        assert re.search(r"^Exposure +Sealed for \S+ % .*; paused 1 time", agent.cli("status").stdout, re.M)
        assert status(agent)["exposure"]["seconds"]["paused"] > 0


def test_a_crash_is_sealed_if_the_wall_stood(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.cli("pause", "30m")
        agent.cli("resume")
        wait_kind(agent, "paused")
        agent.kill()
        restart(agent)
        assert kinds(agent) == ["paused"]


def test_a_crash_is_not_sealed_if_the_wall_was_removed(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.cli("pause", "30m")
        agent.cli("resume")
        wait_kind(agent, "paused")
        agent.kill()
        lab.client.nft("delete table inet stunwall")
        restart(agent)
        assert kinds(agent) == ["paused", "wall-gone"]
        print(agent.cli("exposure").stdout)


def lose_daemon_and_wall(lab: Lab, agent: Agent) -> None:
    """Kills the daemon when it has written to the ledger, and removes the wall."""
    until(lambda: seconds(agent, "sealed") > 0, WAIT, "the ledger")
    agent.kill()
    lab.client.nft("delete table inet stunwall")


def load_wall(lab: Lab) -> float:
    """Loads the rules as the unit does at boot, and returns when, by the clock."""
    lab.client.nft(Path(RULES).read_text())
    return time.time()


def rebooted(agent: Agent) -> None:
    """Lets the ledger look as if the machine had been started since its last row."""
    with closing(sqlite3.connect(agent.folder / "state" / FILE)) as record, record:
        assert record.execute("UPDATE ledger SET boot = 'before', start = 0, kind = 'sealed'").rowcount


def last_unsealed(agent: Agent) -> tuple[str, float]:
    """The kind of the last time that was not sealed, and when it ended."""
    found: dict[str, Any] = json.loads(agent.cli("exposure", "--json").stdout)
    last = found["spans"][-1]
    return last["kind"], last["start"] + last["seconds"]


@pytest.mark.parametrize("boot", ["another", "the same"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
def test_without_the_daemon_it_is_sealed_since_the_wall_was_loaded(lab: Lab, boot: str, again: bool) -> None:
    with Agent(lab) as agent:
        lose_daemon_and_wall(lab, agent)
        before = time.time()
        after = load_wall(lab)
        if again:
            until(lambda: time.time() > after + 1, WAIT, "a second")
            lab.client.nft("flush table inet stunwall")
            before = time.time()
            after = load_wall(lab)
        until(lambda: time.time() > after + 1, WAIT, "a second")
        if boot == "another":
            rebooted(agent)
        starting = time.time()
        restart(agent)
        kind, end = last_unsealed(agent)
        print(
            f"{kind} until {end - after:.3f} s after the wall was loaded, {starting - end:.3f} s before the start"
        )
        assert kind == "unknown"
        assert before - JIFFY <= end < starting


def test_a_wall_that_an_upgrade_loads_again_is_sealed_throughout(lab: Lab) -> None:
    with Agent(lab) as agent:
        until(lambda: seconds(agent, "sealed") > 0, WAIT, "the ledger")
        agent.kill()
        load_wall(lab)
        restart(agent)
        assert kinds(agent) == []


def test_a_wall_without_its_age_is_unknown_until_the_daemon_starts(lab: Lab) -> None:
    with Agent(lab) as agent:
        lose_daemon_and_wall(lab, agent)
        load_wall(lab)
        lab.client.nft("flush set inet stunwall loaded")
        rebooted(agent)
        starting = time.time()
        restart(agent)
        kind, end = last_unsealed(agent)
        assert kind == "unknown"
        assert end > starting


def test_a_stop_is_not_sealed_unless_the_wall_is_left(lab: Lab) -> None:
    with Agent(lab, leave_wall_on_stop=True) as agent:
        agent.stop()
        assert kinds(agent) == []
        agent.set(leave_wall_on_stop=False)
        agent.start()
        agent.stop()
        assert kinds(agent) == ["stopped"]
        print(agent.cli("exposure").stdout)


def test_a_wall_that_the_unit_removes_after_a_stop_is_in_the_ledger(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.stop()
        agent.start("--leave-wall")
        agent.stop()
        assert agent.daemon("--stopped").returncode == 0
        assert kinds(agent) == ["stopped", "stopped"]


def test_the_time_without_a_vpn_is_open_where_that_is_allowed(lab: Lab) -> None:
    with Agent(lab, when_vpn_down="allow", interfaces=["absent0"]) as agent:
        wait_kind(agent, "open")
        before = seconds(agent, "open")
        assert seconds(agent, "open") > before  # it lasts until now
        print(agent.cli("exposure").stdout)

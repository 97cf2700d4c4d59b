"""What other programs do to the wall: it is noticed, put back, and told."""

import json
import os
import signal
from collections.abc import Iterator
from socket import AF_INET, SOCK_DGRAM
from typing import Any

import pytest

from lab.addresses import PHYSICAL, STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import DEVICE
from lab.messages import binding_request, reflexive_address
from lab.probe import Binding, ask
from lab.topology import Lab
from lab.wire import Wire

SERVER = (STUN_SERVER[AF_INET], STUN_PORT)
OUTSIDE = Binding(device=PHYSICAL)
# What firewalls and their users do: all rules of the machine, our table, a chain, one of our rules.
DAMAGES = {
    "flush ruleset": "flush ruleset",
    "flush table": "flush table inet stunwall",
    "delete table": "delete table inet stunwall",
    "flush a chain": "flush chain inet stunwall postrouting",
    "replaced by an old copy": "delete table inet stunwall\nadd table inet stunwall",
}


@pytest.fixture(autouse=True)
def vpn(lab: Lab) -> Iterator[None]:
    lab.vpn.up(ipv6=True)
    yield
    lab.vpn.up(ipv6=True)


def status(agent: Agent) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(agent.cli("status", "--json").stdout)
    return said


def gaps(agent: Agent) -> list[dict[str, Any]]:
    daemon = status(agent)["daemon"]
    assert daemon is not None
    found: list[dict[str, Any]] = daemon["gaps"]
    return found


def leaks_without_a_wall(lab: Lab) -> bool:
    return DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request(), 0.5) is not None


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_wall_that_another_program_removes_is_put_back_and_the_gap_is_told(lab: Lab, damage: str) -> None:
    with Agent(lab) as agent:
        # That it is a gap is seen while the daemon is held up.
        pid = status(agent)["daemon"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        lab.client.nft(damage)
        assert leaks_without_a_wall(lab)
        os.kill(pid, signal.SIGCONT)
        agent.wait_line("the wall was not whole")
        with Wire(lab) as wire:
            assert ask(lab.client, SERVER, binding_request(), OUTSIDE) is None or not wire.stun()
            assert not wire.stun()
        # The sets are filled as before.
        assert reflexive_address(ask(lab.client, SERVER, binding_request())) == VPN_SERVER[AF_INET]
        said = status(agent)
        assert (said["state"], said["leak_possible"]) == ("protected", False)
        (gap,) = gaps(agent)
        assert gap["who"].startswith("nft (pid ")
        assert gap["start"] < gap["end"]
        events = [json.loads(line) for line in agent.cli("log", "--json").stdout.splitlines()]
        (event,) = [event for event in events if event["verdict"] == "gap"]
        assert (event["time"], event["last_time"]) == (gap["start"], gap["end"])
        assert gap["who"] in event["reason"]
        assert "Gap" in agent.cli("status").stdout


def test_wall_is_put_back_again_and_again(lab: Lab) -> None:
    with Agent(lab) as agent:
        for number in range(1, 21):
            lab.client.nft("flush ruleset")
            until(lambda number=number: len(gaps(agent)) == min(number, 10), 5, f"gap {number}")  # type: ignore[misc]
            until(lambda: status(agent)["wall"] == "up", 5, "the wall")
        with Wire(lab) as wire:
            ask(lab.client, SERVER, binding_request(), OUTSIDE, seconds=0.3)
            assert not wire.stun()


def test_rules_loaded_again_get_their_door_back_and_are_no_gap(lab: Lab) -> None:
    with Agent(lab) as agent:
        assert lab.client.run("nft", "-f", "rules/stunwall.nft").returncode == 0
        # The daemon answers again: only through the door a request comes to it.
        until(
            lambda: ask(lab.client, SERVER, binding_request(), OUTSIDE, seconds=0.3) is not None,
            5,
            "the daemon's 403",
        )
        assert gaps(agent) == []
        assert status(agent)["state"] == "protected"


def test_changes_of_other_tables_and_of_sets_are_none_of_its_business(lab: Lab) -> None:
    with Agent(lab) as agent:
        lab.client.nft("add table inet lab_other\nadd chain inet lab_other c\ndelete table inet lab_other")
        lab.vpn.down()
        until(lambda: status(agent)["state"] == "sealed", 5, "the state 'sealed'")
        assert gaps(agent) == []


def test_pause_goes_on_in_a_wall_that_was_put_back(lab: Lab) -> None:
    with Agent(lab) as agent:
        assert agent.cli("pause", "5m").returncode == 0
        lab.client.nft("flush ruleset")
        agent.wait_line("the wall was not whole")
        assert status(agent)["state"] == "paused"
        assert (
            lab.client.run("nft", "list", "set", "inet", "stunwall", "paused").stdout.count("timeout 5m") == 0
        )
        wall = json.loads(agent.cli("rules", "--json").stdout)
        assert wall["paused"] > 200


def test_gap_of_a_redirecting_daemon_leaves_its_detour_alone(lab: Lab) -> None:
    with Agent(lab, mode="redirect") as agent:
        lab.client.nft("flush ruleset")
        agent.wait_line("the wall was not whole")
        source = Binding(source="192.168.1.2")
        lab.client.ip("rule add from 192.168.1.2 lookup main pref 100")
        try:
            answer = ask(lab.client, SERVER, binding_request(), source)
        finally:
            lab.client.ip("rule del pref 100")
        assert reflexive_address(answer) == VPN_SERVER[AF_INET]

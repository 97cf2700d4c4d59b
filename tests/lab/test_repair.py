"""stunwall's rules when other programs remove them: stunwalld notices, puts them back, and reports the gap."""

import os
import signal
from collections.abc import Iterator
from socket import AF_INET
from typing import Any

import pytest

from lab.addresses import COTURN, VPN_SERVER
from lab.agent import RULES, RULES_PUT_BACK, Agent
from lab.deadline import until
from lab.leaks import SOURCE_RULE
from lab.messages import binding_request
from lab.observe import NO_LEAK, address_seen, events, json_of, status
from lab.probe import DEVICE_BOUND, SOURCE_BOUND, ask
from lab.second_lock import passes_first_lock
from lab.topology import Lab
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn", "other_rules")

# What firewalls and their users do.
DAMAGES = {
    "flush ruleset": "flush ruleset",
    "flush table": "flush table inet stunwall",
    "delete table": "delete table inet stunwall",
    "flush chain": "flush chain inet stunwall postrouting",
    "replaced by an empty table": "delete table inet stunwall\nadd table inet stunwall",
}
LISTED_GAPS = 10  # `status` lists the last ones


@pytest.fixture(scope="module")
def other_rules(lab: Lab) -> Iterator[None]:
    """Loads the client's own rules again when the tests that flush them have ended."""
    yield
    lab.client.nft("flush ruleset")
    lab.masquerade_box()


def gaps(agent: Agent) -> list[dict[str, Any]]:
    daemon = status(agent)["daemon"]
    assert daemon is not None
    found: list[dict[str, Any]] = daemon["gaps"]
    return found


def assert_blocked(lab: Lab) -> None:
    with Wire(lab) as wire:
        ask(lab.client, COTURN[AF_INET], binding_request(), DEVICE_BOUND, seconds=0.3)
        assert not wire.stun()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_rules_that_another_program_removes_are_put_back_and_the_gap_is_reported(
    lab: Lab, damage: str
) -> None:
    with Agent(lab) as agent:
        # The daemon is stopped for a moment, to show that this is a gap.
        os.kill(agent.pid, signal.SIGSTOP)
        lab.client.nft(damage)
        assert passes_first_lock(lab), NO_LEAK
        os.kill(agent.pid, signal.SIGCONT)
        agent.wait_line(RULES_PUT_BACK)
        assert_blocked(lab)
        # The sets are filled again, too.
        assert address_seen(lab) == VPN_SERVER[AF_INET]
        said = status(agent)
        assert (said["state"], said["leak_possible"]) == ("protected", False)
        (gap,) = gaps(agent)
        assert gap["who"].startswith("nft (pid ")
        assert gap["start"] < gap["end"]
        (event,) = [event for event in events(agent) if event["verdict"] == "gap"]
        assert (event["time"], event["last_time"]) == (gap["start"], gap["end"])
        assert gap["who"] in event["reason"]
        assert "Gap" in agent.cli("status").stdout


def test_rules_are_put_back_every_time(lab: Lab) -> None:
    with Agent(lab) as agent:
        for number in range(1, 21):
            expected = min(number, LISTED_GAPS)
            lab.client.nft("flush ruleset")
            until(lambda expected=expected: len(gaps(agent)) == expected, 5, f"gap {number}")  # type: ignore[misc]
            until(lambda: status(agent)["wall"] == "up", 5, "the rules to be put back")
        assert_blocked(lab)


def test_reloading_the_rule_file_is_not_a_gap_and_the_daemon_gets_packets_again(lab: Lab) -> None:
    with Agent(lab) as agent:
        assert lab.client.run("nft", "-f", RULES).returncode == 0
        until(
            lambda: ask(lab.client, COTURN[AF_INET], binding_request(), DEVICE_BOUND, seconds=0.3),
            5,
            "the daemon's refusal",
        )
        assert gaps(agent) == []
        assert status(agent)["state"] == "protected"


def test_changes_of_other_tables_and_of_the_sets_are_not_gaps(lab: Lab) -> None:
    with Agent(lab) as agent:
        lab.client.nft("add table inet lab_other\nadd chain inet lab_other c\ndelete table inet lab_other")
        lab.vpn.down()
        until(lambda: status(agent)["state"] == "sealed", 5, "the state 'sealed'")
        assert gaps(agent) == []


def test_pause_goes_on_when_the_rules_are_put_back(lab: Lab) -> None:
    with Agent(lab) as agent:
        assert agent.cli("pause", "5m").returncode == 0
        lab.client.nft("flush ruleset")
        agent.wait_line(RULES_PUT_BACK)
        assert status(agent)["state"] == "paused"
        # It goes on where it was: less than five minutes are left.
        assert "timeout 5m" not in lab.client.run("nft", "list", "set", "inet", "stunwall", "paused").stdout
        assert json_of(agent, "rules")["paused"] > 200


def test_redirect_goes_on_after_a_gap(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab, mode="redirect") as agent:
        lab.client.nft("flush ruleset")
        agent.wait_line(RULES_PUT_BACK)
        assert address_seen(lab, binding=SOURCE_BOUND[AF_INET]) == VPN_SERVER[AF_INET]

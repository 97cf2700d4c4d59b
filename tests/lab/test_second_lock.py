"""The second lock while the rules of the first are gone, and what it lets pass."""

from collections.abc import Iterator
from contextlib import ExitStack
from socket import AF_INET

import pytest

from lab.addresses import FAMILIES, PHYSICAL, family_name
from lab.agent import RULES_PUT_BACK, Agent
from lab.deadline import until
from lab.leaks import SOURCE_RULE
from lab.observe import NO_LEAK, status
from lab.probe import DEVICE_BOUND, send
from lab.redirected import redirected_flow, rtp, stays_inside
from lab.second_lock import owned_by_another, up, without_rules
from lab.senders import Senders
from lab.topology import Lab
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn", "other_rules")

FLUSHES = 10


@pytest.fixture
def other_rules(lab: Lab) -> Iterator[None]:
    """Loads the client's own rules again after a test that flushes them."""
    yield
    lab.client.nft("flush ruleset")
    lab.masquerade_box()


def flush_under_load(lab: Lab, agent: Agent) -> int:
    """Flush all rules again and again while 1,000 STUN packets a second are sent; return how many got out."""
    with Wire(lab) as wire, Senders(lab, *[DEVICE_BOUND] * 5) as senders:
        for number in range(1, FLUSHES + 1):
            lab.client.nft("flush ruleset")
            senders.wait()
            until(lambda number=number: put_back(agent) == number, 5, "the rules")  # type: ignore[misc]
        return len(wire.stun())


def put_back(agent: Agent) -> int:
    return sum(RULES_PUT_BACK in line for line in agent.lines)


def test_no_stun_gets_out_while_another_program_flushes_all_rules(lab: Lab) -> None:
    with owned_by_another(lab), Agent(lab) as agent:
        assert flush_under_load(lab, agent) > 0, NO_LEAK
    with Agent(lab) as agent:
        assert up(agent)
        assert flush_under_load(lab, agent) == 0
        assert status(agent)["daemon"]["second_lock"]["dropped"] > 0


def media_leaves(lab: Lab, agent: Agent, family: int) -> bool:
    """Whether media of a redirected flow leaves outside the VPN once the rules are gone."""
    with redirected_flow(lab, family) as sock:
        assert stays_inside(lab, sock, rtp())
        media = rtp()
        with without_rules(lab, agent), Wire(lab) as wire:
            send(sock, media)
            return bool(wire.leaks(media))


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_nothing_of_a_redirected_flow_gets_out_without_rules_and_connection_entries(
    lab: Lab, family: int
) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES):
        with owned_by_another(lab), Agent(lab, mode="redirect") as agent:
            assert media_leaves(lab, agent, family), NO_LEAK
        with Agent(lab, mode="redirect") as agent:
            assert not media_leaves(lab, agent, family)


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_a_redirected_flow_stays_in_the_vpn_when_its_connection_entry_is_deleted(
    lab: Lab, family: int
) -> None:
    """By what the first lock remembers of it, also without the second lock and without stunwalld."""
    version = 4 if family == AF_INET else 6
    with (
        SOURCE_RULE.made(lab, *FAMILIES),
        owned_by_another(lab),
        Agent(lab, mode="redirect") as agent,
        redirected_flow(lab, family) as sock,
    ):
        for _ in range(2):
            for _ in range(3):
                lab.client.delete_connections()
                assert stays_inside(lab, sock, rtp())
            agent.kill()
        media = rtp()
        with Wire(lab) as wire:
            lab.client.nft(f"flush set inet stunwall redirected{version}")
            lab.client.delete_connections()
            send(sock, media)
            assert wire.leaks(media), NO_LEAK


def test_other_flows_go_on_without_rules(lab: Lab) -> None:
    with (
        SOURCE_RULE.made(lab, AF_INET),
        Agent(lab, mode="redirect") as agent,
        redirected_flow(lab),
        without_rules(lab, agent),
        Wire(lab) as wire,
    ):
        for family in FAMILIES:
            lab.send_marker(family, media := rtp())
            assert wire.leaks(media)


def test_a_table_of_another_program_is_told_and_replaced_when_that_ends(lab: Lab) -> None:
    with ExitStack() as owner:
        owner.enter_context(owned_by_another(lab))
        with Agent(lab) as agent:
            said = status(agent)
            assert (said["state"], said["leak_possible"]) == ("degraded", False)
            assert not up(agent)
            assert any(
                "another program owns a table netdev stunwall" in problem for problem in said["problems"]
            )
            owner.close()
            until(lambda: up(agent), 5, "the second lock")
            assert status(agent)["state"] == "protected"


def test_nobody_else_can_change_it_and_it_goes_with_the_daemon(lab: Lab) -> None:
    with Agent(lab) as agent:
        lab.client.nft("flush ruleset")
        for attempt in ("delete table netdev stunwall", "flush table netdev stunwall"):
            assert lab.client.run("nft", *attempt.split()).returncode != 0
        assert up(agent)
        assert PHYSICAL in status(agent)["daemon"]["second_lock"]["interfaces"]
        agent.kill()
        assert lab.client.run("nft", "list", "table", "netdev", "stunwall").returncode != 0

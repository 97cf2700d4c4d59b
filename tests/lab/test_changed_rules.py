"""Other programs change stunwall's rules without removing any: stunwalld undoes it; without it, `status` tells."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from socket import AF_INET

import pytest

from lab.addresses import COTURN, PHYSICAL, VPN_SERVER
from lab.agent import RULES_PUT_BACK, Agent
from lab.deadline import until
from lab.messages import binding_request
from lab.observe import NO_LEAK, NOTICED, address_seen, events, status
from lab.probe import DEVICE_BOUND, ask
from lab.second_lock import passes_first_lock
from lab.topology import Lab
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn", "no_other_rules")

SERVER, PORT = COTURN[AF_INET]


@dataclass(frozen=True)
class Change:
    """Statements of another program; whether they let STUN out; and the part of the wall that they change."""

    text: str
    part: str
    leaks: bool = True


CHANGES = {
    "dormant": Change("add table inet stunwall { flags dormant; }", "the table"),
    "a rule under its comment": Change(
        "flush chain inet stunwall hand_over\n"
        'add rule inet stunwall hand_over accept comment "to stunwalld, if it listens"\n'
        "add rule inet stunwall hand_over counter name unattended accept "
        'comment "dropped: stunwalld does not listen"',
        "chain hand_over",
    ),
    "another priority": Change(
        "delete chain inet stunwall postrouting\n"
        "add chain inet stunwall postrouting { type filter hook postrouting priority 300; }",
        "chain postrouting",
    ),
    "another policy": Change(
        "add chain inet stunwall untrack_refusals { policy drop; }", "chain untrack_refusals", leaks=False
    ),
    "an exception": Change("add rule inet stunwall allow_rules accept", "chain allow_rules"),
    "an exception by unit": Change(
        "add element inet stunwall by_program { ipv4 }", "by_program", leaks=False
    ),
    "before the queue": Change("insert rule inet stunwall to_stunwalld accept", "chain to_stunwalld"),
    "after the queue": Change(
        "add rule inet stunwall to_stunwalld accept", "chain to_stunwalld", leaks=False
    ),
    "a VPN": Change(f"add element inet stunwall vpn {{ {PHYSICAL} }}", "vpn"),
    "a machine behind this one": Change(f"add element inet stunwall inside {{ {PHYSICAL} }}", "inside"),
    "a server of the VPN": Change(
        f"add element inet stunwall vpn_transport4 {{ {SERVER} . {PORT} }}", "vpn_transport4"
    ),
    "a local network": Change(f"add element inet stunwall lan4 {{ {SERVER} . {PHYSICAL} }}", "lan4"),
    "a pause": Change("add element inet stunwall paused { 1-4000000000 timeout 1h }", "set paused"),
    "a port": Change("delete element inet stunwall guard_ports { 5349 }", "guard_ports", leaks=False),
}


@pytest.fixture(scope="module")
def no_other_rules(lab: Lab) -> Iterator[None]:
    """Loads the client's own rules again when the tests have ended."""
    yield
    lab.masquerade_box()


def assert_sealed(lab: Lab) -> None:
    with Wire(lab) as wire:
        ask(lab.client, COTURN[AF_INET], binding_request(), DEVICE_BOUND, seconds=0.3)
        assert not wire.stun()
    assert address_seen(lab) == VPN_SERVER[AF_INET]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_by_another_program_is_undone_and_reported(lab: Lab, change: Change) -> None:
    with Agent(lab) as agent:
        # What it fills into this set soon after its start would undo a change of it in silence.
        servers = ("nft", "list", "set", "inet", "stunwall", "vpn_transport4")
        until(lambda: "elements" in lab.client.printed(*servers), NOTICED, "the VPN's server in its set")
        # The daemon is stopped for a moment, to show that this is a gap.
        os.kill(agent.pid, signal.SIGSTOP)
        lab.client.nft(change.text)
        if change.leaks:
            assert passes_first_lock(lab), NO_LEAK
        os.kill(agent.pid, signal.SIGCONT)
        agent.wait_line(RULES_PUT_BACK)
        assert_sealed(lab)
        said = status(agent)
        assert (said["state"], said["leak_possible"]) == ("protected", False)
        (gap,) = said["daemon"]["gaps"]
        assert gap["who"].startswith("nft (pid ")
        assert change.part in gap["what"][0]
        (event,) = [event for event in events(agent) if event["verdict"] == "gap"]
        assert gap["who"] in event["reason"]
        assert change.part in event["reason"]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_while_the_daemon_is_dead_status_compares_the_rules_with_the_file(lab: Lab, change: Change) -> None:
    with Agent(lab) as agent:
        agent.kill()
        assert (status(agent)["state"], status(agent)["leak_possible"]) == ("wall-only", False)
        lab.client.nft(change.text)
        if change.leaks:
            assert passes_first_lock(lab), NO_LEAK
        said = status(agent)
        state = "paused" if change.part == "set paused" else "down"
        assert (said["state"], said["leak_possible"]) == (state, True)


def test_a_daemon_that_starts_undoes_what_was_changed_before(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.kill()
        for change in CHANGES.values():
            if change.part != "set paused":  # a pause goes on
                lab.client.nft(change.text)
        agent.start()
        assert_sealed(lab)
        said = status(agent)
        assert (said["state"], said["daemon"]["gaps"]) == ("protected", [])

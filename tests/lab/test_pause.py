"""`stunwall pause`: STUN may leave for a time. The pause ends by itself, whatever happens to stunwalld."""

from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM

import pytest

from lab.addresses import COTURN, FAMILIES, REAL, VPN_SERVER
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import SOURCE_RULE
from lab.messages import binding_request
from lab.observe import address_seen, assert_sealed, status, wait_event
from lab.probe import DEVICE_BOUND, SOURCE_BOUND, UNBOUND, ask
from lab.senders import Senders
from lab.topology import Lab
from lab.wire import Wire

ENDED = 15  # seconds until a pause of two or three seconds has ended, with other tests on the same processors

pytestmark = pytest.mark.usefixtures("vpn")


def pause(agent: Agent, length: str) -> None:
    done = agent.cli("pause", length)
    assert done.returncode == 0, done.stderr


def resume(agent: Agent) -> None:
    done = agent.cli("resume")
    assert done.returncode == 0, done.stderr


def free(lab: Lab) -> bool:
    """Whether STUN may leave outside the VPN."""
    return address_seen(lab, binding=DEVICE_BOUND) == REAL[AF_INET]


@pytest.mark.parametrize("mode", ["block", "redirect"])
def test_pause_lets_all_stun_out_until_resume(lab: Lab, mode: str) -> None:
    with Agent(lab, mode=mode) as agent:
        assert_sealed(lab)
        pause(agent, "30m")
        for family in FAMILIES:
            for kind in (SOCK_DGRAM, SOCK_STREAM):
                assert address_seen(lab, family, DEVICE_BOUND, kind) == REAL[family]
        assert address_seen(lab) == VPN_SERVER[AF_INET]
        said = status(agent)
        assert (said["state"], said["leak_possible"]) == ("paused", True)
        assert "PAUSED" in agent.cli("status").stdout
        resume(agent)
        assert_sealed(lab)
        assert status(agent)["state"] == "protected"
        wait_event(agent, verdict="paused")
        wait_event(agent, verdict="resumed")


def test_nothing_is_redirected_during_a_pause(lab: Lab) -> None:
    bound = SOURCE_BOUND[AF_INET]
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab, mode="redirect") as agent:
        pause(agent, "1h")
        assert address_seen(lab, binding=bound) == REAL[AF_INET]
        resume(agent)
        assert address_seen(lab, binding=bound) == VPN_SERVER[AF_INET]


def test_pause_ends_by_itself_and_its_end_is_recorded(lab: Lab) -> None:
    with Agent(lab) as agent:
        pause(agent, "2s")
        until(lambda: not free(lab), ENDED, "the pause to end")
        assert_sealed(lab)
        until(lambda: status(agent)["state"] == "protected", ENDED, "the state 'protected'")
        wait_event(agent, verdict="paused")
        wait_event(agent, verdict="resumed")


def test_pause_ends_by_itself_after_the_daemon_was_killed(lab: Lab) -> None:
    with Agent(lab) as agent:
        pause(agent, "3s")
        agent.kill()
        assert free(lab), "the pause had ended before the daemon was killed"
        until(lambda: not free(lab), ENDED, "the pause to end")
        with Wire(lab) as wire:
            assert ask(lab.client, COTURN[AF_INET], binding_request(), DEVICE_BOUND) is None
            assert not wire.stun()


def test_pause_outlives_a_crash_of_the_daemon(lab: Lab) -> None:
    with Agent(lab) as agent:
        pause(agent, "30m")
        agent.kill()
        agent.start()
        assert status(agent)["state"] == "paused"
        assert free(lab)
        resume(agent)
        assert_sealed(lab)


def test_second_pause_replaces_the_first(lab: Lab) -> None:
    with Agent(lab) as agent:
        pause(agent, "30m")
        pause(agent, "2s")
        until(lambda: not free(lab), ENDED, "the shorter pause to end")
        assert_sealed(lab)


def test_no_packet_leaves_once_resume_has_returned(lab: Lab) -> None:
    with Agent(lab) as agent, Senders(lab, DEVICE_BOUND, UNBOUND) as senders:
        for _ in range(3):
            pause(agent, "1h")
            with Wire(lab) as wire:
                senders.wait()
                assert wire.stun()
            resume(agent)
            with Wire(lab) as wire:
                senders.wait()
                assert not wire.stun()


# From here on the module's agent runs.


@pytest.mark.parametrize(
    "length", ["", "0", "0s", "-5m", "x", "25h", "1000d", "1e3s", "99999999999999999999h"]
)
def test_invalid_length_is_refused_with_the_reason(lab: Lab, agent: Agent, length: str) -> None:
    done = agent.cli("pause", "--", length)
    assert done.returncode != 0
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not free(lab)


def test_resume_without_a_pause_says_that_nothing_is_paused(agent: Agent) -> None:
    done = agent.cli("resume")
    said = (done.stdout + done.stderr).lower()
    assert "no pause" in said or "not paused" in said
    assert "Traceback" not in done.stderr

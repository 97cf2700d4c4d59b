"""`stunwall pause`: STUN is free for a time, which ends by itself whatever happens to stunwalld."""

from collections.abc import Iterator
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM

import pytest

from lab.addresses import CLIENT, FAMILIES, REAL, STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.agent import Agent
from lab.deadline import until
from lab.kinds import DEVICE_BOUND
from lab.leaks import SOURCE_RULE
from lab.messages import binding_request
from lab.observe import address_seen, json_of, wait_event
from lab.probe import UNBOUND, Binding, ask
from lab.senders import Senders
from lab.topology import Lab
from lab.wire import Wire

ENDED = 15  # seconds in which a pause of 2 is over, on two busy cores


@pytest.fixture(autouse=True)
def vpn(lab: Lab) -> None:
    lab.vpn.up(ipv6=True)


def pause(agent: Agent, length: str) -> None:
    done = agent.cli("pause", length)
    assert done.returncode == 0, done.stderr


def assert_free(lab: Lab) -> None:
    for family in FAMILIES:
        for kind in (SOCK_DGRAM, SOCK_STREAM):
            assert address_seen(lab, family, DEVICE_BOUND, kind) == REAL[family]


def assert_sealed(lab: Lab) -> None:
    with Wire(lab) as wire:
        for family in FAMILIES:
            for kind in (SOCK_DGRAM, SOCK_STREAM):
                assert address_seen(lab, family, DEVICE_BOUND, kind) is None
        assert not wire.stun()


def free(lab: Lab) -> bool:
    return address_seen(lab, binding=DEVICE_BOUND) == REAL[AF_INET]


@pytest.mark.parametrize("mode", ["block", "redirect"])
def test_pause_frees_all_stun_until_resume(lab: Lab, mode: str) -> None:
    with Agent(lab, mode=mode) as agent:
        assert_sealed(lab)
        pause(agent, "30m")
        assert_free(lab)
        assert address_seen(lab) == VPN_SERVER[AF_INET]
        status = json_of_paused(agent)
        assert status["state"] == "paused"
        assert status["leak_possible"]
        assert "PAUSED" in agent.cli("status").stdout
        assert agent.cli("resume").returncode == 0
        assert_sealed(lab)
        assert json_of(agent, "status")["state"] == "protected"
        wait_event(agent, verdict="paused")
        wait_event(agent, verdict="resumed")


def json_of_paused(agent: Agent) -> dict[str, object]:
    """`stunwall status --json`, which exits 1 while STUN can leak."""
    import json

    done = agent.cli("status", "--json")
    assert done.returncode == 1
    return dict(json.loads(done.stdout))


def test_pause_in_redirect_mode_redirects_nothing(lab: Lab) -> None:
    bound = Binding(source=CLIENT[AF_INET])
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab, mode="redirect") as agent:
        pause(agent, "1h")
        assert address_seen(lab, binding=bound) == REAL[AF_INET]
        assert agent.cli("resume").returncode == 0
        assert address_seen(lab, binding=bound) == VPN_SERVER[AF_INET]


def test_pause_ends_by_itself_and_the_record_says_so(lab: Lab) -> None:
    with Agent(lab) as agent:
        pause(agent, "2s")
        until(lambda: not free(lab), ENDED, "the pause to end")
        assert_sealed(lab)
        until(lambda: json_of(agent, "status")["state"] == "protected", ENDED, "the status to say so")
        wait_event(agent, verdict="paused")
        wait_event(agent, verdict="resumed")


def test_pause_ends_by_itself_after_the_daemon_was_killed(lab: Lab) -> None:
    with Agent(lab) as agent:
        pause(agent, "3s")
        agent.kill()
        assert free(lab), "the pause was over before the daemon was killed"
        until(lambda: not free(lab), ENDED, "the pause to end")
        with Wire(lab) as wire:
            reply = ask(lab.client, (STUN_SERVER[AF_INET], STUN_PORT), binding_request(), DEVICE_BOUND)
            assert reply is None
            assert not wire.stun()


def test_pause_goes_on_over_a_restart_after_a_crash(lab: Lab) -> None:
    with Agent(lab) as agent:
        pause(agent, "30m")
        agent.kill()
        agent.start()
        assert json_of_paused(agent)["state"] == "paused"
        assert free(lab)
        assert agent.cli("resume").returncode == 0
        assert_sealed(lab)


def test_second_pause_takes_the_place_of_the_first(lab: Lab) -> None:
    with Agent(lab) as agent:
        pause(agent, "30m")
        pause(agent, "2s")
        until(lambda: not free(lab), ENDED, "the shorter pause to end")
        assert_sealed(lab)


def test_not_a_packet_leaves_once_resume_has_returned(lab: Lab) -> None:
    with Agent(lab) as agent, Senders(lab, DEVICE_BOUND, UNBOUND) as senders:
        for _ in range(3):
            pause(agent, "1h")
            with Wire(lab) as wire:
                senders.wait()
                assert wire.stun()
            assert agent.cli("resume").returncode == 0
            with Wire(lab) as wire:
                senders.wait()
                assert not wire.stun()


@pytest.fixture(scope="module")
def plain(lab: Lab) -> Iterator[Agent]:
    with Agent(lab) as agent:
        yield agent


# The module's agent runs from here on: what starts its own stands above.
@pytest.mark.parametrize(
    "length", ["", "0", "0s", "-5m", "x", "25h", "1000d", "1e3s", "99999999999999999999h"]
)
def test_pause_of_a_strange_length_is_refused_with_the_reason(lab: Lab, plain: Agent, length: str) -> None:
    done = plain.cli("pause", "--", length)
    assert done.returncode != 0
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not free(lab)


def test_resume_without_a_pause_says_so(lab: Lab, plain: Agent) -> None:
    done = plain.cli("resume")
    assert (
        "no pause" in (done.stdout + done.stderr).lower()
        or "not paused" in (done.stdout + done.stderr).lower()
    )
    assert "Traceback" not in done.stderr

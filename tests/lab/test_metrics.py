"""`stunwall metrics`, scraped by a real Prometheus from a real node_exporter, and the alerts that it fires."""

import signal
from os import kill
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM

import pytest

from lab.agent import Agent
from lab.deadline import until
from lab.leaks import DEVICE
from lab.messages import binding_request
from lab.observe import RECORDED, events
from lab.prometheus import Prometheus
from lab.topology import Lab

FIRED = 20  # seconds until an alert has fired; it takes two
BLOCKED = 'stunwall_packets_total{verdict="blocked",reason="outside-vpn"}'


def write(agent: Agent, prometheus: Prometheus) -> None:
    done = agent.cli("metrics", "--write", str(prometheus.file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def wait_state(prometheus: Prometheus, alert: str, state: str) -> None:
    until(lambda: prometheus.states_of(alert) == state, FIRED, f"{alert} to be {state}")


def test_an_alert_fires_when_the_daemon_is_killed_and_ends_when_it_is_back(
    lab: Lab, vpn: None, tmp_path: Path
) -> None:
    with Agent(lab) as agent, Prometheus(lab, tmp_path) as prometheus:
        write(agent, prometheus)
        prometheus.wait_value("stunwall_up", 1)
        prometheus.wait_value('stunwall_state{state="protected"}', 1)
        prometheus.wait_value(BLOCKED, 0)
        assert prometheus.values("stunwall_queue_waiting_packets") == [0]
        assert prometheus.states_of("StunwallDown") == "inactive"

        DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request())
        until(lambda: bool(events(agent)), RECORDED, "an event in the record")
        write(agent, prometheus)
        (event,) = events(agent)
        prometheus.wait_value(BLOCKED, event["count"])

        agent.kill()
        write(agent, prometheus)
        prometheus.wait_value('stunwall_state{state="wall-only"}', 1)
        wait_state(prometheus, "StunwallDown", "firing")
        assert prometheus.values("stunwall_leak_possible") == [0]
        assert "StunwallLeakPossible" not in prometheus.alerts()

        lab.client.nft("delete table inet stunwall")
        write(agent, prometheus)
        wait_state(prometheus, "StunwallLeakPossible", "firing")

        agent.start()
        write(agent, prometheus)
        for alert in ("StunwallDown", "StunwallLeakPossible", "StunwallNotProtected"):
            wait_state(prometheus, alert, "inactive")
        prometheus.wait_value(BLOCKED, 0)


@pytest.mark.thorough
def test_a_daemon_that_hangs_is_one_that_does_not_answer(lab: Lab, vpn: None, tmp_path: Path) -> None:
    with Agent(lab) as agent:
        kill(agent.pid, signal.SIGSTOP)
        try:
            text = agent.cli("metrics").stdout
        finally:
            kill(agent.pid, signal.SIGCONT)
        assert "stunwall_up 0\n" in text
        assert 'stunwall_state{state="unknown"} 1\n' in text
        assert "stunwall_leak_possible" not in text

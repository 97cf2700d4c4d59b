"""stunwalld on a system without IPv6 (ipv6.disable=1): it guards IPv4 alone, and says so."""

import sys
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM

import pytest

from lab.addresses import PHYSICAL, VPN_SERVER
from lab.agent import Agent
from lab.leaks import DEVICE
from lab.messages import REFUSED, binding_request, error_code
from lab.observe import address_seen, wait_event
from lab.topology import Lab
from lab.wire import Wire

LAUNCHER = (sys.executable, str(Path(__file__).with_name("without_ipv6.py")))
NOTICE = "IPv6 is not available"


@pytest.mark.parametrize("mode", ["block", "redirect"])
def test_without_ipv6_the_daemon_guards_ipv4_and_says_so(lab: Lab, mode: str) -> None:
    agent = Agent(lab, mode=mode)
    agent.launcher = LAUNCHER
    lab.vpn.up()
    with agent, Wire(lab) as wire:
        for kind in (SOCK_DGRAM, SOCK_STREAM):
            assert error_code(DEVICE.ask(lab, AF_INET, kind, binding_request())) == REFUSED
            assert address_seen(lab, kind=kind) == VPN_SERVER[AF_INET]
        wait_event(agent, verdict="blocked", family=4, interface=PHYSICAL)
        assert not wire.stun()
        agent.wait_line(NOTICE)
        assert NOTICE in agent.cli("status").stdout
        assert agent.stop() == 0
        assert "Traceback" not in "\n".join(agent.lines)

"""stunwall check: what it says is what the wire shows, without stunwall and with it, and where no router reports."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from socket import AF_INET
from typing import Any

import pytest

from lab.addresses import CLIENT, FAMILIES, NOBODY, PHYSICAL
from lab.agent import CLI, Agent
from lab.leaks import FWMARK, SOURCE_RULE, VPN_DOWN, Leak
from lab.topology import Lab, Outside
from lab.wire import Wire
from stunwall.check.verdict import Verdict
from stunwall.check.ways import DESTINATIONS
from stunwall.cli.check import EXIT_CODES

PROBED = {str(address) for address in DESTINATIONS.values()}
MUTE = """
    chain output {
        type filter hook output priority filter
        icmp type { time-exceeded, destination-unreachable } drop
        icmpv6 type { time-exceeded, destination-unreachable } drop
    }
"""
ANSWERS = """
    chain prerouting {
        type filter hook prerouting priority mangle
        tcp dport 3478 reject with tcp reset
    }
    chain redirected {
        type nat hook prerouting priority dstnat
        udp dport 3478 redirect to :9
    }
"""
LIMITED = 1000  # milliseconds: the kernel's default
NO_STUN = """
    chain prerouting {
        type filter hook prerouting priority raw
        iifname != "eth0" th dport 3478 drop
    }
"""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the command said, and what the wire showed meanwhile."""

    said: dict[str, Any]
    stun: int
    """Packets outside the VPN that contain STUN's cookie."""
    others: int
    """The other packets outside the VPN to the addresses that are probed."""

    @property
    def outside(self) -> set[str]:
        """The verdicts about ways outside the VPN that were tried."""
        return self._of(into_vpn=False)

    @property
    def in_vpn(self) -> set[str]:
        return self._of(into_vpn=True)

    def _of(self, *, into_vpn: bool) -> set[str]:
        ways = [way for way in self.said["ways"] if way["into_vpn"] is into_vpn]
        return {each["verdict"] for way in ways for each in way["shown"]} - {Verdict.NOT_SENT.value}


def check(lab: Lab, agent: Agent, *options: str, user: int = NOBODY) -> Checked:
    """Runs the command as a user who may do nothing, and looks at the wire."""
    given = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    with Wire(lab) as wire:
        done = lab.client.run(
            *given, *agent.environment, *agent.command(CLI)[:3], "check", "--json", *options
        )
        assert done.stdout, done.stderr
        said = json.loads(done.stdout)
        stun = wire.stun()
        others = [each for each in wire.outside() if each.destination in PROBED and each not in stun]
    if "--forecast" not in options:
        assert done.returncode == EXIT_CODES[Verdict(said["verdict"])]
    return Checked(said, len(stun), len(others))


@pytest.fixture(autouse=True)
def patient_routers(lab: Lab) -> Iterator[None]:
    """They report every packet: else each test would leave too few reports for the next one."""
    limit(lab, 0)
    yield
    limit(lab, LIMITED)


def limit(lab: Outside, milliseconds: int) -> None:
    """Sets how often routers report a packet, but for the first 6 (icmp_ratelimit in icmp(7))."""
    for router in (lab.isp, lab.internet, lab.server):
        router.sysctl("ipv4/icmp_ratelimit", milliseconds)
        router.sysctl("ipv6/icmp/ratelimit", milliseconds)


@contextmanager
def leaking(lab: Lab, leak: Leak = SOURCE_RULE) -> Iterator[None]:
    with leak.made(lab, *FAMILIES):
        yield


@pytest.mark.parametrize("leak", [SOURCE_RULE, VPN_DOWN], ids=lambda leak: leak.name)
def test_without_stunwall_it_says_leak_and_with_it_sealed(lab: Lab, leak: Leak) -> None:
    with leaking(lab, leak):
        free = check(lab, Agent(lab), "--all")
        with Agent(lab) as agent:
            kept = check(lab, agent, "--all")
    assert free.stun
    assert free.said["verdict"] == Verdict.LEAK
    assert free.outside == {Verdict.LEAK}
    assert kept.stun == 0
    assert kept.others
    assert kept.said["verdict"] == Verdict.SEALED
    assert kept.outside == {Verdict.SEALED}
    if leak is SOURCE_RULE:
        assert kept.in_vpn == {Verdict.THROUGH}


def test_a_router_that_has_reported_enough_makes_no_leak_sealed(lab: Lab) -> None:
    limit(lab, LIMITED)
    with leaking(lab):
        for _ in range(3):
            found = check(lab, Agent(lab))
            assert found.stun
            assert found.said["verdict"] == Verdict.LEAK
            assert Verdict.SEALED not in found.outside


def test_in_redirect_mode_it_is_sealed(lab: Lab) -> None:
    with leaking(lab), Agent(lab, mode="redirect") as agent:
        found = check(lab, agent)
    assert (found.stun, found.said["verdict"]) == (0, Verdict.SEALED)
    assert found.in_vpn == {Verdict.THROUGH}
    moved = [
        each["why"] for way in found.said["ways"] for each in way["shown"] if "redirected" in each["why"]
    ]
    assert moved


def test_without_the_daemon_it_is_sealed(lab: Lab) -> None:
    with leaking(lab), Agent(lab) as agent:
        agent.kill()
        found = check(lab, agent)
    assert (found.stun, found.said["verdict"]) == (0, Verdict.SEALED)
    assert found.others


def test_routers_that_report_nothing_show_nothing(lab: Lab) -> None:
    with ExitStack() as stack:
        for router in (lab.isp, lab.internet, lab.server):
            stack.enter_context(router.table("inet lab_mute", MUTE))
        stack.enter_context(leaking(lab))
        assert check(lab, Agent(lab)).said["verdict"] == Verdict.INCONCLUSIVE
        with Agent(lab) as agent:
            found = check(lab, agent)
    assert found.said["verdict"] == Verdict.INCONCLUSIVE
    assert found.outside == {Verdict.INCONCLUSIVE}


def test_the_second_router_is_asked_if_the_first_reports_nothing(lab: Lab) -> None:
    with ExitStack() as stack:
        lab.isp.ip(f"route add {DESTINATIONS[4]} via 203.0.113.1")
        stack.callback(lab.isp.ip, f"route del {DESTINATIONS[4]}")
        stack.enter_context(lab.isp.table("inet lab_mute", MUTE))
        stack.enter_context(leaking(lab))
        assert check(lab, Agent(lab)).said["verdict"] == Verdict.LEAK
        with Agent(lab) as agent:
            assert check(lab, agent).said["verdict"] == Verdict.SEALED


def test_a_router_that_answers_itself_makes_no_leak_sealed(lab: Lab) -> None:
    with leaking(lab), lab.isp.table("inet lab_answers", ANSWERS):
        found = check(lab, Agent(lab))
    assert found.stun
    assert found.said["verdict"] == Verdict.INCONCLUSIVE


def test_an_exception_is_a_leak(lab: Lab) -> None:
    with leaking(lab), Agent(lab) as agent:
        agent.drop_in("own.toml", f'[[allow]]\nwhy = "a test"\nfrom = "{CLIENT[AF_INET]}"\n')
        assert agent.cli("reload").returncode == 0
        found = check(lab, agent)
    assert found.stun
    assert found.said["verdict"] == Verdict.LEAK
    assert found.outside == {Verdict.LEAK, Verdict.SEALED}


def test_stun_that_the_vpn_does_not_carry_is_told(lab: Lab) -> None:
    with leaking(lab), lab.server.table("inet lab_no_stun", NO_STUN), Agent(lab) as agent:
        found = check(lab, agent)
    assert found.said["verdict"] == Verdict.SEALED
    assert found.in_vpn == {Verdict.BLOCKED}


def test_the_ways_of_marks_are_for_root(lab: Lab) -> None:
    with leaking(lab, FWMARK):
        (way,) = {way["why"] for way in check(lab, Agent(lab)).said["ways"] if way["kind"] == "mark"}
        assert way
        free = check(lab, Agent(lab), user=0)
        marks = [
            each["verdict"] for way in free.said["ways"] if way["kind"] == "mark" for each in way["shown"]
        ]
        assert set(marks) == {Verdict.LEAK}
        with Agent(lab) as agent:
            kept = check(lab, agent, user=0)
    assert (kept.stun, kept.said["verdict"]) == (0, Verdict.SEALED)


def test_the_forecast_sends_nothing_and_names_the_rule(lab: Lab) -> None:
    with leaking(lab):
        found = check(lab, Agent(lab), "--forecast")
    assert (found.stun, found.others) == (0, 0)
    ways = {
        (way["ip_version"], way["kind"], way["source"] or way["device"]): way for way in found.said["ways"]
    }
    bound = ways[4, "source", CLIENT[AF_INET]]
    assert (bound["interfaces"], bound["into_vpn"], bound["cause"]) == ([PHYSICAL], False, "source-bound")
    assert bound["rule"] == f"100: from {CLIENT[AF_INET]} lookup main"
    assert ways[6, "unbound", ""]["into_vpn"]
    assert ways[4, "device", PHYSICAL]["cause"] == "device-bound"

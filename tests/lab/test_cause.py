"""The record says why a packet would have bypassed the VPN: real rules and routes, and what `ip route get` says."""

from socket import AF_INET, AF_INET6

import pytest

from lab.addresses import BOX, COTURN, FAMILIES, NOBODY, PHYSICAL, STUN_SERVER, family_name
from lab.agent import Agent
from lab.leaks import DEVICE, FWMARK, SOURCE_RULE, USER_RULE, Leak
from lab.messages import binding_request
from lab.observe import assert_leaks, wait_event
from lab.probe import UNBOUND, ask
from lab.topology import Lab

CAUSES = [
    (SOURCE_RULE, "source-bound", "lookup main"),
    (DEVICE, "device-bound", ""),
    (FWMARK, "mark", "fwmark"),
    (USER_RULE, "rule", f"uidrange {NOBODY}"),
]


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
@pytest.mark.parametrize(("leak", "cause", "rule"), CAUSES, ids=lambda each: getattr(each, "name", each))
def test_the_cause_is_what_the_packet_has(lab: Lab, leak: Leak, cause: str, rule: str, family: int) -> None:
    with leak.made(lab, family):
        assert_leaks(
            lab, lambda nonce: ask(lab.client, COTURN[family], binding_request(nonce), leak.binding[family])
        )
        with Agent(lab) as agent:
            ask(lab.client, COTURN[family], binding_request(), leak.binding[family], seconds=0.3)
            event = wait_event(agent, destination=STUN_SERVER[family])
            print(event["cause"], event["cause_text"])
            assert event["cause"] == cause
            assert rule in event["cause_text"]
            assert f"dev {PHYSICAL}" in event["cause_text"]
            assert event["cause_text"] in " ".join(agent.cli("show", str(event["id"])).stdout.split())


def test_a_more_specific_route_and_what_the_kernel_says(lab: Lab) -> None:
    lab.vpn.up(ipv6=True)
    server = STUN_SERVER[AF_INET]
    via = lab.client.printed("ip", "-4", "route", "show", "default", "dev", PHYSICAL).split()[2]
    lab.client.ip(f"route add {server} via {via} dev {PHYSICAL}")
    try:
        assert f"dev {PHYSICAL}" in lab.client.printed("ip", "route", "get", server)
        with Agent(lab) as agent:
            ask(lab.client, COTURN[AF_INET], binding_request(), UNBOUND, seconds=0.3)
            event = wait_event(agent, destination=server)
            print(event["cause_text"])
            assert event["cause"] == "route"
            assert server in event["cause_text"]
    finally:
        lab.client.ip(f"route del {server} via {via} dev {PHYSICAL}")


def test_ipv6_beside_a_vpn_for_ipv4_and_no_vpn_at_all(lab: Lab) -> None:
    lab.vpn.up(ipv6=False)
    with Agent(lab) as agent:
        ask(lab.client, COTURN[AF_INET6], binding_request(), UNBOUND, seconds=0.3)
        assert wait_event(agent, family=6)["cause"] == "no-family"
    lab.vpn.down()
    with Agent(lab) as agent:
        ask(lab.client, COTURN[AF_INET], binding_request(), UNBOUND, seconds=0.3)
        assert wait_event(agent, family=4, reason="no-vpn")["cause"] == "no-vpn"


def test_what_is_forwarded(lab: Lab, vpn: None) -> None:
    with lab.client.rule(f"from {BOX[AF_INET]} iif box0 lookup main pref 100"), Agent(lab) as agent:
        ask(lab.box, COTURN[AF_INET], binding_request(), seconds=0.3)
        event = wait_event(agent, source=BOX[AF_INET])
        assert event["cause"] == "forwarded"
        assert "iif box0" in event["cause_text"]

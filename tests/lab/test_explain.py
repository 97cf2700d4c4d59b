"""stunwall explain: the entry of each real leak names its cause, and the commands that it prints end the leak."""

import shlex
from functools import partial
from socket import SOCK_DGRAM

import pytest

from lab.addresses import family_name
from lab.agent import Agent
from lab.leaks import LEAKS, Leak
from lab.observe import NO_LEAK, json_of, leaves, wait_event
from lab.topology import Lab

# By the leak's name: what the packet shows of it. The record does not have its mark, so that is named as another way.
CAUSES = {
    "source_rule": {"source-bound"},
    "device_bound": {"device-bound"},
    "unicast_if": {"device-bound"},
    "fwmark": {"device-bound", "mark"},
    "remarked_in_output": {"device-bound", "mark"},
    "user_rule": {"rule"},
    "container": {"forwarded"},
    "ipv6_outside_ipv4_vpn": {"no-family"},
    "container_ipv6_outside_ipv4_vpn": {"no-family"},
    "vpn_down": {"no-vpn"},
    "container_vpn_down": {"no-vpn"},
}
CASES = [
    pytest.param(leak, family, id=f"{leak.name}-{family_name(family)}")
    for leak in LEAKS
    for family in leak.families
]


@pytest.mark.parametrize(("leak", "family"), CASES)
def test_the_entry_of_a_leak_names_its_cause_and_its_commands_end_it(
    lab: Lab, leak: Leak, family: int
) -> None:
    ask = partial(leak.ask, lab, family, SOCK_DGRAM)
    with leak.made(lab, family):
        assert leaves(lab, family, ask), NO_LEAK
        with Agent(lab) as agent:
            assert not leaves(lab, family, ask)
            entry = wait_event(agent, verdict="blocked", transport="udp")
            said = json_of(agent, "explain", str(entry["id"]))
        assert said["cause"] in CAUSES[leak.name], said
        assert CAUSES[leak.name] <= {said["cause"], *said["other_causes"]}
        assert bool(said["remove"]) == (said["cause"] in {"source-bound", "rule", "forwarded"})
        if said["remove"]:
            for command in said["remove"]:
                lab.client.printed(*shlex.split(command)[1:])
            assert not leaves(lab, family, ask)
            lab.client.ip(f"rule add {leak.rule[family]}", family)  # for whoever deletes it

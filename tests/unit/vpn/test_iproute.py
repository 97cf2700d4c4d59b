"""iproute.py: what it says about rules and routes is what ip(8) says, and its commands remove just these."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.vpn import iproute, routing
from stunwall.vpn.fib import Action, Rule
from unit.tun import Tun, ip
from unit.vpn.made_routing import DEVICES, OWN, TARGETS, configure, restore, routes, rules

Case = tuple[int, list[str], list[str]]
SOME = st.sampled_from((4, 6)).flatmap(
    lambda version: st.tuples(
        st.just(version), st.lists(rules(version), max_size=5), st.lists(routes(version), max_size=4)
    )
)


@pytest.fixture(scope="module", autouse=True)
def devices(lab: None) -> Iterator[None]:
    addresses = [(f"{four}/24", f"{six}/64") for four, six in zip(OWN[4], OWN[6], strict=True)]
    with Tun(DEVICES[0], *addresses[0]), Tun(DEVICES[1], *addresses[1]):
        yield
    restore()


def run(command: str) -> None:
    """As the user is told; these tests are root already."""
    words = shlex.split(command)
    assert words[0] == "sudo"
    subprocess.run(words[1:], check=True)


def listed(version: int) -> list[list[str]]:
    """The rules as ip shows them, without what it knows besides: [detached], [unresolved]."""
    return [re.sub(r"\[\w+\]", "", line).split() for line in ip(f"-{version}", "rule").splitlines()]


@given(SOME)
def test_rules_and_routes_are_shown_and_removed_as_ip_does(case: Case) -> None:
    version, some_rules, some_routes = case
    configure(version, some_rules, some_routes)
    fib = routing.read([ip_address(each) for each in TARGETS[version]]).fib
    for rule in fib.rules:
        lines = listed(version)
        shown = f"{rule.priority}: {iproute.rule(rule)}".split()
        assert shown in lines
        if rule.priority not in (0, 60):
            run(iproute.remove_rule(rule))
            left = listed(version)
            lines.remove(shown)
            assert left == lines
    for route in fib.routes:
        table = iproute.table(route.table)
        if table != "local":
            before = ip(f"-{version}", "route", "show", "table", table).splitlines()
            run(iproute.remove_route(route))
            after = ip(f"-{version}", "route", "show", "table", table).splitlines()
            assert len(after) < len(before)


def test_names_that_a_shell_would_obey_are_quoted() -> None:
    evil = "a;$(reboot)`b"
    one = Rule(4, 100, Action.TO_TABLE, 254, incoming=evil, outgoing=evil)
    words = "ip rule del pref 100 from all iif X oif X lookup main".replace("X", evil).split()
    assert shlex.split(iproute.remove_rule(one)) == ["sudo", *words]

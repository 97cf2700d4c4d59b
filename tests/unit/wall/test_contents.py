"""contents.py: what an exception, the VPN and the LAN let through."""

import os
import socket
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stunwall import config
from stunwall.config import Allow
from stunwall.model import Transport
from stunwall.wall import queue_rules, state, table
from stunwall.wall.nft import Nft
from unit.wall_kernel import (
    ADDRESS4,
    EMPTY,
    HIERARCHY,
    LINK,
    MASK,
    QUEUE,
    SENDER_PORT,
    SERVER4,
    SERVER6,
    Way,
    counted,
    damage,
    loaded,
    run_nft,
)
from vectors.programs import message

pytestmark = pytest.mark.usefixtures("clear")


def to(network: str) -> Allow:
    return Allow("w", to=ip_network(network))


UDP, TCP = Transport.UDP, Transport.TCP

# Unix seconds: the largest `until`, the year 2262.
LATEST = 9223372036


@pytest.mark.parametrize(
    ("rule", "server", "expected"),
    [
        (to("203.0.113.7/32"), SERVER4, True),
        (to("203.0.113.8/32"), SERVER4, False),
        (to("203.0.113.0/29"), SERVER4, True),
        (to("203.0.113.8/29"), SERVER4, False),
        (to("192.0.2.17/32"), SERVER4, False),  # the source is not meant
        (to("0.0.0.0/0"), SERVER4, True),
        (to("0.0.0.0/0"), SERVER6, False),
        (to("::/0"), SERVER6, True),
        (to("::/0"), SERVER4, False),
        (to("::ffff:203.0.113.7/128"), SERVER4, False),
        (to("2001:db8:7::7/128"), SERVER6, True),
        (to("2001:db8:8::/48"), SERVER6, False),
        (Allow("w", port=3478), SERVER4, True),
        (Allow("w", port=3478), SERVER6, True),
        (Allow("w", port=3479), SERVER4, False),
        (Allow("w", protocol=UDP), SERVER6, True),
        (Allow("w", protocol=TCP), SERVER4, False),
        (Allow("w", port=3478, protocol=UDP), SERVER4, True),
        (Allow("w", port=3478, protocol=TCP), SERVER4, False),
        (Allow("w", interface=LINK), SERVER6, True),
        (Allow("w", interface="stw"), SERVER4, False),
        (Allow("w", interface="stw00"), SERVER4, False),
        (Allow("w", user=0), SERVER4, True),
        (Allow("w", user=1), SERVER6, False),
        (Allow("w", user=2**32 - 2), SERVER4, False),
        (Allow("w", to=ip_network(SERVER4), port=3478, protocol=UDP, user=0, interface=LINK), SERVER4, True),
        (
            Allow("w", to=ip_network(SERVER4), port=3478, protocol=UDP, user=0, interface="eth1"),
            SERVER4,
            False,
        ),
        (Allow("w", to=ip_network(SERVER4), port=3478, protocol=UDP, user=1, interface=LINK), SERVER4, False),
        (Allow("w", port=3478, unit="not-there.service"), SERVER4, False),
        (Allow("w", port=3478, until=1_000_000_000), SERVER4, False),
        (Allow("w", port=3478, until=0), SERVER6, False),
        (Allow("w", port=3478, until=LATEST), SERVER4, True),
        (Allow("w", source=ip_network(ADDRESS4)), SERVER4, True),
        (Allow("w", source=ip_network(ADDRESS4)), SERVER6, False),
        (Allow("w", source=ip_network("192.0.2.0/28")), SERVER4, False),
        (Allow("w", source=ip_network(SERVER4)), SERVER4, False),  # the destination is not meant
        (Allow("w", source=ip_network("2001:db8:17::/64")), SERVER6, True),
        (Allow("w", source_port=SENDER_PORT), SERVER4, True),
        (Allow("w", source_port=SENDER_PORT), SERVER6, True),
        (Allow("w", source_port=3478), SERVER4, False),  # the destination's port is not meant
        (Allow("w", port=SENDER_PORT), SERVER4, False),
        (Allow("w", source_port=SENDER_PORT, protocol=TCP), SERVER4, False),
        (
            Allow("w", source=ip_network(ADDRESS4), source_port=SENDER_PORT, port=3478, protocol=UDP),
            SERVER4,
            True,
        ),
        (Allow("w", source=ip_network(ADDRESS4), source_port=SENDER_PORT, port=3479), SERVER4, False),
        (
            Allow("w", source=ip_network(ADDRESS4), to=ip_network(SERVER4), source_port=SENDER_PORT),
            SERVER4,
            True,
        ),
    ],
)
@pytest.mark.parametrize("families", [frozenset[int](), frozenset({4, 6})])
def test_an_exception_lets_pass_what_matches_it_in_all_that_is_given(
    nft: Nft, way: Way, rule: Allow, server: str, expected: bool, families: frozenset[int]
) -> None:
    table.load(nft, replace(EMPTY, families=families, allow=(Allow("other", port=1), rule)), MASK)
    queue_rules.attach(nft, QUEUE)
    assert way.passes(server) is expected
    assert bool(counted("allow 2")) is expected
    assert not counted("allow 1")


def test_the_vpns_own_packets_the_vpn_and_the_lan_pass(nft: Nft, way: Way) -> None:
    four, six = ip_address(SERVER4), ip_address(SERVER6)
    for held, counters in (
        (
            replace(EMPTY, transport=frozenset({(four, 3478), (six, 3478)})),
            ("to_vpn_server4", "to_vpn_server6"),
        ),
        (
            replace(
                EMPTY,
                lan=frozenset({(ip_network("203.0.113.0/24"), LINK), (ip_network("2001:db8::/32"), LINK)}),
            ),
            ("permitted_lan4", "permitted_lan6"),
        ),
    ):
        table.load(nft, held, MASK)
        for server, counter in zip((SERVER4, SERVER6), counters, strict=True):
            before = loaded().counters[counter]
            assert way.passes(server)
            assert loaded().counters[counter] == before + 1
    table.load(nft, replace(EMPTY, vpn=frozenset({LINK})), MASK)
    assert way.passes(SERVER4)
    assert way.passes(SERVER6)
    for held in (
        replace(EMPTY, transport=frozenset({(four, 3479), (six, 3479)})),
        replace(EMPTY, vpn=frozenset({"stw", "stw1"})),
        replace(
            EMPTY, lan=frozenset({(ip_network("203.0.113.0/24"), "stw1"), (ip_network("fd00::/8"), LINK)})
        ),
    ):
        table.load(nft, held, MASK)
        assert not way.passes(SERVER4)
        assert not way.passes(SERVER6)


def test_what_goes_inside_passes_whatever_it_is_and_is_not_counted(nft: Nft, way: Way) -> None:
    table.load(nft, replace(EMPTY, inside=frozenset({LINK})), MASK)
    before = loaded().counters
    for server in (SERVER4, SERVER6):
        assert way.passes(server)
    assert loaded().counters == before
    table.load(nft, replace(EMPTY, inside=frozenset({"stw", "stw1"})), MASK)
    assert not way.passes(SERVER4)
    assert not way.passes(SERVER6)


@pytest.mark.parametrize("mask", [MASK, 0x60000])
def test_an_exception_by_program_is_for_the_programs_of_its_cgroups_alone(
    nft: Nft, way: Way, unit: str, mask: int
) -> None:
    number = (HIERARCHY / unit).stat().st_ino
    rule = Allow("b", port=3478, user=0, app="an.App")
    table.load(nft, replace(EMPTY, allow=(Allow("a", port=1), rule), cgroups={rule: ((unit, number),)}), mask)
    assert not way.passes()
    inside = os.fork()
    if inside == 0:
        try:
            (HIERARCHY / unit / "cgroup.procs").write_text("0")
            os._exit(10 + way.passes() + 2 * way.passes(port=3479) + 4 * way.passes(SERVER6))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1]) == 10 + 1 + 4
    assert loaded().counters["permitted_programs"]
    assert counted("allow 2")
    assert not way.passes()


def test_an_exception_has_a_rule_for_each_of_its_cgroups(nft: Nft, unit: str) -> None:
    rule, other = Allow("b", unit="a*"), Allow("c", unit="other.service")
    above = unit.rpartition("/")[0]
    cgroups = {rule: tuple((path, (HIERARCHY / path).stat().st_ino) for path in (above, unit)), other: ()}
    table.load(nft, replace(EMPTY, allow=(rule, other), cgroups=cgroups), MASK)
    comments = [each.comment for each in loaded().rules if each.chain == "allow_programs"]
    assert comments == ["allow 1", "allow 1"]


@pytest.mark.parametrize("priority", [-300, 50, 150], ids=["raw", "before ours", "behind ours"])
@pytest.mark.parametrize("mark", [1, *config.mark_bits(MASK), MASK | 1])
@pytest.mark.parametrize("units", [(), ("not-there.service",)], ids=["plain", "exception by unit"])
def test_a_packet_that_another_program_marks_or_does_not_track_is_no_exception(
    nft: Nft, way: Way, units: tuple[str, ...], mark: int, priority: int
) -> None:
    allow = tuple(Allow("w", unit=unit) for unit in units)
    table.load(nft, replace(EMPTY, allow=allow), MASK)
    hook = f"type filter hook output priority {priority}"
    other = f"table inet other {{\nchain c {{\n{hook}\nmeta mark set {mark} notrack\n}}\n}}\n"
    run_nft("-f", "-", text=other)
    for server in (SERVER4, SERVER6):
        assert not way.passes(server)
        assert way.passes(server, payload=b"no STUN")


LOOSE, STRICT = 131, 137  # RFC 791 §3.1: the types of the options


@pytest.mark.parametrize("kind", [LOOSE, STRICT])
def test_no_exception_applies_to_a_packet_with_a_source_route(nft: Nft, way: Way, kind: int) -> None:
    """Its destination in the header is only the first hop."""
    table.load(nft, replace(EMPTY, allow=(to(f"{SERVER4}/32"),)), MASK)
    assert way.passes()
    via = socket.inet_aton(SERVER4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([kind, 7, 4]) + via + b"\0")
        sender.sendto(b"no STUN", ("198.51.100.9", 3478))
        with pytest.raises(PermissionError):
            sender.sendto(message(0x0001), ("198.51.100.9", 3478))


VERSIONS: st.SearchStrategy[Literal[4, 6]] = st.sampled_from((4, 6))
NETWORKS = VERSIONS.flatmap(
    lambda version: st.tuples(
        *[st.none() | st.ip_addresses(v=version, network=None).map(ip_network) for _ in range(2)]
    )
)
NAMES = st.text(st.characters(max_codepoint=0x2FF), min_size=1, max_size=15).filter(config.is_interface)
ALLOWS = st.builds(
    lambda networks, **given: Allow("w", to=networks[0], source=networks[1], **given),
    NETWORKS,
    source_port=st.none() | st.integers(1, 65535),
    port=st.none() | st.integers(1, 65535),
    protocol=st.none() | st.sampled_from(Transport),
    user=st.none() | st.integers(0, 2**32 - 2),
    interface=st.none() | NAMES,
    until=st.none() | st.integers(0, LATEST),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(ALLOWS, max_size=4),
    st.frozensets(NAMES, max_size=4),
    st.frozensets(st.tuples(st.ip_addresses(), st.integers(1, 65535)), max_size=4),
)
def test_whatever_the_configuration_and_the_kernel_may_hold_is_a_rule(
    nft: Nft, allow: list[Allow], names: frozenset[str], transport: frozenset[tuple[Any, int]]
) -> None:
    if state.read(nft) is None:
        table.load(nft, EMPTY, MASK)
    rules = tuple(rule for rule in allow if rule != Allow("w"))
    lan = frozenset((ip_network("192.0.2.0/24"), name) for name in names)
    table.fill(nft, replace(EMPTY, vpn=names, lan=lan, transport=transport, allow=rules), MASK, None)
    wall = loaded()
    assert damage(replace(EMPTY, allow=rules)) == ()
    assert set(wall.sets["vpn"]) == names
    assert set(wall.sets["lan4"]) == {f"192.0.2.0/24 . {name}" for name in names}
    assert len(wall.sets["vpn_transport4"]) + len(wall.sets["vpn_transport6"]) == len(transport)
    assert sum(rule.chain == "allow_rules" for rule in wall.rules) == len(rules)

"""queue_rules.py: packets are handed to a queue, or dropped."""

import socket
import struct
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

import pytest

from stunwall.wall import queue_rules, table
from stunwall.wall.contents import Addition
from stunwall.wall.nft import Nft
from unit.wall_kernel import EMPTY, FULL, MASK, QUEUE, SERVER4, SERVER6, Way, counted, loaded

pytestmark = pytest.mark.usefixtures("clear")


@pytest.mark.parametrize("queue", [0, 1, QUEUE, 65535])
def test_the_door_is_open_for_its_queue_until_it_is_shut(nft: Nft, queue: int) -> None:
    table.load(nft, EMPTY, MASK)
    queue_rules.attach(nft, queue)
    assert loaded().queue == queue
    queue_rules.attach(nft, QUEUE)
    queue_rules.attach(nft, QUEUE)
    assert loaded().queue == QUEUE
    queue_rules.detach(nft)
    queue_rules.detach(nft)
    assert loaded().queue is None
    assert [rule for rule in loaded().rules if rule.chain in ("to_stunwalld", "output_to_stunwalld")] == []


def test_an_open_door_without_a_listener_drops(nft: Nft, way: Way) -> None:
    table.load(nft, replace(EMPTY, families=frozenset({4, 6})), MASK)
    for server in (SERVER4, SERVER6):
        assert not way.passes(server)
        queue_rules.attach(nft, QUEUE)
        assert not way.passes(server)
        assert way.passes(server, payload=b"no STUN")
        queue_rules.detach(nft)
        assert not way.passes(server)


def test_loading_shuts_the_door_and_filling_leaves_it(nft: Nft) -> None:
    table.load(nft, EMPTY, MASK)
    queue_rules.attach(nft, QUEUE)
    table.fill(nft, replace(FULL, redirect=False, bound_tcp=False, allow=()), MASK, EMPTY)
    assert loaded().queue == QUEUE
    table.load(nft, FULL, MASK)
    assert loaded().queue is None


@pytest.mark.parametrize("addresses", [(), ("10.9.8.7",), ("fd00::7",)])
def test_without_a_listener_a_connection_passes_and_only_those_around_a_vpn_are_handed_over(
    nft: Nft, way: Way, addresses: tuple[str, ...]
) -> None:
    own = [ip_address(each) for each in addresses]
    carrying = replace(EMPTY, bound_tcp=True, addresses=frozenset(("wg0", each) for each in own))
    table.load(nft, carrying, MASK)
    queue_rules.attach(nft, QUEUE, {Addition.BOUND_TCP})
    asked = f"handshakes: to stunwalld on queue {QUEUE}"
    for version, family, server in ((4, socket.AF_INET, SERVER4), (6, socket.AF_INET6, SERVER6)):
        with socket.socket(family, socket.SOCK_STREAM) as opening:
            opening.setblocking(False)
            with suppress(BlockingIOError):
                opening.connect((server, 443))
            way.wait_for(struct.pack("!HH", opening.getsockname()[1], 443))
        assert counted(asked) == (version in [each.version for each in own])
        queue_rules.attach(nft, QUEUE, {Addition.BOUND_TCP})

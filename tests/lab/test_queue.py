"""The packet queue: no packet stops the daemon or blocks the queue, and what the kernel drops is counted."""

import json
import os
import random
import signal
from contextlib import ExitStack, suppress
from functools import partial
from socket import AF_INET, SOCK_DGRAM
from typing import Any

import pytest

from lab.addresses import CLIENT, COTURN, FAMILIES, STUN_SERVER, VPN_SERVER, family_name
from lab.agent import QUEUE_CHAIN, Agent
from lab.deadline import until
from lab.leaks import CONTAINER, DEVICE
from lab.messages import (
    BINDING_REQUEST,
    COOKIE,
    SOFTWARE,
    attribute,
    binding_request,
    message,
    new_transaction,
)
from lab.observe import LIMITS, address_seen, events, status, wait_event
from lab.probe import DEVICE_BOUND, connect, send
from lab.redirected import refused
from lab.samples import STUN
from lab.topology import Lab
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn")

SERVER = COTURN[AF_INET]


def recorded(agent: Agent) -> int:
    """How many packets are in the record."""
    return sum(event["count"] for event in events(agent))


def has_recorded(agent: Agent, packets: int) -> bool:
    return recorded(agent) == packets


def queued(lab: Lab) -> int:
    """How many packets the rules have sent to the queue."""
    chain = lab.client.run("nft", "-j", "list", "chain", "inet", "stunwall", QUEUE_CHAIN).stdout
    listing = json.loads(chain)
    expressions = [e for item in listing["nftables"] if "rule" in item for e in item["rule"]["expr"]]
    return sum(int(e["counter"]["packets"]) for e in expressions if "counter" in e)


def over_limits(daemon: dict[str, Any]) -> int:
    """How many packets the rules have dropped because they were too many."""
    return sum(daemon["counters"][name] for name in LIMITS)


# By the counter.
TOLD = {
    "over_flow_limit": "repeats of a request that got no answer",
    "over_socket_limit": "too many from one socket",
    "over_sender_limit": "too many from one user or machine",
    "over_limit": "too many at once",
}


def test_malformed_messages_with_the_cookie_are_blocked_and_do_not_stop_the_daemon(lab: Lab) -> None:
    dice = random.Random(5769)
    plain = [s for s in STUN if s.kind == SOCK_DGRAM and s.make(new_transaction())[4:8] == COOKIE]
    with Agent(lab) as agent, Wire(lab) as wire:
        for _ in range(280):  # the rules queue up to 300 at once, but few from one socket
            message = bytearray(dice.choice(plain).make(new_transaction()))
            for _ in range(dice.randrange(8)):
                place = dice.randrange(len(message))
                message[place] = dice.randrange(256)
            message[0] &= 0x3F
            message[4:8] = COOKIE
            with connect(lab.client, SERVER, DEVICE_BOUND) as sock:
                send(sock, bytes(message[: dice.randrange(8, len(message) + 1)]))
        assert not wire.stun()
        said = status(agent)
        daemon = said["daemon"]
        assert (daemon["faults"], daemon["unreadable"], said["problems"]) == (0, 0, [])
        assert address_seen(lab) == VPN_SERVER[AF_INET]


def test_flood_is_dropped_in_the_kernel_and_counted_while_other_packets_pass(lab: Lab) -> None:
    packets = 20_000
    with Agent(lab) as agent, Wire(lab) as wire:
        with connect(lab.client, SERVER, DEVICE_BOUND) as sock:
            for _ in range(packets):
                send(sock, binding_request())
            assert address_seen(lab) == VPN_SERVER[AF_INET]
        assert not wire.stun()
        said = status(agent)
        dropped = over_limits(said["daemon"])
        assert dropped > 0
        # While stunwalld gets no processor, what got no answer is repeated; else the socket's limit is met.
        told = {name for name, words in TOLD.items() if any(words in problem for problem in said["problems"])}
        assert told == {name for name in LIMITS if said["daemon"]["counters"][name]}
        assert told <= {"over_flow_limit", "over_socket_limit"}
        until(lambda: recorded(agent) + dropped == packets, 5, "each packet in the record or the counter")


def test_packets_that_the_queue_cannot_hold_are_counted(lab: Lab) -> None:
    sent = 0
    with Agent(lab) as agent, Wire(lab) as wire:
        os.kill(agent.pid, signal.SIGSTOP)
        while queued(lab) < 1500:  # the queue holds 1024
            for _ in range(BATCH):
                with connect(lab.client, SERVER, DEVICE_BOUND) as sock:
                    send(sock, binding_request())
                sent += 1
        os.kill(agent.pid, signal.SIGCONT)
        assert not wire.stun()
        daemon = status(agent)["daemon"]
        assert daemon["queue_overruns"] > 0
        dropped = daemon["queue_overruns"] + over_limits(daemon)
        until(lambda: recorded(agent) + dropped == sent, 5, "each packet in the record or a counter")


def test_a_packet_that_comes_together_with_a_change_of_the_network_is_recorded(lab: Lab) -> None:
    """Also if nothing else happens afterwards: what is recorded of a packet waits a moment for the next one."""
    rules = [f"uidrange 65534-65534 lookup main pref {900 + number}" for number in range(5)]
    with Agent(lab) as agent, ExitStack() as made:
        for sent, rule in enumerate(rules, start=1):
            os.kill(agent.pid, signal.SIGSTOP)
            with connect(lab.client, SERVER, DEVICE_BOUND) as sock:
                send(sock, binding_request())
                lab.client.ip(f"rule add {rule}")
                made.callback(lab.client.ip, f"rule del {rule}")
                os.kill(agent.pid, signal.SIGCONT)
                until(partial(has_recorded, agent, sent), 5, "the packet in the record")


LARGE = 8000  # bytes of a datagram's payload
PACKETS = 1400  # the queue holds 1024
BATCH = 50

# With any mark, the kernel's message about a packet has one attribute more.
MARKING = """
    chain forward {
        type filter hook forward priority mangle
        iifname "box0" meta mark set 0x1
    }
"""


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_large_marked_packets_from_a_container_do_not_block_the_queue(lab: Lab, family: int) -> None:
    """A packet that does not fit into the daemon's receive buffer would get no verdict and keep its place for good.

    The client's connection tracking reassembles the fragments, so that each datagram is queued as one packet.
    """
    large = message(BINDING_REQUEST, attribute(SOFTWARE, bytes(LARGE)))
    with (
        CONTAINER.made(lab, family),
        lab.client.table("inet lab_marking", MARKING),
        Agent(lab) as agent,
        Wire(lab) as wire,
    ):
        sent = 0
        # The rules drop what exceeds a limit before it is queued: few packets of one socket get that far.
        while queued(lab) < PACKETS:
            assert sent < 20 * PACKETS, "the packets do not reach the queue"
            for _ in range(BATCH):
                with connect(lab.box, COTURN[family]) as sock:
                    send(sock, large)
            sent += BATCH
        with suppress(TimeoutError):
            until(lab.queues_empty, 5, "a verdict for every packet")
        assert lab.packets_waiting() == 0
        # The rate limit may still drop the first requests.
        until(
            lambda: refused(DEVICE.ask(lab, family, SOCK_DGRAM, binding_request())), 5, "the daemon's refusal"
        )
        wait_event(agent, source=CLIENT[family], destination=STUN_SERVER[family])
        assert not wire.stun()

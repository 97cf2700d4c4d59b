"""The packet queue: no packet stops the daemon or blocks the queue, and what the kernel drops is counted."""

import json
import os
import random
import signal
from socket import AF_INET, SOCK_DGRAM

import pytest

from lab.addresses import COTURN, VPN_SERVER
from lab.agent import QUEUE_CHAIN, Agent
from lab.deadline import until
from lab.messages import COOKIE, binding_request, new_transaction
from lab.observe import address_seen, events, status
from lab.probe import DEVICE_BOUND, connect, send
from lab.samples import STUN
from lab.topology import Lab
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn")

SERVER = COTURN[AF_INET]


def recorded(agent: Agent) -> int:
    """How many packets are in the record."""
    return sum(event["count"] for event in events(agent))


def queued(lab: Lab) -> int:
    """How many packets the rules have sent to the queue."""
    chain = lab.client.run("nft", "-j", "list", "chain", "inet", "stunwall", QUEUE_CHAIN).stdout
    listing = json.loads(chain)
    expressions = [e for item in listing["nftables"] if "rule" in item for e in item["rule"]["expr"]]
    return sum(int(e["counter"]["packets"]) for e in expressions if "counter" in e)


def test_malformed_messages_with_the_cookie_are_blocked_and_do_not_stop_the_daemon(lab: Lab) -> None:
    dice = random.Random(5769)
    plain = [s for s in STUN if s.kind == SOCK_DGRAM and s.make(new_transaction())[4:8] == COOKIE]
    with Agent(lab) as agent, Wire(lab) as wire, connect(lab.client, SERVER, DEVICE_BOUND) as sock:
        for _ in range(450):  # the rules queue up to 500 at once
            message = bytearray(dice.choice(plain).make(new_transaction()))
            for _ in range(dice.randrange(8)):
                place = dice.randrange(len(message))
                message[place] = dice.randrange(256)
            message[0] &= 0x3F
            message[4:8] = COOKIE
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
            assert address_seen(lab, seconds=1) == VPN_SERVER[AF_INET]
        assert not wire.stun()
        said = status(agent)
        dropped = said["daemon"]["counters"]["over_limit"]
        assert dropped > 0
        assert any("too many at once" in problem for problem in said["problems"])
        until(lambda: recorded(agent) + dropped == packets, 5, "each packet in the record or the counter")


def test_packets_that_the_queue_cannot_hold_are_counted(lab: Lab) -> None:
    sent = 0
    with Agent(lab) as agent, Wire(lab) as wire:
        os.kill(agent.pid, signal.SIGSTOP)
        while queued(lab) < 1500:  # the queue holds 1024
            # Packets that wait fill their socket's buffer, so each hundred has a socket of its own.
            with connect(lab.client, SERVER, DEVICE_BOUND) as sock:
                for _ in range(100):
                    send(sock, binding_request())
            sent += 100
        os.kill(agent.pid, signal.SIGCONT)
        assert not wire.stun()
        daemon = status(agent)["daemon"]
        assert daemon["queue_overruns"] > 0
        dropped = daemon["queue_overruns"] + daemon["counters"]["over_limit"]
        until(lambda: recorded(agent) + dropped == sent, 5, "each packet in the record or a counter")

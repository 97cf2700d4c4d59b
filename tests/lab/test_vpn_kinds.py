"""Each kind of VPN is known when it is up: its STUN passes, what bypasses it doesn't (SECURITY.md)."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET
from typing import Any

import pytest

from lab.addresses import (
    ECHO_SERVER,
    FAMILIES,
    PHYSICAL,
    REAL,
    STUN_PORT,
    STUN_SERVER,
    VPN,
    VPN_PORT,
    VPN_SERVER,
)
from lab.agent import Agent
from lab.deadline import until
from lab.kinds import DEVICE_BOUND, KINDS, Kind
from lab.messages import binding_request, new_transaction
from lab.observe import NOTICED, address_seen, events, json_of, leaves, wait_event, wait_passes
from lab.probe import ask, connect, send
from lab.topology import Lab
from lab.tunnel import INTERFACE, Proxy, Routing
from lab.wire import Wire


def standing(agent: Agent, interface: str) -> dict[str, Any]:
    """What `stunwall vpn --json` says of an interface; it must be listed once."""
    listed = json_of(agent, "vpn")
    (found,) = (entry for entry in listed if entry["interface"] == interface)
    assert set(found) == {"interface", "kind", "counts", "why"}
    assert found["why"]
    return dict(found)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_vpn_comes_up_while_sealed_and_only_stun_around_it_is_blocked(lab: Lab, kind: Kind) -> None:
    ways = kind.ways_around()
    with kind.made(lab) as vpn:
        vpn.up()
        for way in ways:
            assert leaves(lab, *way), f"the wire doesn't show {way}, so it proves nothing below"
        vpn.down()
        with Agent(lab, interfaces=kind.names) as agent:
            assert address_seen(lab) is None
            vpn.up()
            for family in FAMILIES:
                wait_passes(lab, family)
            for family in FAMILIES:
                for transport in kind.transports:
                    assert address_seen(lab, family, kind=transport) == VPN_SERVER[family]
            for way in ways:
                assert not leaves(lab, *way), way
            assert standing(agent, kind.interface)["counts"]
            assert not standing(agent, PHYSICAL)["counts"]
            assert not standing(agent, "lo")["counts"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_vpns_own_packets_are_not_in_the_record(lab: Lab, kind: Kind) -> None:
    with kind.made(lab) as vpn, Agent(lab, interfaces=kind.names) as agent:
        vpn.up()
        wait_passes(lab)
        assert address_seen(lab, binding=DEVICE_BOUND) is None
        wait_event(agent, destination=STUN_SERVER[AF_INET], interface=PHYSICAL)
        assert not [event for event in events(agent) if event["destination"] == VPN_SERVER[AF_INET]]


# WireGuard's own packets


def test_stun_headers_pass_to_the_vpn_servers_address_and_port_and_to_no_other(lab: Lab) -> None:
    """As AmneziaWG's decoys: they look like STUN, and go where the VPN's packets go."""
    lab.vpn.up(ipv6=True)
    server = VPN_SERVER[AF_INET]
    others = ((server, VPN_PORT + 1), (server, STUN_PORT), (ECHO_SERVER[AF_INET], VPN_PORT))
    for target in ((server, VPN_PORT), *others):
        assert decoy_leaves(lab, target), "the wire doesn't show it, so it proves nothing below"
    with Agent(lab):
        until(
            lambda: decoy_leaves(lab, (server, VPN_PORT)), NOTICED, "a decoy on its way to the VPN's server"
        )
        for target in others:
            assert not decoy_leaves(lab, target), target


def decoy_leaves(lab: Lab, target: tuple[str, int]) -> bool:
    """Whether the wire shows a STUN message to `target`, sent around the VPN."""
    transaction = new_transaction()
    with Wire(lab) as wire:
        with connect(lab.client, target, DEVICE_BOUND) as sock:
            send(sock, binding_request(transaction))
        wire.settle()
        return any(transaction in packet.payload for packet in wire.packets())


def test_wireguard_carries_data_in_both_directions_while_decoys_are_sent(lab: Lab) -> None:
    lab.vpn.up()
    with Agent(lab), connect(lab.client, (VPN_SERVER[AF_INET], VPN_PORT), DEVICE_BOUND) as decoys:
        for _ in range(20):
            send(decoys, binding_request())
            assert address_seen(lab) == VPN_SERVER[AF_INET]
            payload = os.urandom(900)
            assert ask(lab.client, (ECHO_SERVER[AF_INET], 50001), payload) == payload


# What isn't a VPN until it is named


@contextmanager
def second_line(lab: Lab, port: str, make: str) -> Iterator[None]:
    """Another cable to the provider, which carries the default route by an interface named `port`.

    `make` are `ip` commands that make it out of the cable's end, eth9.
    """
    lab.client.ip(f"""
        link add eth9 type veth peer name home9 netns isp
        {make.strip()}
        link set eth9 up
        link set {port} up
        addr add 192.168.9.2/24 dev {port}
    """)
    try:
        lab.isp.ip("addr add 192.168.9.1/24 dev home9\nlink set home9 up")
        lab.client.ip(f"""
            route add 0.0.0.0/1 via 192.168.9.1 dev {port}
            route add 128.0.0.0/1 via 192.168.9.1 dev {port}
        """)
        yield
    finally:
        lab.client.ip(f"link del {port}\n" + ("link del eth9" if port != "eth9" else ""))


LINES = [
    pytest.param("eth9", "", "veth", id="veth"),
    pytest.param("br9", "link add br9 type bridge\nlink set eth9 master br9", "bridge", id="bridge"),
    pytest.param("mv9", "link add mv9 link eth9 type macvlan mode bridge", "macvlan", id="macvlan"),
]


@pytest.mark.parametrize(("port", "make", "kind"), LINES)
def test_interface_that_carries_the_default_route_counts_only_when_named(
    lab: Lab, port: str, make: str, kind: str
) -> None:
    lab.vpn.down()
    with second_line(lab, port, make):
        with Wire(lab) as wire:
            assert address_seen(lab) == REAL[AF_INET]
            assert not wire.stun(), "it left by the first line"
        with Agent(lab) as agent:
            assert address_seen(lab) is None
            entry = standing(agent, port)
            assert (entry["kind"], entry["counts"]) == (kind, False)
        with Agent(lab, interfaces=[f"{port[:-1]}*"]) as agent:
            assert address_seen(lab) == REAL[AF_INET]
            assert standing(agent, port)["counts"]


@pytest.mark.parametrize("mode", ["tap", "tun"])
def test_device_without_a_program_behind_it_does_not_count(lab: Lab, mode: str) -> None:
    lab.vpn.down()
    lab.client.ip(f"""
        tuntap add dev dev9 mode {mode}
        addr add 10.99.0.1/24 dev dev9
        link set dev9 up
        route add default dev dev9 metric 1
    """)
    try:
        with Agent(lab) as agent:
            assert not standing(agent, "dev9")["counts"]
    finally:
        lab.client.ip(f"tuntap del dev dev9 mode {mode}")


def test_tun_without_a_default_route_counts_from_when_it_gets_one_until_it_loses_it(lab: Lab) -> None:
    """As Tailscale: a table of its own for its own addresses, and a default route only with an exit node."""
    rules = ("lookup 52 pref 5270",)
    lab.vpn.down()
    proxy = Proxy(lab.client, lab.server)
    try:
        proxy.up(Routing("tailscale", dict.fromkeys(FAMILIES, rules)))
        lab.client.ip(f"route add 100.64.0.0/10 dev {INTERFACE} table 52")
        lab.client.ip(f"route add {VPN_SERVER[AF_INET]} via 192.168.1.1 table 52")
        with Agent(lab) as agent:
            assert not standing(agent, INTERFACE)["counts"]
            assert address_seen(lab) is None
            for _ in range(2):
                lab.client.ip(f"route add default dev {INTERFACE} table 52")
                wait_passes(lab)
                assert standing(agent, INTERFACE)["counts"]
                lab.client.ip(f"route del default dev {INTERFACE} table 52")
                until(
                    lambda: not standing(agent, INTERFACE)["counts"], NOTICED, "the tun not to count any more"
                )
                assert address_seen(lab) is None
    finally:
        proxy.close()


def test_every_interface_of_the_machine_is_listed_with_a_reason(lab: Lab) -> None:
    lab.vpn.up()
    with Agent(lab) as agent:
        listed = json_of(agent, "vpn")
        there = json.loads(lab.client.run("ip", "-json", "link").stdout)
        assert sorted(entry["interface"] for entry in listed) == sorted(link["ifname"] for link in there)
        printed = agent.cli("vpn").stdout
        for entry in listed:
            assert entry["interface"] in printed
            assert entry["why"]
        assert [entry["interface"] for entry in listed if entry["counts"]] == [VPN]

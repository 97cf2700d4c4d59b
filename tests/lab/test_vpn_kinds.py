"""Each kind of VPN is recognised while it is up: its STUN passes, and STUN that bypasses it doesn't (SECURITY.md)."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET
from typing import Any

import pytest

from lab.addresses import (
    COTURN,
    ECHO_SERVER,
    FAMILIES,
    NOBODY,
    PHYSICAL,
    REAL,
    ROUTER,
    STUN_PORT,
    STUN_SERVER,
    VPN,
    VPN_PORT,
    VPN_SERVER,
    both,
)
from lab.agent import Agent
from lab.deadline import until
from lab.kinds import KINDS, Kind
from lab.messages import binding_request, new_transaction
from lab.observe import NO_LEAK, NOTICED, address_seen, events, json_of, leaves, wait_event, wait_passes
from lab.probe import DEVICE_BOUND, Binding, ask, connect, send
from lab.topology import Lab
from lab.tunnel import INTERFACE, Routing, proxy
from lab.wire import Wire


def shown(agent: Agent, interface: str) -> dict[str, Any]:
    """What `stunwall vpn --json` says about an interface, which must be listed once."""
    listed = json_of(agent, "vpn")
    (found,) = (entry for entry in listed if entry["interface"] == interface)
    assert set(found) == {"interface", "kind", "counts", "why", "inside", "doubt"}
    assert found["why"]
    return dict(found)


def bypasses(lab: Lab, family: int, binding: Binding, transport: int) -> bool:
    """Whether a Binding Request over such a socket leaves outside the VPN."""
    return leaves(lab, family, lambda request: ask(lab.client, COTURN[family], request, binding, transport))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_stun_passes_once_the_vpn_is_up_and_stun_that_bypasses_it_is_blocked(lab: Lab, kind: Kind) -> None:
    ways = kind.bypasses()
    with kind.made(lab) as connection:
        connection.up()
        for way in ways:
            assert bypasses(lab, *way), f"{way}: {NO_LEAK}"
        connection.down()
        with Agent(lab, interfaces=kind.names) as agent:
            assert address_seen(lab, seconds=0.5) is None
            connection.up()
            for family in FAMILIES:
                wait_passes(lab, family)
            for family in FAMILIES:
                for transport in kind.transports:
                    assert address_seen(lab, family, kind=transport) == VPN_SERVER[family]
            for way in ways:
                assert not bypasses(lab, *way), way
            assert shown(agent, kind.interface)["counts"]
            assert not shown(agent, PHYSICAL)["counts"]
            assert not shown(agent, "lo")["counts"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_vpns_own_packets_are_not_recorded(lab: Lab, kind: Kind) -> None:
    with kind.made(lab) as connection, Agent(lab, interfaces=kind.names) as agent:
        connection.up()
        wait_passes(lab)
        assert address_seen(lab, binding=DEVICE_BOUND, seconds=0.5) is None
        wait_event(agent, destination=STUN_SERVER[AF_INET], interface=PHYSICAL)
        assert not [event for event in events(agent) if event["destination"] == VPN_SERVER[AF_INET]]


# WireGuard's own packets


def test_decoys_pass_to_the_vpn_servers_address_and_port_only_and_not_of_users(lab: Lab) -> None:
    """AmneziaWG's decoys may look like STUN, and go where the VPN's packets go, as root."""
    lab.vpn.up(ipv6=True)
    server = VPN_SERVER[AF_INET]
    others = ((server, VPN_PORT + 1), (server, STUN_PORT), (ECHO_SERVER[AF_INET], VPN_PORT))
    for target in ((server, VPN_PORT), *others):
        assert decoy_leaves(lab, target), NO_LEAK
    assert decoy_leaves(lab, (server, VPN_PORT), A_USERS), NO_LEAK
    with Agent(lab):
        until(lambda: decoy_leaves(lab, (server, VPN_PORT)), NOTICED, "a decoy to the VPN's server to pass")
        for target in others:
            assert not decoy_leaves(lab, target), target
        assert not decoy_leaves(lab, (server, VPN_PORT), A_USERS)


A_USERS = Binding(device=PHYSICAL, owner=NOBODY)


def decoy_leaves(lab: Lab, target: tuple[str, int], binding: Binding = DEVICE_BOUND) -> bool:
    """Whether the wire shows a STUN message to `target` that bypasses the VPN."""
    transaction = new_transaction()
    with Wire(lab) as wire:
        with connect(lab.client, target, binding) as sock:
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


# Interfaces that are no VPN until the configuration names them


@contextmanager
def second_line(lab: Lab, port: str, make: str) -> Iterator[None]:
    """A second cable to the provider, with the default route through the client's interface `port`.

    `make` has the `ip` commands that make `port` from eth9, the client's end of the cable.
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
    pytest.param(
        "us+ny=$9", "link add us+ny=$9 link eth9 type macvlan mode bridge", "macvlan", id="odd name"
    ),
]


@pytest.mark.parametrize(("port", "make", "kind"), LINES)
def test_interface_that_carries_the_default_route_counts_only_when_named(
    lab: Lab, port: str, make: str, kind: str
) -> None:
    lab.vpn.down()
    with second_line(lab, port, make):
        with Wire(lab) as wire:
            assert address_seen(lab) == REAL[AF_INET]
            assert not wire.stun(), "it left by the first cable"
        with Agent(lab) as agent:
            assert address_seen(lab, seconds=0.5) is None
            entry = shown(agent, port)
            assert (entry["kind"], entry["counts"]) == (kind, False)
            assert not shown(agent, "eth9")["inside"]
        with Agent(lab, interfaces=[f"{port[:-1]}*"]) as agent:
            assert address_seen(lab) == REAL[AF_INET]
            assert shown(agent, port)["counts"]


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
            assert not shown(agent, "dev9")["counts"]
    finally:
        lab.client.ip(f"tuntap del dev dev9 mode {mode}")


def test_tun_counts_while_a_default_route_leads_to_it(lab: Lab) -> None:
    """Like Tailscale, which has a table for its own addresses, and a default route only with an exit node."""
    routing = Routing("tailscale", both(("lookup 52 pref 5270",)))
    lab.vpn.down()
    with proxy(lab, routing):
        lab.client.ip(f"route add 100.64.0.0/10 dev {INTERFACE} table 52")
        lab.client.ip(f"route add {VPN_SERVER[AF_INET]} via {ROUTER[AF_INET]} table 52")
        with Agent(lab) as agent:
            assert not shown(agent, INTERFACE)["counts"]
            assert address_seen(lab, seconds=0.5) is None
            for _ in range(2):
                lab.client.ip(f"route add default dev {INTERFACE} table 52")
                wait_passes(lab)
                assert shown(agent, INTERFACE)["counts"]
                lab.client.ip(f"route del default dev {INTERFACE} table 52")
                until(lambda: not shown(agent, INTERFACE)["counts"], NOTICED, "the tun to stop counting")
                assert address_seen(lab, seconds=0.5) is None


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

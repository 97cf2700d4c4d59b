"""Which interfaces lead only to machines behind this one, and which never do."""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from socket import AF_INET, SOCK_DGRAM

import pytest

from lab.addresses import BOX, COTURN, FAMILIES, ROUTER, VPN
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import CONTAINER, route_via_box
from lab.messages import REFUSED, binding_request, error_code, reflexive_address, transaction_of
from lab.namespace import Namespace
from lab.observe import NO_LEAK, NOTICED, json_of
from lab.probe import ANSWER_SECONDS, DEVICE_BOUND, ask, connect, send
from lab.responder import Responder
from lab.topology import Lab, namespace
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn")

PORT = 10000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h
MACHINE = "10.66.0.2"


def inside(agent: Agent) -> set[str]:
    """The interfaces that are inside, as `stunwall vpn` says."""
    return {entry["interface"] for entry in json_of(agent, "vpn") if entry["inside"]}


def answers(source: Namespace, address: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether a STUN server at `address` answers a request from `source`."""
    return reflexive_address(ask(source, (address, PORT), binding_request(), seconds=seconds)) is not None


# Virtual machines


class Machine:
    """A virtual machine's network card, as far as the client sees it: a tap device, and the frames that come out."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._frames: list[bytes] = []
        self._descriptor = lab.client.call(partial(os.open, "/dev/net/tun", os.O_RDWR | os.O_NONBLOCK))
        request = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI)
        lab.client.call(lambda: fcntl.ioctl(self._descriptor, TUNSETIFF, request))
        lab.client.ip(f"link set {name} up")

    def heard(self, needle: bytes) -> bool:
        """Whether a frame with these bytes has come out of it so far."""
        with suppress(BlockingIOError):
            while True:
                self._frames.append(os.read(self._descriptor, 65536))
        return any(needle in frame for frame in self._frames)

    def close(self) -> None:
        os.close(self._descriptor)


@contextmanager
def machine(lab: Lab, bridge: str) -> Iterator[Machine]:
    """A virtual machine at MACHINE on its own tap device, or on a port of `bridge`."""
    if bridge:
        lab.client.ip(f"link add {bridge} type bridge")
    tap = Machine(lab, "vnet0")
    device = bridge or "vnet0"
    try:
        if bridge:
            lab.client.ip(f"link set vnet0 master {bridge}\nlink set {bridge} up")
        lab.client.ip(f"""
            addr add 10.66.0.1/24 dev {device}
            neighbour add {MACHINE} lladdr 02:00:00:00:00:02 dev {device}
        """)
        yield tap
    finally:
        tap.close()
        if bridge:
            lab.client.ip(f"link del {bridge}")


@pytest.mark.parametrize("bridge", ["", "virbr0"], ids=["tap", "bridge"])
def test_stun_to_a_virtual_machine_reaches_it_unless_its_interface_leads_out(lab: Lab, bridge: str) -> None:
    def reaches() -> bool:
        request, marker = binding_request(), b"marker " + os.urandom(8)
        with connect(lab.client, (MACHINE, PORT)) as sock:
            send(sock, request)
            sock.send(marker)
        until(lambda: tap.heard(marker), 5, "what is not STUN at the machine")
        return tap.heard(transaction_of(request))

    with machine(lab, bridge) as tap:
        device = bridge or "vnet0"
        with Agent(lab) as agent:
            until(lambda: inside(agent) >= {"vnet0", device}, NOTICED, "the machine's interface to be inside")
            assert reaches()
            agent.kill()
            assert reaches()
        lab.client.ip(f"route add 10.50.0.0/16 via {MACHINE} dev {device}")
        with Agent(lab) as agent:
            assert inside(agent) == {"box0"}
            assert not reaches()


def test_a_virtual_machine_that_has_the_default_route_is_neither_inside_nor_the_vpn(lab: Lab) -> None:
    lab.vpn.down()
    with machine(lab, "") as tap:
        for half in ("0.0.0.0/1", "128.0.0.0/1"):
            lab.client.ip(f"route add {half} via {MACHINE} dev vnet0")

        def leaves() -> bool:
            request, marker = binding_request(), b"marker " + os.urandom(8)
            with connect(lab.client, COTURN[AF_INET]) as sock:
                send(sock, request)
                sock.send(marker)
            until(lambda: tap.heard(marker), 5, "what is not STUN at the machine")
            return tap.heard(transaction_of(request))

        with Agent(lab) as agent:
            (entry,) = (each for each in json_of(agent, "vpn") if each["interface"] == "vnet0")
            assert not entry["counts"]
            assert not entry["inside"]
            assert not leaves()
        assert leaves(), NO_LEAK


# Bridges


@contextmanager
def two_on_a_bridge(lab: Lab) -> Iterator[tuple[Namespace, Namespace]]:
    """Two containers on one bridge of the client, whose packets pass nftables' inet hooks (br_netfilter)."""
    with ExitStack() as stack:
        one, other = namespace(stack, "one"), namespace(stack, "other")
        lab.client.ip("link add br7 type bridge\naddr add 10.77.7.1/24 dev br7\nlink set br7 up")
        stack.callback(lab.client.ip, "link del br7")
        for word in ("iptables", "ip6tables"):
            lab.client.sysctl(f"bridge/bridge-nf-call-{word}", 1)
            stack.callback(lab.client.sysctl, f"bridge/bridge-nf-call-{word}", 0)
        for number, box in ((2, one), (3, other)):
            lab.client.ip(f"link add port{number} type veth peer name eth0 netns {box.name}")
            lab.client.ip(f"link set port{number} master br7 up")
            box.ip(f"""
                addr add 10.77.7.{number}/24 dev eth0
                addr add fd77::{number}/64 dev eth0 nodad
                link set eth0 up
            """)
        yield one, other


@pytest.mark.parametrize("address", ["10.77.7.3", "fd77::3"], ids=["IPv4", "IPv6"])
def test_stun_between_containers_on_one_bridge_passes_unless_the_bridge_leads_out(
    lab: Lab, address: str
) -> None:
    with two_on_a_bridge(lab) as (one, other), Responder(other, PORT, address):
        until(lambda: answers(one, address), 5, "the other container's answer without stunwall")
        with Agent(lab) as agent:
            until(lambda: inside(agent) >= {"br7", "port2", "port3"}, NOTICED, "the bridge to be inside")
            assert answers(one, address)
            agent.kill()
            assert answers(one, address)
        lab.client.ip("route add 10.50.0.0/16 via 10.77.7.2 dev br7")
        with Agent(lab) as agent:
            assert inside(agent) == {"box0"}
            assert not answers(one, address, 1)


# Gateways


def test_a_gateways_lan_side_is_inside_once_it_is_named(lab: Lab) -> None:
    """Its machines are reached and answered; otherwise they are only blocked, as strangers would be."""
    for named in (False, True):
        for family in FAMILIES:
            with ExitStack() as stack:
                stack.enter_context(route_via_box(lab))
                stack.enter_context(CONTAINER.made(lab, family))
                stack.enter_context(Responder(lab.box, PORT, BOX[family]))
                agent = stack.enter_context(Agent(lab, inside=["box*"] if named else []))
                wire = stack.enter_context(Wire(lab))
                assert inside(agent) == ({"box0"} if named else set())
                wait = ANSWER_SECONDS if named else 1
                assert answers(lab.client, BOX[family], wait) == named
                reply = CONTAINER.ask(lab, family, SOCK_DGRAM, binding_request(), wait)
                assert (error_code(reply) == REFUSED) == named
                assert named or reply is None
                assert not wire.stun()


def test_an_interface_cannot_be_both_the_vpn_and_inside(lab: Lab) -> None:
    agent = Agent(lab, interfaces=["wg*"], inside=[VPN])
    try:
        done = agent.cli("config", "check")
        assert done.returncode == 3
        assert "'wgc' in inside and 'wg*' in interfaces" in done.stderr
    finally:
        agent.close()


# What leads out


@contextmanager
def without_default_routes(lab: Lab) -> Iterator[None]:
    """The client's physical interface, which is a veth, has only its addresses."""
    for family in FAMILIES:
        lab.client.ip("route del default", family)
    try:
        yield
    finally:
        lab.client.ip("route add default via 192.168.1.1\nroute add ::/0 via 2001:db8:1::1")


def ask_routers(lab: Lab) -> None:
    """Requests to the provider's router, which needs no route but that of the link."""
    for family in FAMILIES:
        ask(lab.client, (ROUTER[family], PORT), binding_request(), DEVICE_BOUND, seconds=0.1)


def test_the_way_out_stays_outside_when_its_routes_go(lab: Lab) -> None:
    with Wire(lab) as wire:
        with without_default_routes(lab):
            ask_routers(lab)
        assert wire.stun(), NO_LEAK
    with Agent(lab) as agent, Wire(lab) as wire:
        for _ in range(3):
            ask_routers(lab)
            with without_default_routes(lab):
                assert inside(agent) == {"box0"}
                ask_routers(lab)
        assert inside(agent) == {"box0"}
        assert not wire.stun()


def test_a_daemon_that_starts_without_any_route_takes_nothing_for_inside(lab: Lab) -> None:
    """As in a container whose only interface, a veth, is not set up yet."""
    with ExitStack() as stack:
        wire = stack.enter_context(Wire(lab))
        with without_default_routes(lab):
            agent = stack.enter_context(Agent(lab))
            assert inside(agent) == set()
            ask_routers(lab)
        until(lambda: inside(agent) == {"box0"}, NOTICED, "the way out to be known")
        ask_routers(lab)
        assert not wire.stun()


def test_an_address_with_a_lifetime_shows_that_an_interface_leads_out(lab: Lab) -> None:
    with Responder(lab.box, PORT, BOX[AF_INET]), Agent(lab) as agent:
        until(lambda: inside(agent) == {"box0"}, NOTICED, "the container's interface to be inside")
        assert answers(lab.client, BOX[AF_INET])
        lab.client.ip("addr add 10.66.1.1/24 dev box0 valid_lft 1000 preferred_lft 1000")
        try:
            until(lambda: inside(agent) == set(), NOTICED, "the interface to lead out")
            assert not answers(lab.client, BOX[AF_INET], 1)
        finally:
            lab.client.ip("addr del 10.66.1.1/24 dev box0")
        assert not answers(lab.client, BOX[AF_INET], 1)

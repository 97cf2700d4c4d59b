"""Machines behind this one: STUN to them passes, what they send is judged, and no stranger is ever answered."""

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from socket import AF_INET, AF_INET6, IPPROTO_RAW, IPPROTO_UDP, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, inet_aton

import pytest

from lab.addresses import (
    BOX,
    CLIENT,
    COTURN,
    FAMILIES,
    PHYSICAL,
    REAL,
    STUN_SERVER,
    TUNNEL,
    VPN,
    family_name,
)
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import CONTAINER, SOURCE_RULE, route_via_box
from lab.messages import (
    REFUSED,
    binding_request,
    error_code,
    reflexive_address,
    transaction_of,
)
from lab.observe import NO_LEAK, NOTICED, json_of, status, wait_event
from lab.probe import ANSWER_SECONDS, DEVICE_BOUND, UNBOUND, ask, connect, send, transport_name
from lab.responder import Responder
from lab.topology import Lab
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn")

SERVED_PORT, CLOSED_PORT, OTHER_PORT = 10000, 10001, 10002
KINDS = (SOCK_DGRAM, SOCK_STREAM)
WAYS = [pytest.param(f, k, id=f"{family_name(f)}-{transport_name(k)}") for f in FAMILIES for k in KINDS]
SPOOFED = "198.51.100.77"  # nobody
EXCEPTION = """
    [[allow]]
    from = "{address}"
    source_port = {port}
    why = "the server that I host"
"""


def inside(agent: Agent) -> set[str]:
    """The interfaces that `stunwall status` says are inside, and `stunwall vpn` too."""
    listed = {entry["interface"] for entry in json_of(agent, "vpn") if entry["inside"]}
    assert {entry["interface"] for entry in status(agent)["inside"]} == listed
    return listed


@contextmanager
def published(lab: Lab, target: dict[int, str]) -> Iterator[None]:
    """The ports are open to strangers, by IPv4 through the provider's NAT and by both through the VPN's server.

    `target`, by family, is where the client sends on what comes in; its own addresses for a service of its own.
    """
    ports = f"{{ {SERVED_PORT}, {CLOSED_PORT} }}"
    forward = "\n".join(
        f"""
        iifname {{ {PHYSICAL}, {VPN} }} meta l4proto {{ udp, tcp }} th dport {ports} dnat {word} to {address}
        """
        for word, address in (("ip", target[AF_INET]), ("ip6", f"{target[AF_INET6]}"))
    )
    provider = f'iifname "wan" meta l4proto {{ udp, tcp }} th dport {ports} dnat to {CLIENT[AF_INET]}'
    with ExitStack() as stack:
        for machine, table, rules in (
            (lab.client, "inet lab_publish", forward),
            (lab.isp, "ip lab_publish", provider),
        ):
            chain = f"chain prerouting {{\ntype nat hook prerouting priority dstnat\n{rules}\n}}"
            stack.enter_context(machine.table(table, chain))
        yield


@contextmanager
def hosting(lab: Lab, *allowed: int, **config: str) -> Iterator[tuple[Responder, Agent]]:
    """A server in the container, with a published port, and stunwalld with an exception for it for these families."""
    with (
        CONTAINER.made(lab, *FAMILIES),
        published(lab, BOX),
        Responder(lab.box, SERVED_PORT, *BOX.values()) as responder,
    ):
        agent = Agent(lab, **config)
        rules = [EXCEPTION.format(address=BOX[family], port=SERVED_PORT) for family in allowed]
        agent.drop_in("50-lab.toml", "\n".join(rules))
        with agent:
            yield responder, agent


def stranger_asks(
    lab: Lab, family: int, kind: int, port: int = SERVED_PORT, seconds: float = ANSWER_SECONDS
) -> bytes | None:
    """What a stranger on the Internet gets for a Binding Request to the client's real address."""
    return ask(lab.stun, (REAL[family], port), binding_request(), UNBOUND, kind, seconds)


def seen_by(responder: Responder, lab: Lab, family: int, kind: int) -> bool:
    """Whether a stranger's request reaches the server; says nothing about the answer."""
    request = binding_request()
    with connect(lab.stun, (REAL[family], SERVED_PORT), UNBOUND, kind) as sock:
        send(sock, request)
        until(lambda: transaction_of(request) in responder.heard, 5, "the stranger's request at the server")
    return True


# To containers


@pytest.mark.parametrize("mode", ["block", "redirect"])
@pytest.mark.parametrize(("family", "kind"), WAYS)
def test_a_container_that_is_asked_by_the_host_answers_itself(
    lab: Lab, family: int, kind: int, mode: str
) -> None:
    with Responder(lab.box, SERVED_PORT, BOX[family]) as responder, Agent(lab, mode=mode) as agent:
        until(lambda: inside(agent) == {"box0"}, NOTICED, "the container's interface to be inside")
        for _ in range(2):
            request = binding_request()
            reply = ask(lab.client, (BOX[family], SERVED_PORT), request, UNBOUND, kind)
            assert reflexive_address(reply) is not None, "the container did not answer"
            assert transaction_of(request) in responder.heard
            agent.kill()  # the second time without stunwalld


@pytest.mark.parametrize(("family", "kind"), WAYS)
def test_the_answer_to_a_request_that_an_exception_let_out_reaches_the_container(
    lab: Lab, family: int, kind: int
) -> None:
    with CONTAINER.made(lab, family):
        with Agent(lab):
            assert error_code(CONTAINER.ask(lab, family, kind, binding_request())) == REFUSED
        agent = Agent(lab)
        agent.drop_in("50-lab.toml", f'[[allow]]\nto = "{STUN_SERVER[family]}"\nwhy = "the lab\'s server"\n')
        with agent:
            assert reflexive_address(CONTAINER.ask(lab, family, kind, binding_request())) == REAL[family]


# Published ports


@pytest.mark.parametrize(("family", "kind"), WAYS)
def test_the_answer_of_a_published_port_leaves_only_with_an_exception(
    lab: Lab, family: int, kind: int
) -> None:
    with CONTAINER.made(lab, family), published(lab, BOX), Responder(lab.box, SERVED_PORT, BOX[family]):
        assert reflexive_address(stranger_asks(lab, family, kind)) is not None, NO_LEAK
    with hosting(lab) as (responder, agent), Wire(lab) as wire:
        assert seen_by(responder, lab, family, kind)
        assert stranger_asks(lab, family, kind, seconds=0.5) is None
        event = wait_event(agent, verdict="blocked", source=BOX[family], source_port=SERVED_PORT)
        assert event["interface"] == PHYSICAL
        agent.kill()
        assert seen_by(responder, lab, family, kind)
        assert not wire.stun()


@pytest.mark.parametrize(("family", "kind"), WAYS)
def test_an_exception_for_a_published_port_opens_that_port_and_nothing_else(
    lab: Lab, family: int, kind: int
) -> None:
    server = COTURN[family]
    with hosting(lab, family) as (_, agent), SOURCE_RULE.made(lab, family):
        for _ in range(2):
            assert reflexive_address(stranger_asks(lab, family, kind)) is not None
            with Wire(lab) as wire:
                local = ask(lab.client, server, binding_request(), SOURCE_RULE.binding[family], kind, 0.5)
                own = ask(lab.box, server, binding_request(), UNBOUND, kind, 0.5)
                assert reflexive_address(local) is None
                assert reflexive_address(own) is None
                assert not wire.stun()
            agent.kill()  # the second time without stunwalld


@pytest.mark.parametrize(("family", "kind"), WAYS)
def test_what_the_vpn_brings_to_a_published_port_is_answered_through_the_vpn(
    lab: Lab, family: int, kind: int
) -> None:
    with published(lab, BOX), Responder(lab.box, SERVED_PORT, BOX[family]), Agent(lab) as agent:
        until(lambda: inside(agent) == {"box0"}, NOTICED, "the container's interface to be inside")
        with Wire(lab) as wire:
            reply = ask(lab.server, (TUNNEL[family], SERVED_PORT), binding_request(), UNBOUND, kind)
            assert reflexive_address(reply) is not None
            assert not wire.stun()


# Strangers


def closed(lab: Lab, family: int) -> None:
    """A request to a published port on which nobody listens: the container answers with an ICMP error."""
    stranger_asks(lab, family, SOCK_DGRAM, CLOSED_PORT, 0.3)


def spoofed(lab: Lab, family: int) -> None:
    """A request in somebody else's name."""
    assert family == AF_INET
    with lab.stun.socket(AF_INET, SOCK_RAW, IPPROTO_RAW) as raw:
        raw.sendto(forged(binding_request(), SPOOFED, REAL[AF_INET]), (REAL[AF_INET], 0))


def forged(stun: bytes, source: str, destination: str) -> bytes:
    """An IPv4 packet that carries a message to the published port."""
    udp = struct.pack("!HHHH", OTHER_PORT, SERVED_PORT, 8 + len(stun), 0) + stun  # no checksum (RFC 768)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, IPPROTO_UDP, 0)
    return header + inet_aton(source) + inet_aton(destination) + udp


def served(lab: Lab, family: int) -> None:
    """A request to the published server."""
    stranger_asks(lab, family, SOCK_DGRAM, seconds=0.3)


STRANGERS = [
    pytest.param(closed, AF_INET, id="closed_port_IPv4"),
    pytest.param(closed, AF_INET6, id="closed_port_IPv6"),
    pytest.param(spoofed, AF_INET, id="spoofed"),
    pytest.param(served, AF_INET, id="served_IPv4"),
    pytest.param(served, AF_INET6, id="served_IPv6"),
]


@pytest.mark.parametrize("behind", ["inside", "outside"])
@pytest.mark.parametrize(("attempt", "family"), STRANGERS)
def test_a_stranger_is_never_answered(
    lab: Lab, attempt: Callable[[Lab, int], None], family: int, behind: str
) -> None:
    """Neither where the request reaches a machine behind this one, nor where it is blocked on its way to it."""
    with ExitStack() as stack:
        if behind == "outside":
            stack.enter_context(route_via_box(lab))
        stack.enter_context(CONTAINER.made(lab, *FAMILIES))
        stack.enter_context(published(lab, BOX))
        stack.enter_context(Responder(lab.box, SERVED_PORT, *BOX.values()))
        with Wire(lab) as wire:
            attempt(lab, family)
            assert wire.stun(), NO_LEAK
        with Agent(lab) as agent, Wire(lab) as wire:
            assert inside(agent) == ({"box0"} if behind == "inside" else set())
            for _ in range(5):
                attempt(lab, family)
            if behind == "outside":
                wait_event(agent, verdict="blocked", interface="box0")
            assert not wire.stun()


@pytest.mark.parametrize("forger", ["client", "box"])
def test_a_refusal_to_a_forged_sender_leaves_by_no_way_out(lab: Lab, forger: str) -> None:
    def forge() -> bytes:
        request = binding_request()
        with getattr(lab, forger).socket(AF_INET, SOCK_RAW, IPPROTO_RAW) as raw:
            raw.sendto(forged(request, SPOOFED, STUN_SERVER[AF_INET]), (STUN_SERVER[AF_INET], 0))
        return transaction_of(request)

    rules = (f"from {SPOOFED} lookup main pref 95", f"to {SPOOFED} lookup main pref 94")
    with ExitStack() as stack:
        for rule in (*rules, f"to {STUN_SERVER[AF_INET]} lookup main pref 93"):
            stack.enter_context(lab.client.rule(rule))
        with Wire(lab) as wire:
            assert wire.leaks(forge()), NO_LEAK
        with Agent(lab) as agent, Wire(lab) as wire:
            transactions = [forge() for _ in range(5)]
            wait_event(agent, verdict="blocked", source=SPOOFED, interface=PHYSICAL)
            assert not [packet for transaction in transactions for packet in wire.leaks(transaction)]


def test_a_stranger_who_asks_a_routed_machine_by_ipv6_is_not_answered(lab: Lab) -> None:
    """Without NAT, on ports that are open and closed, and where the machine is behind an interface that leads out."""
    address = "2001:db8:1:1::2"
    routed = ("2001:db8:1:1::/64", "2001:db8:1::2")
    lab.isp.ip(f"route add {routed[0]} via {routed[1]}")
    lab.internet.ip(f"route add {routed[0]} via 2001:db8:2::10")
    lab.client.ip("addr add 2001:db8:1:1::1/64 dev box0 nodad")
    lab.box.ip(f"addr add {address}/64 dev eth0 nodad")
    lab.client.ip(f"rule add from {routed[0]} lookup main pref 96", AF_INET6)
    try:
        with Responder(lab.box, SERVED_PORT, address):

            def attempt(port: int) -> bytes | None:
                return ask(lab.stun, (address, port), binding_request(), seconds=0.3)

            with Wire(lab) as wire:
                until(lambda: attempt(SERVED_PORT) is not None, 5, "the answer without stunwall")
                attempt(CLOSED_PORT)
                assert len(wire.stun()) >= 2, NO_LEAK
            for make in (None, route_via_box):
                with ExitStack() as stack:
                    if make is not None:
                        stack.enter_context(make(lab))
                    stack.enter_context(Agent(lab))
                    wire = stack.enter_context(Wire(lab))
                    for port in (SERVED_PORT, CLOSED_PORT):
                        assert attempt(port) is None
                    assert not wire.stun()
    finally:
        lab.client.ip(f"rule del from {routed[0]} lookup main pref 96", AF_INET6)
        lab.client.ip("addr del 2001:db8:1:1::1/64 dev box0")
        lab.box.ip(f"addr del {address}/64 dev eth0")
        lab.internet.ip(f"route del {routed[0]} via 2001:db8:2::10")
        lab.isp.ip(f"route del {routed[0]} via {routed[1]}")


# A service of the client's own


@pytest.mark.parametrize(("family", "kind"), WAYS)
def test_a_service_of_this_machine_answers_strangers_only_with_an_exception(
    lab: Lab, family: int, kind: int
) -> None:
    with (
        SOURCE_RULE.made(lab, family),
        published(lab, CLIENT),
        Responder(lab.client, SERVED_PORT, CLIENT[family]) as responder,
    ):
        assert reflexive_address(stranger_asks(lab, family, kind)) is not None, NO_LEAK
        with Agent(lab), Wire(lab) as wire:
            assert seen_by(responder, lab, family, kind)
            assert stranger_asks(lab, family, kind, seconds=0.5) is None
            assert not wire.stun()
        agent = Agent(lab)
        agent.drop_in("50-lab.toml", EXCEPTION.format(address=CLIENT[family], port=SERVED_PORT))
        with agent:
            for _ in range(2):
                assert reflexive_address(stranger_asks(lab, family, kind)) is not None
                with Wire(lab) as wire:
                    for binding in (SOURCE_RULE.binding[family], DEVICE_BOUND):
                        other = ask(lab.client, COTURN[family], binding_request(), binding, kind, 0.5)
                        assert reflexive_address(other) is None
                    assert not wire.stun()
                agent.kill()  # the second time without stunwalld

"""The inbound tripwire: an answer to a request that got out unseen does not reach the application, and is recorded."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    MSG_MORE,
    MSG_OOB,
    SOCK_DGRAM,
    SOCK_STREAM,
    TCP_CORK,
    socket,
)

import pytest

from lab.addresses import CLIENT, COTURN, FAMILIES, PHYSICAL, REAL, STUN_SERVER, VPN_SERVER, family_name
from lab.agent import Agent
from lab.messages import (
    XOR_MAPPED_ADDRESS,
    attribute,
    binding_request,
    message,
    reflexive_address,
    transaction_of,
)
from lab.observe import NO_LEAK, address_seen, events, status, wait_event
from lab.probe import DEVICE_BOUND, connect, exchange, transport_name
from lab.topology import Lab

pytestmark = pytest.mark.usefixtures("vpn")

WAIT = 2  # seconds for an answer that must not come; a sender that meets a small window tries again after some 0.2 s
UDP_SEGMENT = 103  # linux/udp.h; not in Python's socket module


def in_second_segment(sock: socket) -> bytes | None:
    """What comes back for a request that the kernel cuts off behind other bytes, after all rules (udp(7))."""
    request = binding_request()
    sock.setsockopt(IPPROTO_UDP, UDP_SEGMENT, len(request))
    return exchange(sock, bytes(len(request)) + request, WAIT)


def cut(sock: socket) -> bytes | None:
    """What comes back for a request that is sent in two segments, to a port that is not guarded."""
    request = binding_request()
    sock.sendall(request[:6])
    return exchange(sock, request[6:], WAIT)


def urgent(sock: socket) -> bytes | None:
    """What comes back for a request with an urgent byte before its cookie, which the server does not read (tcp(7))."""
    request = binding_request()
    sock.setsockopt(IPPROTO_TCP, TCP_CORK, 1)
    sock.send(request[:4] + b"!", MSG_OOB | MSG_MORE)
    sock.send(request[4:], MSG_MORE)
    sock.setsockopt(IPPROTO_TCP, TCP_CORK, 0)
    return exchange(sock, b"", WAIT)


def plain(sock: socket) -> bytes | None:
    """What comes back for a request that the program sends whole."""
    return exchange(sock, binding_request(), WAIT)


UNSEEN = [
    pytest.param(send, family, kind, id=f"{send.__name__}-{family_name(family)}-{transport_name(kind)}")
    for send, kind in ((in_second_segment, SOCK_DGRAM), (cut, SOCK_STREAM), (urgent, SOCK_STREAM))
    for family in FAMILIES
]


@pytest.mark.parametrize(("send", "family", "kind"), UNSEEN)
def test_the_answer_to_a_request_that_got_out_unseen_is_dropped_and_recorded(
    lab: Lab, send: Callable[[socket], bytes | None], family: int, kind: int
) -> None:
    assert_dropped_and_recorded(lab, send, family, kind)


@pytest.mark.parametrize("window", [1, 3, 6])
@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_the_answer_to_a_request_that_the_server_has_cut_is_dropped_and_recorded(
    lab: Lab, family: int, window: int
) -> None:
    chain = "type filter hook output priority 0; tcp sport 80 tcp flags & (syn | ack) == syn | ack"
    with lab.stun.table("inet narrow", f"chain c {{ {chain} tcp window set {window}; }}"):
        assert_dropped_and_recorded(lab, plain, family, SOCK_STREAM)


def assert_dropped_and_recorded(
    lab: Lab, send: Callable[[socket], bytes | None], family: int, kind: int
) -> None:
    def answer() -> str | None:
        server = COTURN[family]
        with connect(
            lab.client, (server[0], 80) if kind == SOCK_STREAM else server, DEVICE_BOUND, kind
        ) as sock:
            return reflexive_address(send(sock))

    assert answer() == REAL[family], NO_LEAK
    with Agent(lab) as agent:
        assert answer() is None
        event = wait_event(agent, verdict="exposed", destination=COTURN[family][0])
        assert (event["address"], event["interface"], event["source"]) == (
            REAL[family],
            PHYSICAL,
            CLIENT[family],
        )
        (exposure,) = status(agent)["daemon"]["exposures"]
        assert (exposure["address"], exposure["server"]) == (REAL[family], COTURN[family][0])
        said = agent.cli("status").stdout
        assert "Exposed" in said
        assert REAL[family] in said
        agent.kill()
        assert answer() is None
        # In the VPN answers arrive, also while stunwalld does not run.
        assert address_seen(lab, family, kind=kind) == VPN_SERVER[family]


def test_the_answer_to_a_request_that_was_sent_before_stunwall_started_is_dropped(lab: Lab) -> None:
    server = (STUN_SERVER[AF_INET], 4000)
    with lab.stun.socket(AF_INET, SOCK_DGRAM) as late, connect(lab.client, server, DEVICE_BOUND) as sock:
        late.bind(server)
        answer = attribute(XOR_MAPPED_ADDRESS, b"\0\1\x21\x12" + bytes.fromhex("eb12d548"))

        def ask_and_answer(between: AbstractContextManager[Agent | None]) -> bytes | None:
            sock.sendall(binding_request())
            request, sender = late.recvfrom(2048)
            with between as agent:
                late.sendto(message(0x0101, answer, transaction_of(request)), sender)
                sock.settimeout(0.5)
                try:
                    return sock.recv(2048)
                except TimeoutError:
                    assert agent is not None
                    event = wait_event(agent, verdict="exposed", source=CLIENT[AF_INET])
                    assert event["destination_port"] == server[1]
                    return None

        assert ask_and_answer(nullcontext()), NO_LEAK
        assert ask_and_answer(Agent(lab)) is None


def test_a_response_that_no_program_waits_for_proves_nothing(lab: Lab) -> None:
    """From strangers, over IPv6, which no NAT keeps out: one entry, so that they push none out of the record."""
    forged = message(0x0101, attribute(XOR_MAPPED_ADDRESS, b"\0\1\x21\x12" + bytes.fromhex("eb12d548")))
    with Agent(lab) as agent:
        for port in range(5000, 5010):
            with lab.stun.socket(AF_INET6, SOCK_DGRAM) as stranger:
                stranger.bind((STUN_SERVER[AF_INET6], port))
                stranger.sendto(forged, (REAL[AF_INET6], port))
        event = wait_event(agent, reason="unasked", count=10)
        assert (event["source"], event["destination"], event["interface"]) == ("", CLIENT[AF_INET6], PHYSICAL)
        assert len(events(agent)) == 1
        assert status(agent)["daemon"]["exposures"] == []


def test_answers_to_requests_that_may_bypass_the_vpn_arrive(lab: Lab) -> None:
    agent = Agent(lab)
    agent.drop_in("50-lab.toml", f'[[allow]]\nto = "{COTURN[AF_INET][0]}"\nwhy = "a test"\n')
    with agent:
        for kind in (SOCK_DGRAM, SOCK_STREAM):
            assert address_seen(lab, binding=DEVICE_BOUND, kind=kind) == REAL[AF_INET]
        assert status(agent)["daemon"]["exposures"] == []


def test_answers_to_requests_that_pass_while_no_vpn_is_up_arrive(lab: Lab) -> None:
    with Agent(lab, interfaces=["tun9"], when_vpn_down="allow") as agent:
        for kind in (SOCK_DGRAM, SOCK_STREAM):
            assert address_seen(lab, binding=DEVICE_BOUND, kind=kind) == REAL[AF_INET]
        assert status(agent)["daemon"]["exposures"] == []

"""The inbound tripwire: an answer to a request that got out unseen does not reach the application, and is recorded."""

import json
import re
import struct
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    MSG_MORE,
    MSG_OOB,
    SO_REUSEADDR,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_CORK,
    SocketKind,
    inet_aton,
    socket,
)
from typing import Any

import pytest

from lab.addresses import CLIENT, COTURN, FAMILIES, PHYSICAL, REAL, STUN_SERVER, VPN_SERVER, family_name
from lab.agent import Agent
from lab.deadline import until
from lab.messages import (
    COOKIE,
    XOR_MAPPED_ADDRESS,
    attribute,
    binding_request,
    message,
    reflexive_address,
)
from lab.observe import NO_LEAK, address_seen, events, status, wait_event
from lab.probe import DEVICE_BOUND, connect, exchange, transport_name
from lab.topology import Lab
from stunwall.text import date_time

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


def not_sealed(agent: Agent) -> list[dict[str, Any]]:
    """The rows of the ledger that are not sealed."""
    done = agent.cli("exposure", "--json")
    found: list[dict[str, Any]] = json.loads(done.stdout)["spans"]
    assert done.returncode == bool(found)
    return found


def test_the_time_after_a_proof_is_not_sealed(lab: Lab) -> None:
    with Agent(lab) as agent, connect(lab.client, COTURN[AF_INET], DEVICE_BOUND) as sock:
        until(lambda: agent.cli("exposure").returncode == 0, WAIT, "the ledger")
        before = agent.cli("exposure").stdout
        assert re.fullmatch(r"Sealed for 100 % of .*; nothing proven\.\n", before)

        since = time.time()
        assert in_second_segment(sock) is None
        until(lambda: bool(not_sealed(agent)), WAIT, "the row")
        (span,) = not_sealed(agent)
        assert span["kind"] == "exposed"
        (proof,) = status(agent)["daemon"]["exposures"]
        assert since <= proof["time"] <= span["start"]
        assert proof["server"] in span["why"]
        assert REAL[AF_INET] in span["why"]
        after = agent.cli("exposure").stdout
        sentence, row = after.splitlines()
        assert "exposed 1 time" in sentence
        assert "1 proven exposure" in sentence
        assert row.startswith(date_time(span["start"]))
        assert row.endswith(f"exposed    {span['why']}")
        print(before, after, sep="")

        # Nothing is exposed only because the daemon has died meanwhile.
        agent.kill()
        agent.start("--leave-wall")
        agent.stop()
        (later,) = not_sealed(agent)
        assert (later["kind"], later["start"]) == ("exposed", span["start"])


@dataclass(frozen=True, slots=True)
class Question:
    """What a program asks its server, and what that answers: an answer with the address REAL."""

    name: str
    kind: SocketKind
    ask: bytes
    answer: bytes


TRANSACTION = b"twelve bytes"
# REAL's address, XORed with the cookie (RFC 8489 §14.2).
MAPPED = b"\0\1\x21\x12" + bytes(a ^ b for a, b in zip(inet_aton(REAL[AF_INET]), COOKIE, strict=True))
# [MS-TURN] §2.2.2.8, and §2.2.2.16 for 0x8020.
MS_COOKIE = attribute(0x000F, bytes.fromhex("72c64bc6"))
# tgcalls, v2/ReflectorPort.cpp, and libtgvoip, VoIPController.cpp: tag, 12 bytes, then who asks or answers.
RELAY = b"telegrams 16 tag" + b"\xff" * 12
SELF_INFO = bytes.fromhex("c77215c0") + bytes(22) + b"\xff\xff" + inet_aton(REAL[AF_INET]) + bytes(4)


def ms_turn(inner: bytes) -> bytes:
    """[MS-TURN] §2.1.4: a control message."""
    return struct.pack("!BBH", 2, 0, len(inner)) + inner


QUESTIONS = [
    Question(
        "STUN",
        SOCK_DGRAM,
        binding_request(TRANSACTION),
        message(0x0101, attribute(XOR_MAPPED_ADDRESS, MAPPED), TRANSACTION),
    ),
    Question(
        "MS-TURN",
        SOCK_STREAM,
        ms_turn(message(0x0003, MS_COOKIE, TRANSACTION)),
        ms_turn(message(0x0103, MS_COOKIE + attribute(0x8020, MAPPED), TRANSACTION)),
    ),
    Question("Telegram", SOCK_DGRAM, RELAY + b"\xfe\xff\xff\xff" + bytes(8), RELAY + SELF_INFO),
]


def receive(server: socket) -> tuple[bytes, Callable[[bytes], object]]:
    """The request that a server gets, and how it answers."""
    if server.type == SOCK_DGRAM:
        request, sender = server.recvfrom(2048)
        return request, lambda answer: server.sendto(answer, sender)
    connection, _ = server.accept()
    return connection.recv(2048), connection.sendall


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_the_answer_to_a_request_that_was_sent_before_stunwall_started_is_dropped(
    lab: Lab, question: Question
) -> None:
    server = (STUN_SERVER[AF_INET], 4000)
    with lab.stun.socket(AF_INET, question.kind) as late:
        late.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        late.bind(server)
        if question.kind == SOCK_STREAM:
            late.listen()

        def ask_and_answer(between: AbstractContextManager[Agent | None]) -> bytes | None:
            with connect(lab.client, server, DEVICE_BOUND, question.kind) as sock:
                sock.sendall(question.ask)
                request, answer = receive(late)
                assert request == question.ask
                with between as agent:
                    answer(question.answer)
                    sock.settimeout(0.5)
                    try:
                        return sock.recv(2048)
                    except TimeoutError:
                        assert agent is not None
                        event = wait_event(agent, verdict="exposed", source=CLIENT[AF_INET])
                        assert event["destination_port"] == server[1]
                        assert event["address"] == REAL[AF_INET]
                        return None

        assert ask_and_answer(nullcontext()) == question.answer, NO_LEAK
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

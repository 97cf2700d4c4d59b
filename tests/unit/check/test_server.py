"""check/server.py: what the user names, what is asked, and what an answer shows."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from stunwall.check import server
from stunwall.check.server import Asked, ServerError
from stunwall.check.verdict import Verdict
from stunwall.check.ways import Way
from stunwall.stun.message import error_response, success_response
from stunwall.vpn.cause import Cause
from stunwall.vpn.fib import Hop, Route, Type
from unit.check.test_run import way

OUTSIDE, INTO_VPN = way(5), way(6, Cause.VPN)
REAL, VPN = ip_address("203.0.113.10"), ip_address("198.51.100.2")
NAMES = frozenset({"wg0"})


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("stun:stun.example.org", "stun.example.org", 3478),
        ("STUN:stun.example.org:19302", "stun.example.org", 19302),
        ("stun:[2001:db8::1]", "2001:db8::1", 3478),
        ("stun:[2001:db8::1]:80", "2001:db8::1", 80),
        ("stun:192.0.2.1:65535", "192.0.2.1", 65535),
    ],
)
def test_servers_that_can_be_named(text: str, host: str, port: int) -> None:
    assert server.parse_uri(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stun:",
        "stun.example.org",
        "stuns:a",
        "turn:a",
        "stun:a:0",
        "stun:a:65536",
        "stun:a:b",
        "stun:2001:db8::1",
        "stun:a b",
        "stun:a?x",
        "stun:ä",
    ],
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(ServerError, match="expected a STUN server such as"):
        server.parse_uri(text)


def test_a_host_has_an_address_of_each_version() -> None:
    assert server.resolve("192.0.2.1", 3478) == {4: ip_address("192.0.2.1")}
    assert server.resolve("2001:db8::1", 3478) == {6: ip_address("2001:db8::1")}
    with pytest.raises(ServerError, match=r"no\.such\.host\.invalid has no address: "):
        server.resolve("no.such.host.invalid", 3478)


def routed(gateway: bytes) -> Way:
    """A way outside by a route with a gateway, or without one."""
    route = Route(254, ip_network("0.0.0.0/0"), Type.UNICAST, hops=(Hop(2, gateway),))
    explanation = OUTSIDE.explanation
    return replace(OUTSIDE, explanation=replace(explanation, path=replace(explanation.path, route=route)))


def judged(*asked: Asked) -> list[tuple[Verdict, str]]:
    return [(each.verdict, each.why) for each in server.judge(asked, NAMES)]


THROUGH = Asked(INTO_VPN, b"", answered=True, address=VPN, by="wg0")


@pytest.mark.parametrize(
    ("asked", "verdict", "why"),
    [
        (
            Asked(OUTSIDE, b"", answered=True, address=REAL, by="eth0"),
            Verdict.LEAK,
            "the server saw 203.0.113.10 by eth0, outside the VPN",
        ),
        # Its address alone would be that of the VPN.
        (
            Asked(OUTSIDE, b"", answered=True, address=VPN, by="eth0"),
            Verdict.LEAK,
            "the server saw 198.51.100.2 by eth0, outside the VPN",
        ),
        (
            Asked(OUTSIDE, b"", answered=True, address=REAL, by="wg0"),
            Verdict.LEAK,
            "the server saw 203.0.113.10 by wg0, outside the VPN",
        ),
        (
            Asked(OUTSIDE, b"", answered=True, address=VPN, by="wg0"),
            Verdict.SEALED,
            "the server saw 198.51.100.2: the request was moved into the VPN",
        ),
        (
            Asked(OUTSIDE, b"", why_not="was dropped by this machine's rules", here=True),
            Verdict.SEALED,
            "the request was dropped by this machine's rules",
        ),
        (Asked(OUTSIDE, b""), Verdict.INCONCLUSIVE, "the request got no answer, which has many causes"),
        (Asked(OUTSIDE, b"", why_not="was refused"), Verdict.INCONCLUSIVE, "the request was refused"),
        (Asked(INTO_VPN, b""), Verdict.MUTE, "no answer through the VPN: the request got none"),
        (
            Asked(INTO_VPN, b"", answered=True, address=REAL, by="eth0"),
            Verdict.LEAK,
            "the server saw 203.0.113.10, and its answer came in by eth0, outside the VPN",
        ),
    ],
)
def test_what_a_way_has_shown(asked: Asked, verdict: Verdict, why: str) -> None:
    first, shown = judged(THROUGH, asked)
    assert first == (Verdict.THROUGH, "the server saw 198.51.100.2, through the VPN")
    assert shown == (verdict, why)


def test_an_error_from_outside_is_a_leak_unless_it_may_be_of_this_machine() -> None:
    for gateway, verdict in ((bytes(4), Verdict.LEAK), (b"", Verdict.INCONCLUSIVE)):
        (shown,) = judged(Asked(routed(gateway), b"", answered=True, by="eth0"))
        assert shown[0] is verdict


def serve(sock: socket.socket, replies: list[bytes], ended: threading.Event) -> None:
    sock.settimeout(0.05)
    while not ended.is_set():
        try:
            request, sender = sock.recvfrom(2048)
        except TimeoutError:
            continue
        for reply in replies:
            sock.sendto(reply.replace(b"REQUEST", request), sender)
        if not replies:
            answer = success_response(request, IPv4Address("192.0.2.33"), 9)
            assert answer is not None
            sock.sendto(answer, sender)


@contextmanager
def local(*replies: bytes) -> Iterator[tuple[Way, int]]:
    """A server on the loopback interface, and the way to it. Without replies, it answers as it should."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        ended = threading.Event()
        thread = threading.Thread(target=serve, args=(sock, list(replies), ended))
        thread.start()
        try:
            packet = replace(
                OUTSIDE.packet, destination=ip_address("127.0.0.1"), source=None, device=0, mark=0
            )
            yield replace(OUTSIDE, packet=packet, device=""), sock.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def test_what_comes_in_by_the_loopback_interface_is_of_this_machine() -> None:
    with local() as (to, port):
        (asked,) = server.ask([to], port)
    assert (asked.answered, asked.here, asked.why_not) == (False, True, "was refused by this machine")


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\x01\x01",
        b"REQUEST",
        b"\x01\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),
        struct.pack("!HH", 0x0101, 65535) + bytes(2000),
    ],
)
def test_what_is_no_answer_to_the_request_is_left_alone(
    reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SECONDS", 0.2)
    monkeypatch.setattr(server, "_REPEATED", ())
    with local(reply) as (to, port):
        (asked,) = server.ask([to], port)
    assert (asked.answered, asked.here) == (False, False)


def test_a_closed_port_refuses() -> None:
    with local() as (to, port):
        pass
    (asked,) = server.ask([to], port)
    assert asked.why_not.startswith("was refused")
    assert not asked.here


def test_errors_that_stunwall_answers_are_read() -> None:
    request = struct.pack("!HH", 1, 0) + bytes.fromhex("2112a442") + bytes(12)
    refused = error_response(request)
    assert refused is not None
    message = server._message(refused)
    assert message is not None
    assert message.transaction_id == bytes(12)

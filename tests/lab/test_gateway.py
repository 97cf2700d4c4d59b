"""A router with 200 clients on its LAN: sealed, and each client's attempts are recorded under its own address.

IPv4 is translated, IPv6 is not. The clients' packets bypass the VPN by a routing rule for the LAN.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from socket import SOCK_STREAM, socket

import pytest

from lab.addresses import COTURN, ECHO_SERVER, FAMILIES, VPN_SERVER
from lab.agent import Agent
from lab.deadline import until
from lab.echo import round_trip
from lab.gateway import LAN, LanClient, bypass, gateway
from lab.messages import REFUSED, binding_request, error_code, reflexive_address, transaction_of
from lab.observe import NO_LEAK, RECORDED, events, status
from lab.probe import UNBOUND, connect, exchange, send
from lab.topology import Lab
from lab.wire import Wire

CLIENTS = 200
BY_TCP = 5  # of them
ANSWERS = 10  # seconds in which all clients have their answers
AGAIN = 0.5  # seconds after which a request is sent again (RFC 8489 §6.2.1)
BYTES = 20_000  # of each client that are not STUN

pytestmark = pytest.mark.usefixtures("vpn")


@pytest.fixture(scope="module")
def lan(lab: Lab) -> Iterator[list[LanClient]]:
    with gateway(lab, CLIENTS) as clients:
        yield clients


class Asking:
    """One request of each client, all at once, sent again until it is answered or the time is over."""

    def __init__(self, clients: list[LanClient], family: int, seconds: float = ANSWERS) -> None:
        self.requests = {each.number: binding_request() for each in clients}
        self.sent: Counter[str] = Counter()  # by the client's address
        self.replies: dict[int, bytes] = {}
        with ExitStack() as stack:
            open_ = {each: stack.enter_context(connect(each, COTURN[family], UNBOUND)) for each in clients}
            end = time.monotonic() + seconds
            while len(self.replies) < len(clients) and time.monotonic() < end:
                for each, sock in open_.items():
                    if each.number not in self.replies:
                        send(sock, self.requests[each.number])
                        self.sent[each.address[family]] += 1
                self._collect(open_, min(end, time.monotonic() + AGAIN))

    def _collect(self, open_: dict[LanClient, socket], end: float) -> None:
        for each, sock in open_.items():
            if each.number not in self.replies:
                sock.settimeout(max(end - time.monotonic(), 0.001))
                try:
                    self.replies[each.number] = sock.recv(2048)
                except (TimeoutError, ConnectionError):
                    continue

    def codes(self) -> Counter[int | None]:
        return Counter(error_code(reply) for reply in self.replies.values())

    def addresses(self) -> Counter[str | None]:
        """What the server says it has seen."""
        return Counter(reflexive_address(reply) for reply in self.replies.values())


def recorded(agent: Agent) -> dict[str, Counter[str]]:
    """The packets in the record by transport and sender's address; all of them STUN blocked on its way from the LAN."""
    found: dict[str, Counter[str]] = {"udp": Counter(), "tcp": Counter()}
    for event in events(agent):
        assert (event["verdict"], event["incoming"]) == ("blocked", LAN), event
        found[event["transport"]][event["source"]] += event["count"]
    return found


@pytest.mark.parametrize("mode", ["block", pytest.param("redirect", marks=pytest.mark.thorough)])
def test_a_gateway_is_sealed_and_records_each_client(lab: Lab, lan: list[LanClient], mode: str) -> None:
    with bypass(lab):
        leaked = {}
        with Wire(lab) as wire:
            for family in FAMILIES:
                asking = Asking(lan, family)
                leaked[family] = sum(
                    bool(wire.seen(transaction_of(request))) for request in asking.requests.values()
                )
                assert asking.addresses().total() == CLIENTS
        assert leaked == dict.fromkeys(FAMILIES, CLIENTS), NO_LEAK
        lab.client.delete_connections()

        with Agent(lab, mode=mode, inside=[LAN]) as agent, Wire(lab) as wire:
            sent: Counter[str] = Counter()
            for family in FAMILIES:
                asking = Asking(lan, family)
                assert asking.codes() == {REFUSED: CLIENTS}
                sent += asking.sent
            by_tcp: Counter[str] = Counter()
            for each in lan[:BY_TCP]:
                for family in FAMILIES:
                    refused_by_tcp(each, family)
                    by_tcp[each.address[family]] += 1
            assert echoed(lan[::10]) == dict.fromkeys(FAMILIES, CLIENTS // 10 * BYTES)
            assert not wire.stun()
            until(lambda: recorded(agent)["udp"] == sent, RECORDED, "each request in the record")
            until(lambda: recorded(agent)["tcp"].keys() == by_tcp.keys(), RECORDED, "those over TCP, too")
            found = events(agent)
            assert {event["mac"] for event in found} == {each.mac for each in lan}
            assert {event["reason"] for event in found} == {
                "forwarded" if mode == "redirect" else "outside-vpn"
            }
            assert len(sent) == CLIENTS * len(FAMILIES)
            listed = {entry["interface"] for entry in status(agent)["inside"]}
    assert listed >= {LAN}
    print(f"{mode}: leaked {leaked}, recorded {sent.total()} packets of {len(sent)} addresses")


def refused_by_tcp(client: LanClient, family: int) -> None:
    with connect(client, COTURN[family], UNBOUND, SOCK_STREAM) as sock:
        assert error_code(exchange(sock, binding_request())) == REFUSED


def echoed(clients: list[LanClient]) -> Counter[int]:
    """How many bytes that are not STUN come back to the clients, by family."""
    back: Counter[int] = Counter()
    for family in FAMILIES:
        for each in clients:
            with connect(each, (ECHO_SERVER[family], 80), UNBOUND, SOCK_STREAM) as sock:
                payload = os.urandom(BYTES)
                assert round_trip(sock, payload) == payload
                back[family] += len(payload)
    return back


def test_what_clients_ask_through_the_vpn_is_answered(lab: Lab, lan: list[LanClient]) -> None:
    with Agent(lab, inside=[LAN]) as agent, Wire(lab) as wire:
        for family in FAMILIES:
            assert Asking(lan, family).addresses() == {VPN_SERVER[family]: CLIENTS}
        assert not wire.stun()
        assert not events(agent)


def test_a_lan_that_is_not_called_inside_is_sealed_but_gets_no_refusals(
    lab: Lab, lan: list[LanClient]
) -> None:
    with bypass(lab), Agent(lab) as agent, Wire(lab) as wire:
        assert LAN not in {entry["interface"] for entry in status(agent)["inside"]}
        for family in FAMILIES:
            assert not Asking(lan[:5], family, seconds=0.5).replies
        assert not wire.stun()

"""A blocked application hears 'forbidden' at once instead of waiting for its time-out."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from socket import AF_INET, AF_INET6, SHUT_WR, SOCK_DGRAM, SOCK_STREAM, AddressFamily

import pytest

from lab.addresses import CLIENT, FAMILIES, PHYSICAL, STUN_PORT, STUN_SERVER
from lab.agent import Agent
from lab.coturn import PASSWORD, USER
from lab.deadline import until
from lab.leaks import CONTAINER, DEVICE, SOURCE_RULE, Leak
from lab.messages import allocate_request, binding_request, error_code, new_transaction, transaction_of
from lab.probe import Binding, connect, send
from lab.samples import STUN, Sample
from lab.topology import Lab
from lab.wire import Wire

# Each kind of refusal: with the cookie, without, and in Teams' header.
ANSWERED = [s for s in STUN if s.name in ("binding_request", "classic_without_cookie", "teams_wrapped")]
RELAYED = ("-y", "-n", "1", "-u", USER, "-w", PASSWORD)
# Program, what it prints when it is served, what when it is refused.
PROGRAMS = [
    pytest.param(("turnutils_stunclient", "-L", CLIENT[AF_INET6], STUN_SERVER[AF_INET6]),
                 f"reflexive addr: {CLIENT[AF_INET6]}", "error 403", id="turnutils_stunclient"),
    pytest.param(("turnutils_uclient", *RELAYED, "-L", CLIENT[AF_INET], STUN_SERVER[AF_INET]),
                 "Total lost packets 0", "error 403", id="turnutils_uclient-UDP"),
    pytest.param(("turnutils_uclient", "-t", *RELAYED, "-L", CLIENT[AF_INET], STUN_SERVER[AF_INET]),
                 "Total lost packets 0", "error 403", id="turnutils_uclient-TCP"),
    pytest.param(("turnutils_uclient", *RELAYED, "-L", CLIENT[AF_INET6], STUN_SERVER[AF_INET6]),
                 "Total lost packets 0", "error 403", id="turnutils_uclient-IPv6"),
    pytest.param(("stun", STUN_SERVER[AF_INET], "1", "-i", CLIENT[AF_INET], "-v"),
                 "mappedAddr=203.0.113.10", "ErrorCode = 4 3 Forbidden", id="stun-RFC3489"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "served", "refused"), PROGRAMS)
def test_real_program_is_told_that_it_is_refused(
    lab: Lab, command: tuple[str, ...], served: str, refused: str
) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES):
        done = lab.client.run(*command)
        assert served in done.stdout + done.stderr
        with Agent(lab), Wire(lab) as wire:
            done = lab.client.run(*command)
            assert refused in done.stdout + done.stderr
            assert not wire.stun()


def test_on_block_drop_answers_nothing(lab: Lab) -> None:
    with DEVICE.made(lab, AF_INET), Agent(lab, on_block="drop"):
        assert DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request()) is None


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Iterator[Agent]:
    lab.vpn.up(ipv6=True)
    with Agent(lab) as agent:
        yield agent


# The module's agent runs from here on: what starts its own stands above.
@pytest.mark.parametrize("leak", [DEVICE, CONTAINER], ids=lambda leak: leak.name)
@pytest.mark.parametrize("make", [binding_request, allocate_request], ids=["binding", "allocate"])
@pytest.mark.parametrize("kind", [SOCK_DGRAM, SOCK_STREAM], ids=["UDP", "TCP"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: AddressFamily(family).name)
def test_request_is_answered_403(
    lab: Lab, agent: Agent, leak: Leak, make: Callable[[], bytes], kind: int, family: int
) -> None:
    request = make()
    with leak.made(lab, family):
        reply = leak.ask(lab, family, kind, request)
    assert error_code(reply) == 403
    assert reply is not None
    assert transaction_of(reply) == transaction_of(request)


@pytest.mark.parametrize("sample", ANSWERED, ids=lambda sample: sample.name)
@pytest.mark.parametrize("host", ["client", "box"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: AddressFamily(family).name)
def test_refusal_that_nobody_waits_for_sends_nothing_out(
    lab: Lab, agent: Agent, host: str, sample: Sample, family: int
) -> None:
    """An ICMP error about the refusal would show the server both the address and the transaction ID."""
    leak, namespace = (SOURCE_RULE, lab.client) if host == "client" else (CONTAINER, lab.box)
    binding = Binding(source=CLIENT[family]) if host == "client" else Binding()
    nonces = [new_transaction() for _ in range(20)]
    with leak.made(lab, family), Wire(lab) as wire:
        for nonce in nonces:
            with connect(namespace, (STUN_SERVER[family], STUN_PORT), binding) as sock:
                send(sock, sample.make(nonce))
        assert not [packet for nonce in nonces for packet in wire.leaks(nonce[: sample.nonce])]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: AddressFamily(family).name)
def test_refused_connection_ends_when_it_is_closed(lab: Lab, agent: Agent, family: int) -> None:
    """A FIN that the server can't place would be repeated for minutes, and hold the interface that long."""
    server = (STUN_SERVER[family], STUN_PORT)
    with connect(lab.client, server, Binding(device=PHYSICAL), SOCK_STREAM) as sock:
        port = sock.getsockname()[1]
        send(sock, binding_request())
        assert error_code(sock.recv(65535)) == 403
        with suppress(OSError):  # ended already, by a reset
            sock.shutdown(SHUT_WR)
        until(lambda: not _connected(lab, port), 5, "the end of the refused connection")


def _connected(lab: Lab, port: int) -> bool:
    return bool(lab.client.run("ss", "-Htn", "state", "connected", f"sport = :{port}").stdout)

"""A blocked application is told at once that it is refused, so that it doesn't wait for its time-out."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import AF_INET, AF_INET6, SHUT_WR, SOCK_DGRAM, SOCK_STREAM, socket

import pytest

from lab.addresses import CLIENT, COTURN, ECHO_SERVER, FAMILIES, REAL, STUN_SERVER, family_name
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import CONTAINER, DEVICE, SOURCE_RULE, Leak
from lab.messages import (
    ERROR_CODE,
    MESSAGE_INTEGRITY,
    NONCE,
    REALM,
    REFUSED,
    SOFTWARE,
    UNAUTHORIZED,
    USERNAME,
    allocate_request,
    attribute,
    attributes_of,
    binding_request,
    error_code,
    new_transaction,
    transaction_of,
)
from lab.observe import assert_leaks, on_wire
from lab.probe import (
    ANSWER_SECONDS,
    DEVICE_BOUND,
    SOURCE_BOUND,
    UNBOUND,
    connect,
    exchange,
    send,
    transport_name,
)
from lab.programs import RELAYED, STUN_CLIENT, maps_to, turn_client
from lab.samples import STUN, UNANSWERED, Sample
from lab.topology import Lab
from lab.wire import Wire

# One for each kind of refusal: with the cookie, without it, and behind Teams' header.
ANSWERED = [s for s in STUN if s.name in ("binding_request", "classic_without_cookie", "teams_header")]

TURNUTILS_STUN = ("turnutils_stunclient", "-L", CLIENT[AF_INET6], STUN_SERVER[AF_INET6])
TURNUTILS_MAPPED = f"reflexive addr: {CLIENT[AF_INET6]}"
# A real program, what it prints when the server answers, and what when stunwall refuses.
PROGRAMS = [
    pytest.param(TURNUTILS_STUN, TURNUTILS_MAPPED, "error 400", id="turnutils_stunclient"),
    pytest.param(
        turn_client(AF_INET, "-n", "1"), RELAYED, "Cannot complete Allocation", id="turnutils_uclient-UDP"
    ),
    pytest.param(turn_client(AF_INET, "-n", "1", "-t"), RELAYED, "error 400", id="turnutils_uclient-TCP"),
    pytest.param(
        turn_client(AF_INET6, "-n", "1"), RELAYED, "Cannot complete Allocation", id="turnutils_uclient-IPv6"
    ),
    pytest.param(STUN_CLIENT, maps_to(REAL[AF_INET]), "ErrorCode = 4 0 Bad Request", id="stun-RFC3489"),
]


@pytest.mark.parametrize(("command", "served", "refused"), PROGRAMS)
def test_real_program_learns_that_it_is_refused(
    lab: Lab, command: tuple[str, ...], served: str, refused: str
) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES):
        assert served in lab.client.printed(*command)
        with Agent(lab), Wire(lab) as wire:
            assert refused in lab.client.printed(*command)
            assert not wire.stun()


def test_on_block_drop_answers_nothing(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab, on_block="drop"):
        assert SOURCE_RULE.ask(lab, AF_INET, SOCK_DGRAM, binding_request(), 1) is None
        for sample in UNANSWERED:
            with _sent(lab, SOURCE_RULE, sample, AF_INET, new_transaction()) as sock:
                sock.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    sock.recv(65535)


@pytest.mark.parametrize("leak", [SOURCE_RULE, CONTAINER], ids=lambda leak: leak.name)
@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_what_has_no_response_is_refused_at_once(lab: Lab, leak: Leak, family: int) -> None:
    """By ICMP or a reset, as if nothing listened there, and no part of it leaves."""
    with leak.made(lab, family):
        for sample in UNANSWERED:
            assert_leaks(lab, partial(_send, lab, leak, sample, family), sample.nonce)
        with Agent(lab):
            for sample in UNANSWERED:
                assert not on_wire(lab, partial(_refused, lab, leak, sample, family), sample.nonce), (
                    sample.name
                )
            # They have the mark bit of what has passed, but open nothing for a response.
            for name in ("passed4", "passed6"):
                listed = lab.client.printed("nft", "list", "set", "inet", "stunwall", name)
                assert f"set {name} {{" in listed
                assert "elements" not in listed


def _send(lab: Lab, leak: Leak, sample: Sample, family: int, nonce: bytes) -> None:
    _sent(lab, leak, sample, family, nonce).close()


def _sent(lab: Lab, leak: Leak, sample: Sample, family: int, nonce: bytes) -> socket:
    """A socket that has sent a sample to the echo server."""
    server = (ECHO_SERVER[family], sample.port)
    sock = connect(leak.sender(lab), server, leak.binding[family], sample.kind)
    send(sock, sample.make(nonce))
    return sock


def _refused(lab: Lab, leak: Leak, sample: Sample, family: int, nonce: bytes) -> None:
    error = ConnectionResetError if sample.kind == SOCK_STREAM else ConnectionRefusedError
    with _sent(lab, leak, sample, family, nonce) as sock, pytest.raises(error):
        sock.recv(65535)


# From here on the module's agent runs.


@pytest.mark.parametrize("leak", [DEVICE, CONTAINER], ids=lambda leak: leak.name)
@pytest.mark.parametrize("make", [binding_request, allocate_request], ids=["binding", "allocate"])
@pytest.mark.parametrize("kind", [SOCK_DGRAM, SOCK_STREAM], ids=transport_name)
@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_request_is_answered_with_an_error(
    lab: Lab, agent: Agent, leak: Leak, make: Callable[[], bytes], kind: int, family: int
) -> None:
    request = make()
    with leak.made(lab, family):
        reply = leak.ask(lab, family, kind, request)
    allocates_by_udp = make is allocate_request and kind == SOCK_DGRAM
    assert error_code(reply) == (UNAUTHORIZED if allocates_by_udp else REFUSED)
    assert reply is not None
    assert transaction_of(reply) == transaction_of(request)


def test_refusal_of_an_allocate_request_is_that_of_a_real_server(lab: Lab, agent: Agent) -> None:
    """Also with credentials, which a client sends once it has the realm and the nonce."""

    said = []
    for sender, binding in ((lab.stun, UNBOUND), (lab.client, SOURCE_BOUND[AF_INET])):
        # A nonce of coturn's is good for one socket.
        with SOURCE_RULE.made(lab, AF_INET), connect(sender, COTURN[AF_INET], binding) as sock:
            first = exchange(sock, allocate_request(), ANSWER_SECONDS)
            assert first is not None
            again = with_credentials(allocate_request(), attributes_of(first))
            second = exchange(sock, again, ANSWER_SECONDS)
            assert second is not None
        said.append([(answer[:2], attributes_of(answer)) for answer in (first, second)])
    for (real_type, real), (type_, found) in zip(*said, strict=True):
        # Its version, which an operator may hide.
        del real[SOFTWARE]
        assert (type_, list(found)) == (real_type, list(real))
        assert found[ERROR_CODE] == real[ERROR_CODE]
        assert len(found[NONCE]) == len(real[NONCE])


def with_credentials(request: bytes, challenge: dict[int, bytes]) -> bytes:
    """The same request again, after a server's challenge, by a user whom nobody knows."""
    values = {
        USERNAME: b"nobody",
        REALM: challenge[REALM],
        NONCE: challenge[NONCE],
        MESSAGE_INTEGRITY: bytes(20),
    }
    body = request[20:] + b"".join(attribute(*each) for each in values.items())
    return request[:2] + len(body).to_bytes(2, "big") + request[4:20] + body


@pytest.mark.parametrize("sample", ANSWERED, ids=lambda sample: sample.name)
@pytest.mark.parametrize("leak", [SOURCE_RULE, CONTAINER], ids=["client", "box"])
@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_refusal_to_a_closed_socket_sends_nothing_out(
    lab: Lab, agent: Agent, leak: Leak, sample: Sample, family: int
) -> None:
    """An ICMP error about the refusal would show the server both the address and the transaction ID."""
    nonces = [new_transaction() for _ in range(20)]
    with leak.made(lab, family), Wire(lab) as wire:
        for nonce in nonces:
            with connect(leak.sender(lab), COTURN[family], leak.binding[family]) as sock:
                send(sock, sample.make(nonce))
        assert not [packet for nonce in nonces for packet in wire.leaks(nonce[: sample.nonce])]


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_refused_connection_ends_when_it_is_closed(lab: Lab, agent: Agent, family: int) -> None:
    """The server would ignore the FIN, which would then be sent again for minutes."""
    with connect(lab.client, COTURN[family], DEVICE_BOUND, SOCK_STREAM) as sock:
        port = sock.getsockname()[1]
        send(sock, binding_request())
        assert error_code(sock.recv(65535)) == REFUSED
        with suppress(OSError):  # a reset has ended it already
            sock.shutdown(SHUT_WR)
        until(lambda: not _connected(lab, port), 5, "the end of the refused connection")


def _connected(lab: Lab, port: int) -> bool:
    return bool(lab.client.run("ss", "-Htn", "state", "connected", f"sport = :{port}").stdout)

"""STUN as real programs write it is blocked, and what only resembles it passes unharmed ('Only STUN')."""

from collections.abc import Iterator
from functools import partial
from socket import AF_INET

import pytest

from lab.addresses import ECHO_SERVER, FAMILIES, family_name
from lab.agent import Agent, wall_is_up
from lab.deadline import until
from lab.echo import round_trip
from lab.messages import REFUSED, error_code, new_transaction, transaction_of
from lab.observe import NO_LEAK, NOTICED, on_wire
from lab.probe import DEVICE_BOUND, UNBOUND, connect, exchange, send
from lab.samples import OTHERS, STUN, Sample
from lab.topology import Lab


def cases(samples: tuple[Sample, ...]) -> list[object]:
    return [
        pytest.param(sample, family, id=f"{sample.name}-{family_name(family)}")
        for sample in samples
        for family in FAMILIES
    ]


def leaves(lab: Lab, sample: Sample, family: int) -> bool:
    """Whether the wire shows the sample, sent to the echo server by the physical interface."""
    with connect(lab.client, (ECHO_SERVER[family], sample.port), DEVICE_BOUND, sample.kind) as sock:
        return on_wire(lab, lambda nonce: send(sock, sample.make(nonce)), sample.nonce)


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Iterator[Agent]:
    lab.vpn.up(ipv6=True)
    assert not wall_is_up(lab)
    for sample in STUN:
        for family in FAMILIES:
            until(partial(leaves, lab, sample, family), NOTICED, f"{sample.name} outside: {NO_LEAK}")
    with Agent(lab) as agent:
        yield agent


@pytest.mark.parametrize(("sample", "family"), cases(STUN))
def test_stun_is_blocked(lab: Lab, agent: Agent, sample: Sample, family: int) -> None:
    assert not leaves(lab, sample, family)


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_a_request_in_microsofts_framing_is_refused_in_the_same(lab: Lab, agent: Agent, family: int) -> None:
    (sample,) = (each for each in STUN if each.name == "tcp_ms_turn")
    nonce = new_transaction()
    with connect(lab.client, (ECHO_SERVER[family], sample.port), DEVICE_BOUND, sample.kind) as sock:
        reply = exchange(sock, sample.make(nonce))
    assert reply is not None
    # [MS-TURN] §2.1.4, §3.1.10: type, zero, length, and a message whose first attribute is Microsoft's cookie.
    assert reply[:4] == bytes([2, 0]) + (len(reply) - 4).to_bytes(2, "big")
    assert (error_code(reply[4:]), transaction_of(reply[4:])) == (REFUSED, nonce)
    assert reply[24:32] == bytes.fromhex("000f000472c64bc6")


@pytest.mark.parametrize(("sample", "family"), cases(OTHERS))
def test_anything_else_passes_byte_for_byte(lab: Lab, agent: Agent, sample: Sample, family: int) -> None:
    payload = sample.make(new_transaction())
    for binding in (DEVICE_BOUND, UNBOUND):
        with connect(lab.client, (ECHO_SERVER[family], sample.port), binding, sample.kind) as sock:
            assert round_trip(sock, payload) == payload


@pytest.mark.parametrize("sample", STUN, ids=lambda sample: sample.name)
def test_stun_inside_the_vpn_passes_byte_for_byte(lab: Lab, agent: Agent, sample: Sample) -> None:
    payload = sample.make(new_transaction())
    with connect(lab.client, (ECHO_SERVER[AF_INET], sample.port), UNBOUND, sample.kind) as sock:
        assert round_trip(sock, payload) == payload

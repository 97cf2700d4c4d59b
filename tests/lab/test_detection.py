"""STUN as real programs write it is blocked, and what only resembles it passes unharmed ('Only STUN')."""

from collections.abc import Iterator
from socket import AF_INET, AddressFamily

import pytest

from lab.addresses import ECHO_SERVER, FAMILIES, PHYSICAL
from lab.agent import Agent, wall_stands
from lab.echo import round_trip
from lab.messages import new_transaction
from lab.probe import UNBOUND, Binding, connect, send
from lab.samples import OTHERS, STUN, Sample
from lab.topology import Lab
from lab.wire import Wire

OUTSIDE = Binding(device=PHYSICAL)
Seen = dict[tuple[str, int], bool]


def cases(samples: tuple[Sample, ...]) -> list[object]:
    return [
        pytest.param(sample, family, id=f"{sample.name}-{AddressFamily(family).name}")
        for sample in samples
        for family in FAMILIES
    ]


def leaves(lab: Lab, sample: Sample, family: int) -> bool:
    """Whether the wire shows the sample, sent to the echo server on the physical interface."""
    nonce = new_transaction()
    with (
        Wire(lab) as wire,
        connect(lab.client, (ECHO_SERVER[family], sample.port), OUTSIDE, sample.kind) as sock,
    ):
        send(sock, sample.make(nonce))
        return bool(wire.leaks(nonce[: sample.nonce]))


@pytest.fixture(scope="module")
def without_stunwall(lab: Lab) -> Seen:
    """What leaves without stunwall, by sample and family."""
    lab.vpn.up(ipv6=True)
    assert not wall_stands(lab)
    return {(sample.name, family): leaves(lab, sample, family) for sample in STUN for family in FAMILIES}


@pytest.fixture(scope="module")
def agent(lab: Lab, without_stunwall: Seen) -> Iterator[Agent]:
    with Agent(lab) as agent:
        yield agent


@pytest.mark.parametrize(("sample", "family"), cases(STUN))
def test_stun_is_blocked(without_stunwall: Seen, lab: Lab, agent: Agent, sample: Sample, family: int) -> None:
    assert without_stunwall[sample.name, family], "the wire doesn't show it, so it proves nothing below"
    assert not leaves(lab, sample, family)


@pytest.mark.parametrize(("sample", "family"), cases(OTHERS))
def test_anything_else_passes_byte_for_byte(lab: Lab, agent: Agent, sample: Sample, family: int) -> None:
    payload = sample.make(new_transaction())
    for binding in (OUTSIDE, UNBOUND):
        with connect(lab.client, (ECHO_SERVER[family], sample.port), binding, sample.kind) as sock:
            assert round_trip(sock, payload) == payload


@pytest.mark.parametrize("sample", STUN, ids=lambda sample: sample.name)
def test_stun_in_the_vpn_passes_byte_for_byte(lab: Lab, agent: Agent, sample: Sample) -> None:
    payload = sample.make(new_transaction())
    with connect(lab.client, (ECHO_SERVER[AF_INET], sample.port), UNBOUND, sample.kind) as sock:
        assert round_trip(sock, payload) == payload

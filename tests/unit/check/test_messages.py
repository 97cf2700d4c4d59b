"""check/messages.py: what is sent as STUN is STUN to the daemon, and the control is not."""

import pytest

from stunwall.check.messages import CONTROL_PORT, PORT, USUAL, VARIANTS, Variant, control
from stunwall.model import Transport
from stunwall.stun.detect import detect
from unit.envelope import Envelope


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant.name}-{variant.transport}")
@pytest.mark.parametrize("version", [4, 6])
def test_each_variant_is_recognised(variant: Variant, version: int) -> None:
    envelope = Envelope(version, variant.transport.number, PORT)
    payloads = {variant.payload() for _ in range(100)}
    assert len(payloads) == 100
    assert all(detect(envelope.packet(payload)) for payload in payloads)


@pytest.mark.parametrize("port", [PORT, CONTROL_PORT])
@pytest.mark.parametrize("transport", Transport)
def test_the_control_is_not(transport: Transport, port: int) -> None:
    envelope = Envelope(4, transport.number, port)
    assert not any(detect(envelope.packet(control())) for _ in range(10_000))


def test_stun_itself_is_tried_over_both_protocols() -> None:
    assert {each.transport for each in USUAL} == set(Transport)

"""judge.py on the requests of a check of a browser: said what would become of them, answered, and never let out."""

from ipaddress import ip_address
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.config import Config, OnBlock
from stunwall.judge import judge
from stunwall.model import Arrival, Checked, Hook, Reason, Verdict
from stunwall.policy import View
from stunwall.stun.detect import mapped_address
from stunwall.stun.message import error_response, success_response
from unit.build import SOURCE_PORT
from unit.build import packet as build
from unit.test_judge import NO_VPN, NOW, OPEN, REDIRECT, REQUEST, VPN, arrival
from vectors.programs import message

BLOCK = Config()
LABELS = {4: ip_address("203.0.113.200"), 6: ip_address("2001:db8::200")}
BOTH, PASSED, REDIRECTED = BLOCK.mark_mask, BLOCK.passed_bit, BLOCK.redirected_bit


def checked(version: int = 4, *, as_usual: bool = False, **given: object) -> Arrival:
    """A request to a server of a check, in postrouting, that leaves by eth0 unless said otherwise."""
    wanted = Checked(LABELS[version], as_usual)
    return arrival(version=version)._replace(**({"checked": wanted} | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("queued", "view", "config", "would", "reason"),
    [
        (checked(), VPN, BLOCK, Verdict.BLOCK, Reason.OUTSIDE_VPN),
        (checked(6), VPN, BLOCK, Verdict.BLOCK, Reason.OUTSIDE_VPN),
        (checked(), NO_VPN, BLOCK, Verdict.BLOCK, Reason.NO_VPN),
        (checked(), NO_VPN, OPEN, Verdict.ACCEPT, Reason.VPN_DOWN_ALLOWED),
        (checked(outgoing="wg0"), VPN, BLOCK, Verdict.ACCEPT, Reason.THROUGH_VPN),
        (checked(outgoing="docker0"), VPN, BLOCK, Verdict.ACCEPT, Reason.INSIDE),
        # IPsec encrypts it, on the interface of a way out.
        (checked(mark=BOTH), VPN, BLOCK, Verdict.ACCEPT, Reason.THROUGH_VPN),
        # An exception fits; into the VPN it goes without one.
        (checked(mark=PASSED), VPN, BLOCK, Verdict.ACCEPT, Reason.EXCEPTION),
        (checked(mark=PASSED, outgoing="wg0"), VPN, BLOCK, Verdict.ACCEPT, Reason.THROUGH_VPN),
        (checked(mark=REDIRECTED, outgoing="wg0"), VPN, REDIRECT, Verdict.REDIRECT, Reason.REDIRECTED),
        (checked(mark=REDIRECTED), VPN, REDIRECT, Verdict.BLOCK, Reason.DEVICE_BOUND),
        (checked(outgoing="wg0"), VPN, REDIRECT, Verdict.ACCEPT, Reason.THROUGH_VPN),
    ],
)
def test_what_would_become_of_it_is_said_and_it_is_dropped(
    queued: Arrival, view: View, config: Config, would: Verdict, reason: Reason
) -> None:
    judgement = judge(queued, view, config)
    assert (judgement.verdict, judgement.would, judgement.reason) == (Verdict.BLOCK, would, reason)
    assert (judgement.event, judgement.retracted) == (None, None)
    assert judgement.refusal is not None
    version = judgement.refusal.blocked.family
    assert judgement.refusal.response == success_response(REQUEST, LABELS[version], SOURCE_PORT)


def test_at_the_output_hook_it_goes_on_as_any_other() -> None:
    moved = judge(checked(hook=Hook.OUTPUT), VPN, REDIRECT)
    assert (moved.verdict, moved.would, moved.event, moved.refusal) == (Verdict.REDIRECT, None, None, None)
    stays = judge(checked(hook=Hook.OUTPUT), VPN, BLOCK)
    assert (stays.verdict, stays.reason) == (Verdict.ACCEPT, Reason.WALL_DECIDES)


def test_as_usual_it_is_refused_only_where_it_would_be_blocked() -> None:
    refused = judge(checked(as_usual=True), VPN, BLOCK)
    assert refused.refusal is not None
    assert refused.refusal.response == error_response(REQUEST)
    passed = judge(checked(as_usual=True, outgoing="wg0"), VPN, BLOCK)
    assert passed.refusal is not None
    assert passed.refusal.response == success_response(REQUEST, LABELS[4], SOURCE_PORT)


def test_with_on_block_drop_only_the_label_is_answered() -> None:
    config = Config(on_block=OnBlock.DROP)
    assert judge(checked(as_usual=True), VPN, config).refusal is None
    assert judge(checked(), VPN, config).refusal is not None


@pytest.mark.parametrize(
    "queued",
    [checked(checked=Checked(None, as_usual=False)), checked(incoming="docker0"), checked(incoming="eth0")],
)
def test_nobody_else_gets_an_answer(queued: Arrival) -> None:
    judgement = judge(queued, VPN, BLOCK)
    assert (judgement.verdict, judgement.refusal, judgement.would) == (Verdict.BLOCK, None, None)
    assert judgement.event is None


@pytest.mark.parametrize("kind", [0x0011, 0x0101, 0x0111, 0x0003])
def test_only_binding_requests_are_answered(kind: int) -> None:
    queued = arrival(message(kind), checked=Checked(LABELS[4], as_usual=False))
    judgement = judge(queued, VPN, BLOCK)
    assert (judgement.verdict, judgement.refusal) == (Verdict.BLOCK, None)


@given(
    payload=st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: REQUEST[:8] + tail),
    mark=st.sampled_from((0, BOTH, PASSED, REDIRECTED)),
)
def test_whatever_it_is_it_never_leaves(payload: bytes, mark: int) -> None:
    for outgoing, view, config in product(("eth0", "wg0", "docker0"), (VPN, NO_VPN), (BLOCK, REDIRECT, OPEN)):
        queued = Arrival(build("udp", payload, 4, 3478), "", outgoing, Hook.POSTROUTING, mark, NOW)
        judgement = judge(queued._replace(checked=Checked(LABELS[4], as_usual=True)), view, config)
        assert judgement.verdict is Verdict.BLOCK
        if len(payload) >= 8 and payload.startswith(REQUEST[:8]):
            assert judgement.event is None


@pytest.mark.parametrize("version", [4, 6])
def test_the_address_in_the_answer_is_read_back(version: int) -> None:
    answer = success_response(REQUEST, LABELS[version], 4000)
    assert answer is not None
    assert mapped_address(build("udp", answer, version, 4000)) == str(LABELS[version])
    assert success_response(REQUEST[:19], LABELS[version], 4000) is None
    assert success_response(b"\0\1\0\0" + bytes(16), LABELS[version], 4000) is None

"""check/verdict.py: what a router has seen, and what that shows."""

from ipaddress import ip_address

import pytest

from stunwall.check.messages import control
from stunwall.check.probe import Probe
from stunwall.check.verdict import Hops, Result, Verdict, judge, overall
from stunwall.model import Transport
from stunwall.vpn.cause import Cause
from unit.check.test_run import ROUTER, VPN_ROUTER, way

OTHER = ip_address("203.0.113.1")
OUTSIDE, INTO_VPN = way(5), way(6, Cause.VPN)
S, L, N, M = Verdict.SEALED, Verdict.LEAK, Verdict.INCONCLUSIVE, Verdict.MUTE
T, B = Verdict.THROUGH, Verdict.BLOCKED


@pytest.mark.parametrize(
    ("into_vpn", "stun", "beside", "verdict"),
    [
        (False, None, ROUTER, S),
        (False, ROUTER, ROUTER, L),
        (False, ROUTER, None, L),
        (False, OTHER, ROUTER, L),
        (False, VPN_ROUTER, ROUTER, S),
        (False, VPN_ROUTER, None, N),  # the VPN and the way outside may share that router, or its address
        (False, VPN_ROUTER, VPN_ROUTER, L),  # both went by a router that both ways share
        (False, None, None, N),
        (True, VPN_ROUTER, VPN_ROUTER, T),
        (True, VPN_ROUTER, None, T),
        (True, None, VPN_ROUTER, B),
        (True, None, None, M),
        (
            True,
            ROUTER,
            ROUTER,
            N,
        ),  # something else than rules and routes takes it there, or routers share an address
    ],
)
def test_what_is_shown(into_vpn: bool, stun: object, beside: object, verdict: Verdict) -> None:
    packets = [
        Probe(INTO_VPN if into_vpn else OUTSIDE, name, Transport.UDP, 3478, control, seen_by=router)  # type: ignore[arg-type]
        for name, router in (("STUN", stun), ("", beside))
    ]
    assert (
        judge(packets[:1], packets[1], Hops(frozenset({VPN_ROUTER}), frozenset({ROUTER})), sure=True)[0]
        is verdict
    )


def test_too_few_reports_do_not_show_that_a_way_is_sealed() -> None:
    packets = [Probe(OUTSIDE, name, Transport.UDP, 3478, control) for name in ("STUN", "")]
    packets[1].seen_by = ROUTER
    assert (
        judge(packets[:1], packets[1], Hops(frozenset(), frozenset()), sure=False)[0] is Verdict.INCONCLUSIVE
    )


@pytest.mark.parametrize(
    ("outside", "in_vpn", "verdict"),
    [
        ([S, S], [T], S),
        ([S, L, N], [T], L),
        ([S, N], [T], N),
        ([S], [M], S),  # nothing leaks; whether calls work is not known
        ([S], [N], N),
        ([S], [B], S),
        ([], [M], N),  # nothing is known but the forecast
        ([], [T], S),  # no way leads around the VPN
        ([Verdict.NOT_SENT], [], N),
        ([], [], N),
    ],
)
def test_the_whole(outside: list[Verdict], in_vpn: list[Verdict], verdict: Verdict) -> None:
    results = [Result(OUTSIDE, Transport.UDP, each, "") for each in outside]
    results += [Result(INTO_VPN, Transport.UDP, each, "") for each in in_vpn]
    assert overall(results) is verdict

"""What a check has shown. No I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from stunwall.check.probe import Probe
from stunwall.check.ways import Way
from stunwall.model import Address, Transport


class Verdict(StrEnum):
    """What is shown of one way, or of all."""

    SEALED = "sealed"
    LEAK = "leak"
    INCONCLUSIVE = "inconclusive"
    THROUGH = "through-vpn"
    """STUN gets through the VPN: calls work."""
    BLOCKED = "blocked-in-vpn"
    """The VPN carries other packets, but no STUN: calls do not work."""
    MUTE = "mute-in-vpn"
    """No router in the VPN reports anything: whether calls work is not known."""
    NOT_SENT = "not-sent"
    """There is nothing to be tried."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one way has shown for a transport protocol, in a word and a sentence."""

    way: Way
    transport: Transport
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Hops:
    """The routers that have reported packets: of those that should go into the VPN any, of the others controls."""

    vpn: frozenset[Address]
    outside: frozenset[Address]


def judge(stun: Sequence[Probe], control: Probe, hops: Hops, *, sure: bool) -> tuple[Verdict, str]:
    """Return what a way has shown.

    Args:
        stun: the messages, which were sent before the control.
        control: the packet that is no STUN.
        hops: of all ways.
        sure: whether it is certain that what was not reported has not left.
    """
    seen = [(each.name, each.seen_by) for each in stun if each.seen_by is not None]
    if control.way.into_vpn:
        if both := [router for _, router in seen if router in hops.outside]:
            return Verdict.INCONCLUSIVE, f"{both[0]} has seen STUN, and is also a router outside the VPN"
        if seen:
            others = ", ".join(each.name for each in stun if each.seen_by is None)
            rest = f" (not reported: {others})" if others else ""
            return Verdict.THROUGH, f"STUN gets through the VPN, as far as {seen[0][1]}{rest}"
        if control.seen_by is not None:
            return Verdict.BLOCKED, f"the VPN carries other packets as far as {control.seen_by}, but no STUN"
        return Verdict.MUTE, _mute(control)
    if seen and control.seen_by is None and all(router in hops.vpn for _, router in seen):
        # It was redirected into the VPN, or a router outside has the same address.
        return Verdict.INCONCLUSIVE, f"{seen[0][1]} has seen STUN, perhaps only in the VPN"
    outside = [(name, router) for name, router in seen if router not in hops.vpn or router == control.seen_by]
    if outside:
        names = ", ".join(name for name, _ in outside)
        return Verdict.LEAK, f"{names} left this machine outside the VPN: {outside[0][1]} has seen it"
    if seen:
        return Verdict.SEALED, f"STUN was redirected into the VPN, as far as {seen[0][1]}"
    if control.seen_by is None:
        return Verdict.INCONCLUSIVE, _mute(control)
    if not sure:
        return (
            Verdict.INCONCLUSIVE,
            f"{control.seen_by} reports too few packets to be sure: try again in a minute",
        )
    said = next((f"STUN {each.refused}" for each in stun if each.refused), "no STUN left this machine")
    return Verdict.SEALED, f"{said}; {control.seen_by} has seen the packet beside it, which is not STUN"


def _mute(control: Probe) -> str:
    if control.refused:
        return f"nothing can be shown: the packet that is not STUN {control.refused}"
    return "nothing can be shown: the routers there report nothing"


def overall(results: Iterable[Result]) -> Verdict:
    """Return whether STUN can bypass the VPN: SEALED, LEAK or INCONCLUSIVE."""
    return worst(each.verdict for each in results)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return what the verdicts of several ways come to: SEALED, LEAK or INCONCLUSIVE."""
    shown = set(verdicts)
    if Verdict.LEAK in shown:
        return Verdict.LEAK
    if Verdict.INCONCLUSIVE in shown or shown.isdisjoint((Verdict.SEALED, Verdict.THROUGH, Verdict.BLOCKED)):
        return Verdict.INCONCLUSIVE
    return Verdict.SEALED

"""What a page in a browser has learned, and what that shows. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stunwall.check import candidates
from stunwall.check.candidates import Candidate
from stunwall.check.verdict import Verdict
from stunwall.model import Address, Reason
from stunwall.model import Verdict as Fate
from stunwall.text import count

_CANDIDATES, _ERRORS, _LINE, _SDP = 200, 50, 500, 50_000  # that are kept of what a page posts
_MILLISECONDS = 600_000
_LISTS = ("candidates", "errors")
# How a browser that tells a page of a refusal begins, and what stunwalld answers (stun/message.py).
_REFUSED = "400"
_AGAIN = "run it again, and open the address in the browser that you want to check"
# What a request that gets through needs no exception for.
_HARMLESS = (Reason.THROUGH_VPN.value, Reason.INSIDE.value)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that stunwalld has stopped on its way: where it came from, and what would have become of it.

    `label`: the address that was made up for the interface. `as_usual`: the page got what it gets without a check.
    """

    ip_version: int
    source: str
    source_port: int
    interface: str
    label: str
    verdict: str
    reason: str
    why: str
    as_usual: bool

    @property
    def leaks(self) -> bool:
        """Whether it would have left outside the VPN."""
        return self.verdict == Fate.ACCEPT and self.reason not in _HARMLESS

    @property
    def held(self) -> bool:
        """Whether it would have bypassed the VPN but for stunwall."""
        return self.verdict in (Fate.BLOCK, Fate.REDIRECT)


@dataclass(frozen=True, slots=True)
class Gathering:
    """What one RTCPeerConnection has gathered. `milliseconds`: until it was complete, or was given up."""

    candidates: tuple[Candidate, ...] = ()
    errors: tuple[str, ...] = ()
    milliseconds: int = 0
    complete: bool = False
    sdp: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a page learns with, or without, the permission to use the microphone. `failure`: why it learned nothing."""

    microphone: bool
    labelled: Gathering = field(default_factory=Gathering)
    usual: Gathering = field(default_factory=Gathering)
    failure: str = ""
    seen: tuple[Seen, ...] = ()

    @property
    def done(self) -> bool:
        """Whether it shows anything."""
        return not self.failure


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine, for the verdict.

    `owners`: the interface of each address, and whether that is the VPN. `routed`: the IP versions over which there is
    a way out. `around`: how many ways around the VPN the forecast has.
    """

    owners: Mapping[Address, tuple[str, bool]]
    routed: frozenset[int]
    around: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What a check has shown: the verdict in a sentence, why, and what to do next ("" for nothing)."""

    verdict: Verdict
    headline: str
    why: str
    next: str = ""


def parse_stage(report: Any, seen: Iterable[Seen]) -> Stage:  # noqa: ANN401 (it is JSON)
    """Return what a page has posted, with what stunwalld has seen meanwhile. What does not fit is left out."""
    said = report if isinstance(report, dict) else {}
    return Stage(
        microphone=said.get("microphone") is True,
        labelled=_gathering(said.get("labelled")),
        usual=_gathering(said.get("usual")),
        failure=_line(said.get("failure")),
        seen=tuple(dict.fromkeys(seen)),
    )


def _gathering(said: Any) -> Gathering:  # noqa: ANN401 (it is JSON)
    if not isinstance(said, dict):
        return Gathering()
    lines, errors = ([*map(_line, said[key])] if isinstance(said.get(key), list) else [] for key in _LISTS)
    found = filter(None, map(candidates.parse, lines[:_CANDIDATES]))
    took = said.get("milliseconds")
    return Gathering(
        candidates=tuple(dict.fromkeys(found)),
        errors=tuple(dict.fromkeys(filter(None, errors[:_ERRORS]))),
        milliseconds=int(min(took, _MILLISECONDS)) if isinstance(took, int | float) and took >= 0 else 0,
        complete=said.get("complete") is True,
        sdp=str(said.get("sdp", ""))[:_SDP],
    )


def _line(said: Any) -> str:  # noqa: ANN401 (it is JSON)
    return said[:_LINE] if isinstance(said, str) else ""


def shown(stages: Sequence[Stage], machine: Machine) -> Shown:
    """Return what the stages show, the worst first: nothing that could not be shown is called sealed."""
    # What was asked as usual were the same requests.
    seen = [each for stage in stages for each in stage.seen if not each.as_usual]
    leaking = [each for each in seen if each.leaks]
    if leaking:
        return _leak(leaking)
    if told := _addresses_shown(stages, machine):
        return _address_shown(told)
    if not any(stage.done for stage in stages):
        failure = next((stage.failure for stage in stages), "")
        why = f"the page could not test it: {failure}" if failure else "no browser has opened the page"
        return Shown(Verdict.INCONCLUSIVE, "Inconclusive: nothing was tested", f"{_sentence(why)}.", _AGAIN)
    if not any(stage.done and stage.microphone for stage in stages):
        refused = next((stage.failure for stage in stages if stage.microphone), "")
        return _without_microphone(seen, refused)
    held = [each for each in seen if each.held]
    called = [each for stage in stages if stage.microphone for each in stage.seen if not each.as_usual]
    if not held or not called:
        return _nothing_tried(seen, machine)
    moved = sum(each.verdict == Fate.REDIRECT for each in held)
    them = "it" if len(held) == 1 else "all of them"
    stopped = {0: f"blocked {them}", len(held): f"moved {them} into the VPN"}
    became = stopped.get(moved, "blocked them or moved them into the VPN")
    through = sum(each.reason == Reason.THROUGH_VPN.value for each in seen)
    others = f" {count(through, 'other')} went through the VPN." if through else ""
    return Shown(
        Verdict.SEALED,
        "A web page can't learn your real address",
        f"{count(len(held), 'request')} of this browser would have bypassed the VPN: stunwall {became}.{others}",
    )


def _leak(leaking: Sequence[Seen]) -> Shown:
    names = ", ".join(dict.fromkeys(each.interface for each in leaking))
    reasons = {each.reason for each in leaking}
    if Reason.VPN_DOWN_ALLOWED.value in reasons:
        why = 'no VPN is up, and the configuration says when_vpn_down = "allow"'
        after = 'connect the VPN, or set when_vpn_down = "block"'
    else:
        why = "an exception, allow_lan or a pause lets them out"
        after = (
            "`stunwall status` says whether stunwall is paused; `stunwall allow list` lists the exceptions"
        )
    return Shown(
        Verdict.LEAK,
        "A web page CAN see your real address",
        f"{count(len(leaking), 'request')} of this browser would have left by {names}, outside the VPN: {why}.",
        after,
    )


def _addresses_shown(stages: Sequence[Stage], machine: Machine) -> list[tuple[Address, str, bool]]:
    """Return the real addresses in candidates, each with its interface, and whether that took the microphone."""
    found: dict[Address, tuple[str, bool]] = {}
    for stage in stages:
        made_up = {each.label for each in stage.seen}
        for candidate in (*stage.labelled.candidates, *stage.usual.candidates):
            for address in candidate.shown:
                interface, is_vpn = machine.owners.get(address, ("", False))
                if candidates.is_public(address) and not is_vpn and str(address) not in made_up:
                    found.setdefault(address, (interface, stage.microphone))
    return [(address, *rest) for address, rest in found.items()]


def _address_shown(told: Sequence[tuple[Address, str, bool]]) -> Shown:
    address, interface, microphone = told[0]
    by = f", the address of {interface}," if interface else ""
    permission = " that may use the microphone" if all(each[2] for each in told) else ""
    return Shown(
        Verdict.LEAK,
        f"A web page{permission} CAN see your real address",
        f"The browser itself tells the page {address}{by} without sending a packet, so stunwall cannot stop it.",
        "tell the browser not to: `sudo stunwall browsers set default_public_interface_only`, then restart it"
        + ("; or do not let pages use the microphone" if microphone else ""),
    )


def _without_microphone(seen: Sequence[Seen], refused: str) -> Shown:
    held = sum(each.held for each in seen)
    so_far = (
        f"{count(held, 'request')} that would have bypassed the VPN did not get out"
        if held
        else "no request tried to bypass the VPN"
    )
    why = f"the microphone could not be used ({refused})" if refused else "the microphone was not tried"
    return Shown(
        Verdict.INCONCLUSIVE,
        "Inconclusive: tested only without the microphone",
        f"So far, a page has not seen your real address: {so_far}. But {why}, and a page in a call can learn "
        "more.",
        "press the microphone button on the page and allow it; nothing is recorded",
    )


def _nothing_tried(seen: Sequence[Seen], machine: Machine) -> Shown:
    if not seen:
        return Shown(
            Verdict.INCONCLUSIVE,
            "Inconclusive: the browser sent no request",
            "A page has not seen your real address, but this proves nothing about stunwall: a policy, an extension or "
            "a setting may have switched WebRTC off, or this machine has no network.",
            "`stunwall check` tests stunwall without the browser",
        )
    if any(each.held for each in seen):
        return Shown(
            Verdict.INCONCLUSIVE,
            "Inconclusive: with the microphone, the browser sent no request",
            f"Without it, {count(sum(each.held for each in seen), 'request')} that would have bypassed the VPN did not "
            "get out. But a page in a call can learn more, and that was not tried: an extension or a setting may have "
            "stopped it.",
            "`stunwall check` tests stunwall without the browser",
        )
    if machine.around:
        ways = f"the browser used none of the {count(machine.around, 'way')} around the VPN that this machine has"
    else:
        ways = "this machine has no way around the VPN at the moment"
    return Shown(
        Verdict.INCONCLUSIVE,
        "Inconclusive: nothing in this browser tried to bypass the VPN",
        f"A page has not seen your real address: {count(len(seen), 'request')}, all of them through the VPN. But "
        f"{ways}, so this does not prove that stunwall would have stopped a request.",
        "`stunwall check` tries the other ways",
    )


def tells(stages: Sequence[Stage]) -> str:
    """Return whether a page can tell that stunwall is there."""
    done = [stage for stage in stages if stage.done]
    blocked = [stage for stage in done if any(each.verdict == Fate.BLOCK for each in stage.seen)]
    if not blocked:
        return "No: nothing was blocked, so a page sees what it would see without stunwall."
    errors = {error for stage in blocked for error in stage.usual.errors}
    if any(error.startswith(_REFUSED) for error in errors):
        return (
            "It can guess: this browser tells a page that a STUN server refused its request "
            f"({_REFUSED}, Bad Request). Nothing in the answer names stunwall."
        )
    if any(not stage.usual.complete for stage in blocked):
        return "It can guess: its requests get no answer, as behind a firewall that drops them."
    return "It can guess: its search ends at once, without an error, and some addresses are missing."


def not_tried(stages: Sequence[Stage], machine: Machine) -> list[str]:
    """Return a sentence for each IP version over which the browser has sent no request."""
    done = [stage for stage in stages if stage.done]
    tried = {each.ip_version for stage in done for each in stage.seen}
    return [
        f"IPv{version}: the browser sent no request"
        + (", and this machine has no way out." if version not in machine.routed else ".")
        for version in (4, 6)
        if done and version not in tried
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]

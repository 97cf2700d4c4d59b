"""check/browser.py: the verdict about a browser, and what a page may post."""

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.check import browser
from stunwall.check.browser import Gathering, Machine, Seen, Stage
from stunwall.check.candidates import Candidate
from stunwall.check.verdict import Verdict

MACHINE = Machine(
    {
        ip_address("192.168.1.2"): ("eth0", False),
        ip_address("2001:db8:1::2"): ("eth0", False),
        ip_address("2001:db8:9::2"): ("wg0", True),
    },
    frozenset({4, 6}),
    around=3,
)


def seen(verdict: str = "blocked", reason: str = "outside-vpn", interface: str = "eth0", **more: Any) -> Seen:
    fields: dict[str, Any] = {"ip_version": 4, "source": "192.168.1.2", "source_port": 4000}
    fields |= {"label": "203.0.113.5", "why": "because", "as_usual": False}
    return Seen(**fields | {"verdict": verdict, "reason": reason, "interface": interface} | more)


BLOCKED = seen()
MOVED = seen("redirected", "redirected", "wg0", source_port=4001)
THROUGH = seen("accepted", "through-vpn", "wg0", source_port=4002)
PAUSED = seen("accepted", "exception")
OPEN = seen("accepted", "vpn-down-allowed")


def host(address: str) -> Gathering:
    return Gathering((Candidate("host", "udp", address, 4000, ""),), complete=True)


def stages(*found: Seen, with_microphone: Gathering = Gathering(), failure: str = "") -> list[Stage]:  # noqa: B008
    """Both stages; with the microphone, this was seen."""
    return [Stage(False, seen=(THROUGH,)), Stage(True, with_microphone, failure=failure, seen=found)]


@pytest.mark.parametrize(
    ("found", "verdict", "headline", "why"),
    [
        (
            stages(BLOCKED, THROUGH),
            Verdict.SEALED,
            "A web page can't learn your real address",
            "1 request of this browser would have bypassed the VPN: stunwall blocked it. "
            "2 others went through the VPN.",
        ),
        (
            stages(MOVED),
            Verdict.SEALED,
            "A web page can't learn your real address",
            "1 request of this browser would have bypassed the VPN: stunwall moved it into the VPN. "
            "1 other went through the VPN.",
        ),
        (
            stages(BLOCKED, MOVED),
            Verdict.SEALED,
            "A web page can't learn your real address",
            "2 requests of this browser would have bypassed the VPN: stunwall blocked them or moved them into the VPN. "
            "1 other went through the VPN.",
        ),
        (
            stages(BLOCKED, PAUSED),
            Verdict.LEAK,
            "A web page CAN see your real address",
            "1 request of this browser would have left by eth0, outside the VPN: an exception, allow_lan or a pause "
            "lets them out.",
        ),
        (
            stages(OPEN),
            Verdict.LEAK,
            "A web page CAN see your real address",
            "1 request of this browser would have left by eth0, outside the VPN: no VPN is up, and the configuration "
            'says when_vpn_down = "allow".',
        ),
        (
            stages(BLOCKED, with_microphone=host("2001:db8:1::2")),
            Verdict.LEAK,
            "A web page that may use the microphone CAN see your real address",
            "The browser itself tells the page 2001:db8:1::2, the address of eth0, without sending a packet, so "
            "stunwall cannot stop it.",
        ),
        (
            stages(THROUGH),
            Verdict.INCONCLUSIVE,
            "Inconclusive: nothing in this browser tried to bypass the VPN",
            "A page has not seen your real address: 2 requests, all of them through the VPN. But the browser used none "
            "of the 3 ways around the VPN that this machine has, so this does not prove that stunwall would have "
            "stopped a request.",
        ),
        (
            [Stage(False, seen=(BLOCKED,))],
            Verdict.INCONCLUSIVE,
            "Inconclusive: tested only without the microphone",
            "So far, a page has not seen your real address: 1 request that would have bypassed the VPN did not get "
            "out. But the microphone was not tried, and a page in a call can learn more.",
        ),
        (
            stages(failure="this machine has none"),
            Verdict.INCONCLUSIVE,
            "Inconclusive: tested only without the microphone",
            "So far, a page has not seen your real address: no request tried to bypass the VPN. But the microphone "
            "could not be used (this machine has none), and a page in a call can learn more.",
        ),
        (
            [Stage(False), Stage(True)],
            Verdict.INCONCLUSIVE,
            "Inconclusive: the browser sent no request",
            "A page has not seen your real address, but this proves nothing about stunwall: a policy, an extension or "
            "a setting may have switched WebRTC off, or this machine has no network.",
        ),
        ([], Verdict.INCONCLUSIVE, "Inconclusive: nothing was tested", "No browser has opened the page."),
        (
            [Stage(False, failure="it is off")],
            Verdict.INCONCLUSIVE,
            "Inconclusive: nothing was tested",
            "The page could not test it: it is off.",
        ),
    ],
)
def test_the_verdict_is_of_the_worst_that_was_shown(
    found: list[Stage], verdict: Verdict, headline: str, why: str
) -> None:
    shown = browser.shown(found, MACHINE)
    assert (shown.verdict, shown.headline, shown.why) == (verdict, headline, why)
    assert bool(shown.next) is (verdict is not Verdict.SEALED)


def test_without_a_way_around_the_vpn_it_says_so() -> None:
    shown = browser.shown(stages(THROUGH), Machine({}, frozenset({4}), around=0))
    assert shown.verdict is Verdict.INCONCLUSIVE
    assert "this machine has no way around the VPN at the moment" in shown.why


@pytest.mark.parametrize(
    "address",
    ["192.168.1.2", "fd00::1", "fe80::1", "0.0.0.0", "::", "a.local", "2001:db8:9::2", "203.0.113.5"],
)
def test_addresses_that_tell_nothing_are_no_leak(address: str) -> None:
    found = stages(BLOCKED, with_microphone=host(address))
    assert browser.shown(found, MACHINE).verdict is Verdict.SEALED


def test_an_address_that_nobody_knows_is_a_leak() -> None:
    """Such as one that came meanwhile."""
    shown = browser.shown(stages(BLOCKED, with_microphone=host("8.8.8.8")), MACHINE)
    assert shown.verdict is Verdict.LEAK


def test_a_related_address_is_shown_to_the_page_too() -> None:
    candidate = Candidate("srflx", "udp", "203.0.113.5", 4000, "2001:db8:1::2")
    shown = browser.shown(stages(BLOCKED, with_microphone=Gathering((candidate,))), MACHINE)
    assert shown.verdict is Verdict.LEAK


def test_what_was_asked_as_usual_is_not_counted_twice() -> None:
    usual = seen(source_port=5000, as_usual=True)
    assert "1 request of" in browser.shown(stages(BLOCKED, usual), MACHINE).why


def test_whether_a_page_can_tell() -> None:
    refused, complete = Gathering(errors=("400",), complete=True), Gathering(complete=True)

    def tells(usual: Gathering, found: Seen = BLOCKED) -> str:
        return browser.tells([Stage(True, usual=usual, seen=(found,))])

    assert tells(complete, THROUGH).startswith("No: ")
    assert tells(refused).startswith("It can guess: this browser tells a page that a STUN server refused")
    assert tells(complete).startswith("It can guess: its search ends at once")
    assert tells(Gathering()).startswith("It can guess: its requests get no answer")


def test_what_was_not_tried_is_told() -> None:
    assert browser.not_tried([], MACHINE) == []
    assert browser.not_tried(stages(BLOCKED), MACHINE) == ["IPv6: the browser sent no request."]
    assert browser.not_tried(stages(BLOCKED), Machine({}, frozenset({4}), 1)) == [
        "IPv6: the browser sent no request, and this machine has no way out."
    ]


def test_what_a_page_posts_is_taken() -> None:
    line = "candidate:1 1 udp 2122260223 192.168.1.2 4000 typ host generation 0"
    gathered = {
        "candidates": [line, line],
        "errors": ["400"],
        "milliseconds": 130.4,
        "complete": True,
    }
    stage = browser.parse_stage({"microphone": True, "labelled": gathered, "usual": {}}, [BLOCKED, BLOCKED])
    assert stage == Stage(
        True,
        Gathering((Candidate("host", "udp", "192.168.1.2", 4000, ""),), ("400",), 130, complete=True),
        seen=(BLOCKED,),
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
KEYS = st.sampled_from(("candidates", "errors", "milliseconds", "complete", "sdp"))


@given(
    st.dictionaries(
        st.sampled_from(("microphone", "labelled", "usual", "failure")), JSON | st.dictionaries(KEYS, JSON)
    )
)
def test_anything_else_that_a_page_posts_is_left_out(report: Any) -> None:
    stage = browser.parse_stage(report, [])
    browser.shown([stage], MACHINE)
    assert len(stage.labelled.candidates) <= 200
    assert 0 <= stage.usual.milliseconds <= 600_000


@pytest.mark.parametrize("report", [None, [], 1, "text"])
def test_what_is_no_object_shows_nothing(report: Any) -> None:
    assert browser.parse_stage(report, []) == Stage(False)


def test_a_microphone_stage_that_asked_nothing_seals_nothing() -> None:
    done = [Stage(False, seen=(BLOCKED,)), Stage(True)]
    assert all(stage.done for stage in done)
    shown = browser.shown(done, MACHINE)
    assert shown.verdict is Verdict.INCONCLUSIVE
    assert shown.headline == "Inconclusive: with the microphone, the browser sent no request"

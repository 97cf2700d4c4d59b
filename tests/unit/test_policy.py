"""policy.py: one table from what is known of a packet to (verdict, reason, answered?)."""

import itertools
from dataclasses import dataclass, field, replace

import pytest

from stunwall.config import Config, Mode, OnBlock, WhenVpnDown
from stunwall.model import Arrival, Hook, Reason, Verdict
from stunwall.policy import View, decide
from stunwall.stun import detect
from stunwall.stun import message as stun
from stunwall.stun.detect import Detection
from unit.build import packet
from unit.test_handshake import HANDSHAKE_REASONS
from vectors import rfc5769
from vectors.programs import SAMPLES, Sample, attribute, classic, framed, message, teams

BLOCK, ACCEPT, MOVE = Verdict.BLOCK, Verdict.ACCEPT, Verdict.REDIRECT
OUTPUT, WALL = Hook.OUTPUT, Hook.POSTROUTING
ETH, WG, BOX = "eth0", "wg0", "docker0"
UP, DOWN = frozenset({WG}), frozenset[str]()
INSIDE = frozenset({BOX})
BOTH, ONLY4, NONE = frozenset({4, 6}), frozenset({4}), frozenset[int]()
REQUEST, TLS = message(0x0001), bytes.fromhex("1603010200010001fc0303")


@dataclass(frozen=True)
class Case:
    """Inputs from left to right as the ladder asks for them, then the outcome."""

    claim: str
    verdict: Verdict
    reason: Reason
    answered: bool = False
    """With a STUN error response."""
    refused: bool = False
    """Without one: by ICMP, or a reset alone."""
    payload: bytes = REQUEST
    transport: str = "udp"
    version: int = 4
    hook: Hook = WALL
    interface: str = ETH
    marked: bool = False
    forwarded: bool = False
    vpn: frozenset[str] = UP
    families: frozenset[int] = BOTH
    config: Config = field(default_factory=Config)

    known: bool = True

    @property
    def arrival(self) -> Arrival:
        """The packet as it was queued."""
        return arrival(self.hook, self.interface, self.marked, self.forwarded)

    @property
    def view(self) -> View:
        """The network as it is known."""
        return View(self.vpn, self.families, self.known, INSIDE)


def arrival(hook: Hook, interface: str, marked: bool, forwarded: bool) -> Arrival:
    """A packet as it was queued; its bytes do not matter here."""
    mark = Config().redirected_bit if marked else 0
    return Arrival(b"", "veth0" if forwarded else "", interface, hook, mark, 0.0)


OPEN = Config(when_vpn_down=WhenVpnDown.ALLOW)
SILENT = Config(on_block=OnBlock.DROP)
REDIRECT = Config(mode=Mode.REDIRECT)

CASES = [
    Case("outside the VPN it is blocked", BLOCK, Reason.OUTSIDE_VPN, True),
    Case("IPv6 outside the VPN is blocked", BLOCK, Reason.OUTSIDE_VPN, True, version=6),
    Case("TCP outside the VPN is blocked", BLOCK, Reason.OUTSIDE_VPN, True, transport="tcp"),
    Case("through the VPN it passes", ACCEPT, Reason.THROUGH_VPN, interface=WG),
    Case("to a machine behind this one it passes", ACCEPT, Reason.INSIDE, interface=BOX),
    Case(
        "to a machine behind this one it passes without a VPN", ACCEPT, Reason.INSIDE, interface=BOX, vpn=DOWN
    ),
    Case("from a machine behind this one it is blocked", BLOCK, Reason.OUTSIDE_VPN, True, forwarded=True),
    Case("redirect leaves it alone", ACCEPT, Reason.INSIDE, interface=BOX, hook=OUTPUT, config=REDIRECT),
    Case("a longer name than the VPN's is not the VPN", BLOCK, Reason.OUTSIDE_VPN, True, interface="wg01"),
    Case("an unknown interface is not the VPN", BLOCK, Reason.OUTSIDE_VPN, True, interface=""),
    Case("an interface that is gone is not the VPN", BLOCK, Reason.OUTSIDE_VPN, True, interface="#7"),
    Case("without a VPN all is blocked", BLOCK, Reason.NO_VPN, True, vpn=DOWN),
    Case("what was the VPN is none when it is down", BLOCK, Reason.NO_VPN, True, interface=WG, vpn=DOWN),
    Case("when_vpn_down lets it pass without a VPN", ACCEPT, Reason.VPN_DOWN_ALLOWED, vpn=DOWN, config=OPEN),
    Case(
        "when_vpn_down opens nothing while the network is not known",
        BLOCK,
        Reason.NO_VPN,
        True,
        vpn=DOWN,
        config=OPEN,
        known=False,
    ),
    Case("when_vpn_down changes nothing with a VPN", BLOCK, Reason.OUTSIDE_VPN, True, config=OPEN),
    # mode = "redirect", at the output hook: nothing is blocked or let out for good, as the interface may change
    Case("redirect moves it", MOVE, Reason.REDIRECTED, hook=OUTPUT, config=REDIRECT),
    Case(
        "redirect moves IPv6 if the VPN carries it",
        MOVE,
        Reason.REDIRECTED,
        hook=OUTPUT,
        config=REDIRECT,
        version=6,
    ),
    Case(
        "redirect moves a request with credentials",
        MOVE,
        Reason.REDIRECTED,
        hook=OUTPUT,
        config=REDIRECT,
        payload=rfc5769.REQUEST,
    ),
    Case(
        "redirect moves whatever on_block says",
        MOVE,
        Reason.REDIRECTED,
        hook=OUTPUT,
        config=replace(REDIRECT, on_block=OnBlock.DROP),
    ),
    Case(
        "redirect moves whatever when_vpn_down says",
        MOVE,
        Reason.REDIRECTED,
        hook=OUTPUT,
        config=replace(REDIRECT, when_vpn_down=WhenVpnDown.ALLOW),
    ),
    Case(
        "IPv6 goes on to the wall if the VPN carries IPv4 alone",
        ACCEPT,
        Reason.WALL_DECIDES,
        hook=OUTPUT,
        config=REDIRECT,
        version=6,
        families=ONLY4,
    ),
    Case(
        "IPv4 goes on to the wall if the VPN carries IPv6 alone",
        ACCEPT,
        Reason.WALL_DECIDES,
        hook=OUTPUT,
        config=REDIRECT,
        families=frozenset({6}),
    ),
    Case(
        "without a VPN it goes on to the wall",
        ACCEPT,
        Reason.WALL_DECIDES,
        hook=OUTPUT,
        config=REDIRECT,
        vpn=DOWN,
        families=NONE,
    ),
    Case("in mode block it goes on to the wall", ACCEPT, Reason.WALL_DECIDES, hook=OUTPUT),
    Case(
        "in mode block without a VPN it goes on to the wall",
        ACCEPT,
        Reason.WALL_DECIDES,
        hook=OUTPUT,
        vpn=DOWN,
        families=NONE,
    ),
    # mode = "redirect", at the wall: what could not be moved is blocked, and why
    Case(
        "marked, but not in the VPN: bound to a device",
        BLOCK,
        Reason.DEVICE_BOUND,
        True,
        config=REDIRECT,
        marked=True,
    ),
    Case(
        "marked is more than of a family the VPN lacks",
        BLOCK,
        Reason.DEVICE_BOUND,
        True,
        config=REDIRECT,
        marked=True,
        families=NONE,
    ),
    Case(
        "marked and no VPN left",
        BLOCK,
        Reason.NO_VPN,
        True,
        config=REDIRECT,
        marked=True,
        vpn=DOWN,
        families=NONE,
    ),
    Case(
        "marked and in the VPN: it worked",
        ACCEPT,
        Reason.THROUGH_VPN,
        config=REDIRECT,
        marked=True,
        interface=WG,
    ),
    Case(
        "marked does not open what is shut",
        BLOCK,
        Reason.DEVICE_BOUND,
        True,
        marked=True,
        interface="#7",
        config=replace(REDIRECT, when_vpn_down=WhenVpnDown.ALLOW),
    ),
    Case("a container's", BLOCK, Reason.FORWARDED, True, config=REDIRECT, forwarded=True),
    Case(
        "a container's of a family the VPN lacks",
        BLOCK,
        Reason.FORWARDED,
        True,
        config=REDIRECT,
        forwarded=True,
        families=NONE,
    ),
    Case(
        "a container's through the VPN",
        ACCEPT,
        Reason.THROUGH_VPN,
        config=REDIRECT,
        forwarded=True,
        interface=WG,
    ),
    Case(
        "a family that the VPN lacks",
        BLOCK,
        Reason.NO_FAMILY,
        True,
        config=REDIRECT,
        version=6,
        families=ONLY4,
    ),
    Case(
        "TCP of a family that the VPN lacks",
        BLOCK,
        Reason.NO_FAMILY,
        True,
        config=REDIRECT,
        version=6,
        families=ONLY4,
        transport="tcp",
    ),
    Case("TCP is connected already", BLOCK, Reason.TCP, True, config=REDIRECT, transport="tcp"),
    Case("a flow that was there before", BLOCK, Reason.KNOWN_FLOW, True, config=REDIRECT),
    Case(
        "redirect without a VPN blocks", BLOCK, Reason.NO_VPN, True, config=REDIRECT, vpn=DOWN, families=NONE
    ),
    Case(
        "redirect without a VPN obeys when_vpn_down",
        ACCEPT,
        Reason.VPN_DOWN_ALLOWED,
        vpn=DOWN,
        families=NONE,
        config=replace(REDIRECT, when_vpn_down=WhenVpnDown.ALLOW),
    ),
    Case(
        "redirect obeys on_block", BLOCK, Reason.KNOWN_FLOW, config=replace(REDIRECT, on_block=OnBlock.DROP)
    ),
    # mode = "block" does not speak of redirecting
    Case("in mode block a mark is nothing", BLOCK, Reason.OUTSIDE_VPN, True, marked=True),
    Case("in mode block a container's is as others", BLOCK, Reason.OUTSIDE_VPN, True, forwarded=True),
    Case("in mode block a family is nothing", BLOCK, Reason.OUTSIDE_VPN, True, version=6, families=NONE),
    # Answers
    Case('on_block = "drop" answers nothing', BLOCK, Reason.OUTSIDE_VPN, config=SILENT),
    Case('on_block = "drop" answers nothing without a VPN', BLOCK, Reason.NO_VPN, vpn=DOWN, config=SILENT),
    *(
        Case(
            f"{name} is refused without a response", BLOCK, Reason.OUTSIDE_VPN, refused=True, payload=payload
        )
        for name, payload in (
            ("a request with credentials", rfc5769.REQUEST),
            ("a cut request", REQUEST[:12]),
            ("DTLS", bytes.fromhex("16fefd")),
            ("ChannelData", b"\x40\0\0\0"),
            ("Discord", b"\0\x01\0\x46" + bytes(70)),
        )
    ),
    *(
        Case(
            f"{name} over TCP is refused without a response",
            BLOCK,
            Reason.OUTSIDE_VPN,
            refused=True,
            payload=payload,
            transport="tcp",
        )
        for name, payload in (
            ("a request with credentials", rfc5769.REQUEST),
            ("an indication", message(0x0011)),
            ("a response", rfc5769.IPV4_RESPONSE),
            ("TLS", TLS),
            ("ChannelData", b"\x40\0\0\0"),
            ("the beginning of STUN", b"\0\x01"),
        )
    ),
    Case("an indication is not answered", BLOCK, Reason.OUTSIDE_VPN, payload=message(0x0011)),
    Case("a response is not answered", BLOCK, Reason.OUTSIDE_VPN, payload=rfc5769.IPV4_RESPONSE),
    Case(
        'on_block = "drop" resets nothing',
        BLOCK,
        Reason.OUTSIDE_VPN,
        payload=TLS,
        transport="tcp",
        config=SILENT,
    ),
    Case(
        "an ICE check without credentials is answered",
        BLOCK,
        Reason.OUTSIDE_VPN,
        True,
        payload=message(0x0001, attribute(0x0024, bytes(4))),
    ),
    Case("an allocate request is answered", BLOCK, Reason.OUTSIDE_VPN, True, payload=message(0x0003)),
    Case("a classic request is answered", BLOCK, Reason.OUTSIDE_VPN, True, payload=classic(0x0001)),
    Case(
        "a framed request is answered",
        BLOCK,
        Reason.OUTSIDE_VPN,
        True,
        payload=framed(REQUEST),
        transport="tcp",
    ),
    Case("a request of Teams is answered", BLOCK, Reason.OUTSIDE_VPN, True, payload=teams(message(0x0003))),
]


def _detected(case: Case) -> Detection:
    seen = detect.detect(packet(case.transport, case.payload, case.version))
    assert seen is not None
    return seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.claim)
def test_each_packet_gets_its_verdict_reason_and_answer(case: Case) -> None:
    seen = _detected(case)
    decision = decide(seen, case.arrival, case.view, case.config)
    assert (decision.verdict, decision.reason) == (case.verdict, case.reason)
    expected = (
        stun.error_response(seen.stun, seen.datagram.transport)
        if case.answered
        else b""
        if case.refused
        else None
    )
    assert decision.refusal == expected
    assert bool(decision.refusal) is case.answered


CONFIGS = [
    Config(mode=mode, on_block=on_block, when_vpn_down=down)
    for mode, on_block, down in itertools.product(Mode, OnBlock, WhenVpnDown)
]
ARRIVALS = [
    arrival(*way)
    for way in itertools.product((OUTPUT, WALL), (ETH, WG, BOX, "", "#7"), (False, True), (False, True))
]
VIEWS = [
    View(*known)
    for known in itertools.product((UP, DOWN), (BOTH, ONLY4, NONE), (True, False), (INSIDE, frozenset[str]()))
]


@pytest.mark.parametrize("config", CONFIGS)
def test_what_only_resembles_stun_passes_unless_it_is_of_a_redirected_flow(config: Config) -> None:
    for queued, view in itertools.product(ARRIVALS, VIEWS):
        decision = decide(None, queued, view, config)
        strays = (
            config.mode is Mode.REDIRECT
            and queued.hook is WALL
            and queued.mark != 0
            and queued.outgoing not in view.vpn | view.inside
        )
        expected = (BLOCK, Reason.DEVICE_BOUND) if strays else (ACCEPT, Reason.NOT_STUN)
        assert (decision.verdict, decision.reason, decision.refusal) == (*expected, None)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
@pytest.mark.parametrize("version", [4, 6])
def test_every_sample_in_every_way_leaves_by_the_vpn_or_not_at_all_unless_the_user_said_so(
    sample: Sample, version: int
) -> None:
    seen = detect.detect(packet(sample.transport, sample.payload, version, sample.port))
    assert seen is not None
    for queued, view, config in itertools.product(ARRIVALS, VIEWS, CONFIGS):
        decision = decide(seen, queued, view, config)
        assert (decision.refusal is None) or decision.verdict is BLOCK
        if queued.outgoing in view.inside:
            assert decision.verdict is ACCEPT
            continue
        if queued.hook is OUTPUT:  # the wall is still to come
            moved = config.mode is Mode.REDIRECT and version in view.families
            assert decision.verdict is (MOVE if moved else ACCEPT)
            continue
        through = queued.outgoing in view.vpn
        said = view.known and not view.vpn and config.when_vpn_down is WhenVpnDown.ALLOW
        assert decision.verdict is (ACCEPT if through or said else BLOCK), (queued, view, config)


def test_the_table_has_every_reason_that_a_decision_can_have() -> None:
    # Above, of what comes in, judge.py's, of a check (test_checked.py), and the queue's own.
    others = {Reason.NOT_STUN, Reason.EXPOSED, Reason.UNASKED, Reason.EXCEPTION, Reason.UNREADABLE}
    elsewhere = others | HANDSHAKE_REASONS
    assert {case.reason for case in CASES} | elsewhere == set(Reason)


def test_every_reason_has_a_sentence() -> None:
    assert all(reason.sentence and "\n" not in reason.sentence for reason in Reason)

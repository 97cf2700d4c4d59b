"""policy.py: one table from what is known of a packet to (verdict, reason, answered?)."""

from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from stunwall import detect, stun
from stunwall.config import Allow, Config, OnBlock, WhenVpnDown
from stunwall.detect import Detection
from stunwall.model import Reason, Transport, Verdict
from stunwall.policy import View, decide
from unit.build import packet
from vectors import rfc5769
from vectors.programs import SAMPLES, attribute, classic, framed, message, teams

BLOCK, ACCEPT = Verdict.BLOCK, Verdict.ACCEPT
ETH, WG = "eth0", "wg0"
UP, DOWN = frozenset({WG}), frozenset[str]()
REQUEST, TLS = message(0x0001), bytes.fromhex("1603010200010001fc0303")


def allow(**given: object) -> Config:
    """A configuration with one exception; the destination is 203.0.113.7 or 2001:db8:7::7, the port 3478."""
    if "to" in given:
        given["to"] = ip_network(str(given["to"]))
    return Config(allow=(Allow(why="a test", **given),))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """Inputs from left to right as the ladder asks for them, then the outcome."""

    claim: str
    verdict: Verdict
    reason: Reason
    answered: bool = False
    payload: bytes = REQUEST
    transport: str = "udp"
    version: int = 4
    interface: str = ETH
    vpn: frozenset[str] = UP
    config: Config = field(default_factory=Config)


OPEN = Config(when_vpn_down=WhenVpnDown.ALLOW)
SILENT = Config(on_block=OnBlock.DROP)

CASES = [
    Case("outside the VPN it is blocked", BLOCK, Reason.OUTSIDE_VPN, True),
    Case("IPv6 outside the VPN is blocked", BLOCK, Reason.OUTSIDE_VPN, True, version=6),
    Case("TCP outside the VPN is blocked", BLOCK, Reason.OUTSIDE_VPN, True, transport="tcp"),
    Case("through the VPN it passes", ACCEPT, Reason.THROUGH_VPN, interface=WG),
    Case("a longer name than the VPN's is not the VPN", BLOCK, Reason.OUTSIDE_VPN, True, interface="wg01"),
    Case("an unknown interface is not the VPN", BLOCK, Reason.OUTSIDE_VPN, True, interface=""),
    Case("an interface that is gone is not the VPN", BLOCK, Reason.OUTSIDE_VPN, True, interface="#7"),
    Case("without a VPN all is blocked", BLOCK, Reason.NO_VPN, True, vpn=DOWN),
    Case("what was the VPN is none when it is down", BLOCK, Reason.NO_VPN, True, interface=WG, vpn=DOWN),
    Case("when_vpn_down lets it pass without a VPN", ACCEPT, Reason.VPN_DOWN_ALLOWED, vpn=DOWN, config=OPEN),
    Case("when_vpn_down changes nothing with a VPN", BLOCK, Reason.OUTSIDE_VPN, True, config=OPEN),
    # Exceptions
    Case("an address", ACCEPT, Reason.ALLOWED, config=allow(to="203.0.113.7")),
    Case("an address of IPv6", ACCEPT, Reason.ALLOWED, version=6, config=allow(to="2001:db8:7::7")),
    Case("another address", BLOCK, Reason.OUTSIDE_VPN, True, config=allow(to="203.0.113.8")),
    Case("a network", ACCEPT, Reason.ALLOWED, config=allow(to="203.0.113.0/29")),
    Case("the network beside", BLOCK, Reason.OUTSIDE_VPN, True, config=allow(to="203.0.113.8/29")),
    Case("all of IPv4", ACCEPT, Reason.ALLOWED, config=allow(to="0.0.0.0/0")),
    Case("all of IPv4 is not IPv6", BLOCK, Reason.OUTSIDE_VPN, True, version=6, config=allow(to="0.0.0.0/0")),
    Case("all of IPv6 is not IPv4", BLOCK, Reason.OUTSIDE_VPN, True, config=allow(to="::/0")),
    Case("a mapped address is not IPv4", BLOCK, Reason.OUTSIDE_VPN, True,
         config=allow(to="::ffff:203.0.113.7")),
    Case("a port", ACCEPT, Reason.ALLOWED, config=allow(port=3478)),
    Case("another port", BLOCK, Reason.OUTSIDE_VPN, True, config=allow(port=3479)),
    Case("the source's port is not meant", BLOCK, Reason.OUTSIDE_VPN, True, config=allow(port=50017)),
    Case("the source's address is not meant", BLOCK, Reason.OUTSIDE_VPN, True, config=allow(to="192.0.2.17")),
    Case("a protocol", ACCEPT, Reason.ALLOWED, config=allow(protocol=Transport.UDP)),
    Case("the other protocol", BLOCK, Reason.OUTSIDE_VPN, True, config=allow(protocol=Transport.TCP)),
    Case("an interface", ACCEPT, Reason.ALLOWED, config=allow(interface=ETH)),
    Case("another interface", BLOCK, Reason.OUTSIDE_VPN, True, config=allow(interface="eth1")),
    Case("an interface is no glob", BLOCK, Reason.OUTSIDE_VPN, True, config=allow(interface="eth*")),
    Case("all that is given must match", BLOCK, Reason.OUTSIDE_VPN, True,
         config=allow(to="203.0.113.7", port=3478, protocol=Transport.UDP, interface="eth1")),
    Case("all that is given matches", ACCEPT, Reason.ALLOWED,
         config=allow(to="203.0.113.7", port=3478, protocol=Transport.UDP, interface=ETH)),
    Case("an exception holds without a VPN", ACCEPT, Reason.ALLOWED, vpn=DOWN, config=allow(port=3478)),
    Case("an exception of another port holds not without a VPN", BLOCK, Reason.NO_VPN, True, vpn=DOWN,
         config=allow(port=1)),
    Case("the second exception counts too", ACCEPT, Reason.ALLOWED,
         config=Config(allow=(*allow(port=1).allow, *allow(port=3478).allow))),
    Case("an exception is not asked in the VPN", ACCEPT, Reason.THROUGH_VPN, interface=WG,
         config=allow(port=3478)),
    # Answers
    Case('on_block = "drop" answers nothing', BLOCK, Reason.OUTSIDE_VPN, config=SILENT),
    Case('on_block = "drop" answers nothing without a VPN', BLOCK, Reason.NO_VPN, vpn=DOWN, config=SILENT),
    Case("a request with credentials is not answered", BLOCK, Reason.OUTSIDE_VPN, payload=rfc5769.REQUEST),
    Case("an indication is not answered", BLOCK, Reason.OUTSIDE_VPN, payload=message(0x0011)),
    Case("a response is not answered", BLOCK, Reason.OUTSIDE_VPN, payload=rfc5769.IPV4_RESPONSE),
    Case("a cut request is not answered", BLOCK, Reason.OUTSIDE_VPN, payload=REQUEST[:12]),
    Case("TLS is not answered", BLOCK, Reason.OUTSIDE_VPN, payload=TLS, transport="tcp"),
    Case("ChannelData is not answered", BLOCK, Reason.OUTSIDE_VPN, payload=b"\x40\0\0\0"),
    Case("Discord is not answered", BLOCK, Reason.OUTSIDE_VPN, payload=b"\0\x01\0\x46" + bytes(70)),
    Case("an ICE check without credentials is answered", BLOCK, Reason.OUTSIDE_VPN, True,
         payload=message(0x0001, attribute(0x0024, bytes(4)))),
    Case("an allocate request is answered", BLOCK, Reason.OUTSIDE_VPN, True, payload=message(0x0003)),
    Case("a classic request is answered", BLOCK, Reason.OUTSIDE_VPN, True, payload=classic(0x0001)),
    Case("a framed request is answered", BLOCK, Reason.OUTSIDE_VPN, True, payload=framed(REQUEST),
         transport="tcp"),
    Case("a request of Teams is answered", BLOCK, Reason.OUTSIDE_VPN, True, payload=teams(message(0x0003))),
]  # fmt: skip


def _detected(case: Case) -> Detection:
    seen = detect.detect(packet(case.transport, case.payload, case.version))
    assert seen is not None
    return seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.claim)
def test_each_packet_gets_its_verdict_reason_and_answer(case: Case) -> None:
    seen = _detected(case)
    decision = decide(seen, View(case.interface, case.vpn), case.config)
    assert (decision.verdict, decision.reason) == (case.verdict, case.reason)
    assert decision.answer == (stun.refusal(seen.stun) if case.answered else None)
    assert (decision.answer is not None) is case.answered


@pytest.mark.parametrize("vpn", [UP, DOWN])
@pytest.mark.parametrize("interface", [ETH, WG, "", "#7"])
@pytest.mark.parametrize("config", [Config(), OPEN, SILENT, allow(port=1)])
def test_what_only_resembles_stun_passes_everywhere(
    vpn: frozenset[str], interface: str, config: Config
) -> None:
    decision = decide(None, View(interface, vpn), config)
    assert (decision.verdict, decision.reason, decision.answer) == (ACCEPT, Reason.NOT_STUN, None)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
def test_every_sample_is_blocked_outside_the_vpn_and_passes_through_it(sample: object) -> None:
    name, transport, payload, port = (
        getattr(sample, key) for key in ("name", "transport", "payload", "port")
    )
    seen = detect.detect(packet(transport, payload, port=port))
    assert decide(seen, View(ETH, UP), Config()).verdict is BLOCK, name
    assert decide(seen, View(ETH, DOWN), Config()).verdict is BLOCK, name
    assert decide(seen, View(WG, UP), Config()).verdict is ACCEPT, name


def test_the_table_has_every_reason_that_a_decision_can_have() -> None:
    elsewhere = {Reason.NOT_STUN, Reason.UNREADABLE, Reason.FAULT}  # above; and daemon.py's own
    assert {case.reason for case in CASES} | elsewhere == set(Reason)


def test_every_reason_has_a_sentence() -> None:
    assert all(reason.sentence and "\n" not in reason.sentence for reason in Reason)

"""policy.decide_handshake and judge: the first segment of a TCP connection."""

from dataclasses import dataclass, field, replace

import pytest

from stunwall.config import BoundTcp, Config, Mode, OnBlock
from stunwall.judge import judge
from stunwall.model import Arrival, Framing, Hook, Origin, Program, Reason, Verdict
from stunwall.policy import View
from stunwall.stun.packet import parse
from unit.build import DESTINATIONS, SOURCE_PORT, SOURCES, TCP, ip4, ip6, tcp
from vectors.programs import message

SYN, SYN_ACK, ACK, FIN, RST = 0x02, 0x12, 0x10, 0x11, 0x04  # RFC 9293 §3.1
BLOCK, ACCEPT, MOVE = Verdict.BLOCK, Verdict.ACCEPT, Verdict.REDIRECT
REDIRECT, ALL = Config(mode=Mode.REDIRECT), Config(bound_tcp=BoundTcp.ALL)
HANDSHAKE_REASONS = {Reason.BOUND, Reason.ROUTED_OUTSIDE, Reason.NO_WEBRTC}


@dataclass(frozen=True)
class Case:
    """Inputs from left to right as the ladder asks for them, then the outcome."""

    claim: str
    verdict: Verdict
    reason: Reason
    interface: str = "eth0"
    vpn: frozenset[str] = frozenset({"wg0"})
    route: str = "wg0"
    program: Program = Program.WEBRTC
    bound_to_device: bool = False
    version: int = 4
    families: frozenset[int] = frozenset({4, 6})
    config: Config = field(default_factory=Config)


CASES = [
    Case("bound outside the VPN, by a browser", BLOCK, Reason.BOUND),
    Case("the same in IPv6", BLOCK, Reason.BOUND, version=6),
    Case("bound to a device", BLOCK, Reason.BOUND, bound_to_device=True),
    Case("the program is not known", BLOCK, Reason.BOUND, program=Program.UNKNOWN),
    Case("the VPN came up meanwhile", ACCEPT, Reason.THROUGH_VPN, interface="wg0"),
    Case("a container came up meanwhile", ACCEPT, Reason.INSIDE, interface="docker0"),
    Case("routing leads outside", ACCEPT, Reason.ROUTED_OUTSIDE, route="eth0"),
    Case("routing leads inside", ACCEPT, Reason.ROUTED_OUTSIDE, route="docker0"),
    Case("routing leads nowhere", ACCEPT, Reason.ROUTED_OUTSIDE, route=""),
    Case("the VPN went down meanwhile", ACCEPT, Reason.ROUTED_OUTSIDE, vpn=frozenset()),
    Case("by another program", ACCEPT, Reason.NO_WEBRTC, program=Program.OTHER),
    Case("all programs are meant", BLOCK, Reason.BOUND, program=Program.OTHER, config=ALL),
    Case("routing comes first, with all too", ACCEPT, Reason.ROUTED_OUTSIDE, route="eth0", config=ALL),
    Case("redirected", MOVE, Reason.REDIRECTED, config=REDIRECT),
    Case("redirected though not known", MOVE, Reason.REDIRECTED, program=Program.UNKNOWN, config=REDIRECT),
    Case(
        "the VPN does not carry it", BLOCK, Reason.BOUND, version=6, families=frozenset({4}), config=REDIRECT
    ),
    Case("a device is not left", BLOCK, Reason.BOUND, bound_to_device=True, config=REDIRECT),
    Case("by another program, redirect", ACCEPT, Reason.NO_WEBRTC, program=Program.OTHER, config=REDIRECT),
]


def arrival(case: Case) -> Arrival:
    segment = tcp(b"", 443, flags=SYN)
    packet = ip4(TCP, segment) if case.version == 4 else ip6(TCP, segment)
    origin = Origin(case.route, case.bound_to_device, case.program)
    return Arrival(packet, "", case.interface, Hook.OUTPUT, 0, 5.0, origin=origin)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.claim)
def test_the_table_of_handshakes(case: Case) -> None:
    view = View(case.vpn, case.families, inside=frozenset({"docker0"}))
    judgement = judge(arrival(case), view, case.config)
    assert (judgement.verdict, judgement.reason) == (case.verdict, case.reason)
    assert (judgement.event is None) is (case.verdict is ACCEPT)
    assert (judgement.refusal is None) is (case.verdict is not BLOCK)


def test_the_table_has_every_reason_of_a_handshake() -> None:
    assert {case.reason for case in CASES} >= HANDSHAKE_REASONS


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_refused_is_recorded_and_reset(version: int) -> None:
    queued = arrival(replace(CASES[0], version=version))
    view = View(frozenset({"wg0"}), frozenset())
    judgement = judge(queued, view, Config())
    event, refusal = judgement.event, judgement.refusal
    assert event is not None
    assert (event.protocol, event.method, event.transport, event.family) == (
        "tcp-handshake",
        "SYN",
        "tcp",
        version,
    )
    assert (event.source, event.source_port) == (SOURCES[version], SOURCE_PORT)
    assert (event.destination, event.destination_port) == (DESTINATIONS[version], 443)
    assert (event.interface, event.packet, event.reason) == ("eth0", queued.packet, "bound")
    assert refusal is not None
    assert (refusal.packet, refusal.response, refusal.framing) == (queued.packet, b"", Framing.PLAIN)
    assert refusal.blocked == parse(queued.packet)
    silent = judge(queued, view, Config(on_block=OnBlock.DROP))
    assert (silent.verdict, silent.refusal) == (BLOCK, None)


def opens(flags: int, payload: bytes = b"") -> bool:
    segment = parse(ip4(TCP, tcp(payload, 443, flags=flags)))
    assert segment.tcp is not None
    return segment.tcp.opens


@pytest.mark.parametrize("flags", [SYN_ACK, ACK, FIN, RST, SYN | FIN, SYN | RST, 0])
def test_only_a_syn_alone_opens_a_connection(flags: int) -> None:
    assert not opens(flags)


def test_other_flags_do_not_matter() -> None:
    """RFC 3168 §6.1.1: ECE and CWR in a SYN; and data may be in it (RFC 7413)."""
    assert opens(SYN | 0xC0, message(0x0001))

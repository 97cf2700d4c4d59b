"""judge.py: from queued bytes to everything that the daemon has to carry out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.config import Config, Mode, OnBlock, WhenVpnDown
from stunwall.judge import Judgement, judge
from stunwall.model import EXPOSED, Arrival, Framing, Hook, Reason, Verdict
from stunwall.policy import View
from stunwall.stun import packet
from stunwall.stun.detect import mapped_address
from stunwall.stun.message import error_response
from unit.build import DESTINATIONS, SOURCE_PORT, SOURCES
from unit.build import packet as build
from vectors import rfc5769
from vectors.programs import message, teams

REQUEST = message(0x0001)
REDIRECT = Config(mode=Mode.REDIRECT)
OPEN = Config(when_vpn_down=WhenVpnDown.ALLOW)
VPN = View(frozenset({"wg0"}), frozenset({4, 6}), inside=frozenset({"docker0"}))
NO_VPN = View(frozenset(), frozenset())
NOW = 1_700_000_000.25


def arrival(payload: bytes = REQUEST, transport: str = "udp", version: int = 4, **given: object) -> Arrival:
    """A packet that leaves by eth0, in postrouting, unless said otherwise."""
    queued = Arrival(build(transport, payload, version, 3478), "", "eth0", Hook.POSTROUTING, 0, NOW)
    return queued._replace(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [4, 6])
def test_a_blocked_request_is_recorded_and_refused(version: int) -> None:
    queued = arrival(version=version)
    judgement = judge(queued, VPN, Config())
    assert (judgement.verdict, judgement.reason) == (Verdict.BLOCK, Reason.OUTSIDE_VPN)
    event, refusal = judgement.event, judgement.refusal
    assert event is not None
    assert (event.time, event.last_time, event.count) == (NOW, NOW, 1)
    assert (event.verdict, event.reason, event.protocol, event.method) == (
        "blocked",
        "outside-vpn",
        "stun",
        "Binding",
    )
    assert (event.transport, event.family, event.interface) == ("udp", version, "eth0")
    assert (event.source, event.source_port) == (SOURCES[version], SOURCE_PORT)
    assert (event.destination, event.destination_port) == (DESTINATIONS[version], 3478)
    assert event.packet == queued.packet
    assert refusal is not None
    assert refusal.blocked == packet.parse(queued.packet)
    assert refusal.packet == queued.packet
    assert (refusal.response, refusal.framing, refusal.incoming) == (
        error_response(REQUEST),
        Framing.PLAIN,
        "",
    )
    assert judgement.retracted is None


def test_a_refusal_goes_back_by_the_interface_that_its_packet_came_in_by() -> None:
    refusal = judge(arrival(incoming="docker0"), VPN, Config()).refusal
    assert refusal is not None
    assert refusal.incoming == "docker0"


@pytest.mark.parametrize("incoming", ["eth0", "eth1", "wg0", "docker", "#7"])
def test_a_packet_that_came_in_from_outside_or_the_vpn_is_blocked_without_a_refusal(incoming: str) -> None:
    judgement = judge(arrival(incoming=incoming), VPN, Config())
    assert judgement.verdict is Verdict.BLOCK
    assert judgement.event is not None
    assert judgement.refusal is None


@pytest.mark.parametrize("config", [Config(), REDIRECT])
@pytest.mark.parametrize("hook", [Hook.OUTPUT, Hook.POSTROUTING])
@pytest.mark.parametrize("incoming", ["", "eth0", "wg0", "docker0"])
def test_what_goes_to_a_machine_behind_this_one_passes_unrecorded(
    incoming: str, hook: Hook, config: Config
) -> None:
    queued = arrival(incoming=incoming, outgoing="docker0", hook=hook)
    assert judge(queued, VPN, config) == Judgement(Verdict.ACCEPT, Reason.INSIDE)


def test_a_refusal_is_framed_as_its_request_was() -> None:
    refusal = judge(arrival(teams(REQUEST)), VPN, Config()).refusal
    assert refusal is not None
    assert (refusal.framing, refusal.response) == (Framing.TEAMS, error_response(REQUEST))


@pytest.mark.parametrize("config", [Config(on_block=OnBlock.DROP), replace(REDIRECT, on_block=OnBlock.DROP)])
def test_with_on_block_drop_nothing_is_refused(config: Config) -> None:
    judgement = judge(arrival(), VPN, config)
    assert judgement.event is not None
    assert judgement.refusal is None


def test_what_leaves_by_the_vpn_is_not_recorded() -> None:
    assert judge(arrival(outgoing="wg0"), VPN, Config()) == Judgement(Verdict.ACCEPT, Reason.THROUGH_VPN)


def test_what_postrouting_still_judges_is_not_recorded_at_the_output_hook() -> None:
    queued = arrival(hook=Hook.OUTPUT)
    assert judge(queued, VPN, Config()) == Judgement(Verdict.ACCEPT, Reason.WALL_DECIDES)


def test_a_redirected_packet_is_recorded_as_such_and_not_refused() -> None:
    judgement = judge(arrival(hook=Hook.OUTPUT), VPN, REDIRECT)
    assert judgement.verdict is Verdict.REDIRECT
    assert judgement.event is not None
    assert judgement.event.verdict == "redirected"
    assert judgement.refusal is None


def test_a_redirect_that_failed_takes_its_record_back() -> None:
    moved = judge(arrival(hook=Hook.OUTPUT), VPN, REDIRECT)
    failed = judge(arrival(mark=REDIRECT.redirected_bit), VPN, REDIRECT)
    assert failed.reason is Reason.DEVICE_BOUND
    assert failed.event is not None
    assert failed.event.verdict == "blocked"
    assert failed.retracted == moved.event
    assert failed.refusal is not None


def test_a_look_alike_passes_unrecorded() -> None:
    # DHCP's first bytes are those of a classic Binding Request, but its attributes do not parse.
    assert judge(arrival(b"\x00\x01\x00\x08" + bytes(16) + b"\xff" * 8), VPN, Config()) == Judgement(
        Verdict.ACCEPT, Reason.NOT_STUN
    )


def test_the_rest_of_a_tcp_segment_shares_the_lot_of_its_beginning() -> None:
    beginning, rest = arrival(transport="tcp"), arrival(b"any bytes", "tcp")
    for view, config in ((VPN, Config()), (NO_VPN, Config()), (NO_VPN, OPEN)):
        judged = judge(rest, view, config)
        assert (judged.verdict, judged.reason) == (
            (whole := judge(beginning, view, config)).verdict,
            whole.reason,
        )
    refusal = judge(rest, VPN, Config()).refusal
    assert refusal is not None
    assert refusal.response == b""


@pytest.mark.parametrize("queued", [b"", b"\x45", b"\x60" + bytes(39), b"\x45" + bytes(30)])
def test_what_cannot_be_read_is_blocked(queued: bytes) -> None:
    judgement = judge(arrival(packet=queued), VPN, Config())
    assert (judgement.verdict, judgement.reason, judgement.refusal) == (
        Verdict.BLOCK,
        Reason.UNREADABLE,
        None,
    )
    assert judgement.event is not None
    assert (judgement.event.reason, judgement.event.protocol) == ("unreadable", "unknown")


@pytest.mark.parametrize(("hook", "interface"), [(Hook.POSTROUTING, "eth0"), (Hook.PREROUTING, "eth1")])
@pytest.mark.parametrize("version", [4, 6])
def test_what_cannot_be_read_is_recorded_with_its_addresses(version: int, hook: Hook, interface: str) -> None:
    queued = build("udp", b"", version)[:-4]
    outgoing, incoming = ("eth0", "") if hook is Hook.POSTROUTING else ("", "eth1")
    found = arrival(packet=queued, hook=hook, outgoing=outgoing, incoming=incoming)
    event = judge(found, VPN, Config()).event
    assert event is not None
    assert (event.source, event.destination) == (SOURCES[version], DESTINATIONS[version])
    assert (event.family, event.interface) == (version, interface)
    assert (event.source_port, event.destination_port, event.packet) == (0, 0, queued)


@given(st.binary(max_size=120), st.sampled_from(list(Hook)), st.sampled_from([VPN, NO_VPN]))
def test_random_bytes_never_raise(queued: bytes, hook: Hook, view: View) -> None:
    judgement = judge(arrival(packet=queued, hook=hook), view, REDIRECT)
    assert (judgement.refusal is None) or judgement.verdict is Verdict.BLOCK


def test_a_packet_is_judged_the_same_when_the_queue_has_cut_it() -> None:
    queued = arrival(REQUEST + bytes(4000))
    whole, cut = (
        judge(queued, VPN, Config()),
        judge(queued._replace(packet=queued.packet[:2048]), VPN, Config()),
    )
    assert (cut.verdict, cut.reason) == (whole.verdict, whole.reason)
    assert cut.refusal is not None


def response(version: int = 4, payload: bytes = rfc5769.IPV4_RESPONSE) -> Arrival:
    """What came in by eth0, in prerouting."""
    return arrival(payload, version=version, incoming="eth0", outgoing="", hook=Hook.PREROUTING)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("payload", "address"),
    [(rfc5769.IPV4_RESPONSE, "192.0.2.1"), (rfc5769.IPV6_RESPONSE, "2001:db8:1234:5678:11:2233:4455:6677")],
)
def test_a_response_to_what_got_out_unseen_is_dropped_and_recorded_as_an_exposure(
    version: int, payload: bytes, address: str
) -> None:
    queued = response(version, payload)
    judgement = judge(queued, VPN, Config())
    assert (judgement.verdict, judgement.reason) == (Verdict.BLOCK, Reason.EXPOSED)
    assert judgement.refusal is None
    event = judgement.event
    assert event is not None
    assert (event.verdict, event.reason, event.interface) == (EXPOSED, "exposed", "eth0")
    # The source is who asked, as in every event.
    assert (event.source, event.destination) == (DESTINATIONS[version], SOURCES[version])
    assert (event.source_port, event.destination_port) == (3478, SOURCE_PORT)
    assert mapped_address(event.packet) == address


@pytest.mark.parametrize("version", [4, 6])
def test_a_response_that_no_program_waits_for_is_recorded_without_its_sender(version: int) -> None:
    judgement = judge(response(version)._replace(awaited=False), VPN, Config())
    assert (judgement.verdict, judgement.reason) == (Verdict.BLOCK, Reason.UNASKED)
    event = judgement.event
    assert event is not None
    assert (event.verdict, event.source, event.source_port) == ("blocked", "", 0)
    assert (event.destination, event.destination_port) == (DESTINATIONS[version], 0)


@pytest.mark.parametrize("payload", [REQUEST, message(0x0111), b"\x01\x01" + bytes(30)])
def test_what_came_in_and_is_no_success_response_passes(payload: bytes) -> None:
    judgement = judge(response(payload=payload), VPN, Config())
    assert judgement == Judgement(Verdict.ACCEPT, Reason.NOT_STUN)


@pytest.mark.parametrize(("incoming", "reason"), [("wg0", Reason.THROUGH_VPN), ("docker0", Reason.INSIDE)])
def test_a_response_by_what_has_just_become_the_vpn_or_inside_passes(incoming: str, reason: Reason) -> None:
    judgement = judge(response()._replace(incoming=incoming), VPN, Config())
    assert judgement == Judgement(Verdict.ACCEPT, reason)

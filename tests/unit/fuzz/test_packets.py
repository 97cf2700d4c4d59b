"""Damaged packets on their whole way: parsed, recognised, judged, recorded, refused.

What a packet shows is read here once more, without the agent's code.
"""

import struct
from dataclasses import asdict
from ipaddress import ip_address
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from stunwall.config import Config, Mode, OnBlock, WhenVpnDown
from stunwall.judge import judge
from stunwall.model import Arrival, Datagram, Hook, Reason, Refusal, Transport, Verdict
from stunwall.policy import View
from stunwall.queue import refusal
from stunwall.record.schema import FITS
from stunwall.stun import message as stun
from stunwall.stun import packet
from stunwall.stun.detect import classify, classify_response, detect, mapped_address
from unit.build import UDP
from unit.damage import damaged
from unit.envelope import FRAGMENT, TCP, UDP_LITE, Envelope
from vectors import rfc5769
from vectors.captured import CAPTURED
from vectors.others import OTHERS
from vectors.programs import SAMPLES

COOKIE, TEAMS = bytes.fromhex("2112a442"), bytes.fromhex("ff10")
MS_TURN = bytes.fromhex("0200"), bytes.fromhex("0300")
GUARDED = (3478, 5349)
# Bytes: a response is at most 68 long, behind Teams' header of 12 and headers of at most 60; an ICMP error has its own
# limits.
LONGEST = {4: 576, 6: 1280}
LONGEST_RESPONSE = 140

_PAYLOADS = [sample.payload for sample in SAMPLES] + [other[3] for other in OTHERS] + [*rfc5769.ALL.values()]
_ENVELOPES = [
    *(Envelope(version, protocol) for version, protocol in product((4, 6), (UDP, UDP_LITE, TCP))),
    Envelope(4, UDP, port=50000, options=2),
    Envelope(4, TCP, port=5349, tcp_options=3),
    Envelope(6, UDP, extensions=(0, 60)),
    Envelope(6, UDP, extensions=(FRAGMENT,), piece=(0, 4)),
]
PACKETS = [each.packet for each in CAPTURED] + [
    envelope.packet(payload) for envelope, payload in product(_ENVELOPES, _PAYLOADS)
]

# Damaged anywhere, or in what the headers carry.
DAMAGED = st.one_of(
    damaged(PACKETS),
    st.builds(
        lambda envelope, payload: envelope.packet(payload), st.sampled_from(_ENVELOPES), damaged(_PAYLOADS)
    ),
)
ARRIVALS = st.builds(
    Arrival,
    DAMAGED,
    incoming=st.sampled_from(["", "docker0", "eth0", "wg0"]),
    outgoing=st.sampled_from(["eth0", "eth0", "eth0", "wg0", "docker0", ""]),
    hook=st.sampled_from(
        [Hook.POSTROUTING, Hook.POSTROUTING, Hook.POSTROUTING, Hook.OUTPUT, Hook.PREROUTING]
    ),
    mark=st.sampled_from([0, Config().redirected_bit, Config().mark_mask, 0xFFFFFFFF]),
    time=st.just(1.0),
    awaited=st.booleans(),
    origin=st.none(),
    checked=st.none(),
)
VIEWS = st.builds(
    View,
    st.sampled_from([frozenset({"wg0"}), frozenset()]),
    st.sampled_from([frozenset({4, 6}), frozenset({4}), frozenset()]),
    st.booleans(),
    st.just(frozenset({"docker0"})),
)
CONFIGS = st.builds(
    Config,
    mode=st.sampled_from(Mode),
    on_block=st.sampled_from(OnBlock),
    when_vpn_down=st.sampled_from(WhenVpnDown),
)


def parsed(raw: bytes) -> Datagram | None:
    try:
        return packet.parse(raw)
    except packet.PacketError:
        return None


def shows_stun(datagram: Datagram) -> bool:
    """Whether there is a cookie where a message can begin: at once, behind RFC 4571's length, in another header."""
    payload = datagram.payload
    places = [0, 2] if datagram.transport is Transport.TCP else [0]
    if payload[:2] == TEAMS and payload[16:20] == COOKIE:
        return True
    if datagram.transport is Transport.TCP and payload[:2] in MS_TURN:
        places.append(4)
    if datagram.transport is Transport.UDP and payload[20:22] == bytes(
        2
    ):  # Telegram's: the length's upper half
        places.append(24)
    return any(payload[at + 4 : at + 8] == COOKIE and payload[at] < 0x40 for at in places)


@given(DAMAGED)
def test_a_packet_that_is_parsed_says_what_its_bytes_say(raw: bytes) -> None:
    datagram = parsed(raw)
    if datagram is None:
        return
    at, size = (12, 4) if raw[0] >> 4 == 4 else (8, 16)
    assert datagram.source.packed == raw[at : at + size]
    assert datagram.destination.packed == raw[at + size : at + 2 * size]
    assert raw.endswith(datagram.payload)
    header = raw[: len(raw) - len(datagram.payload)]
    assert struct.pack("!HH", datagram.source_port, datagram.destination_port) in header
    assert (datagram.tcp is not None) is (datagram.transport is Transport.TCP)
    assert datagram.lengths


@given(DAMAGED)
def test_a_cookie_in_its_place_is_stun_and_other_stun_has_its_exact_size(raw: bytes) -> None:
    datagram, found = parsed(raw), detect(raw, ())
    if datagram is None:
        assert found is None
    elif shows_stun(datagram):
        assert found is not None
        assert found.message is not None
        assert found.message.cookie
    elif found is not None and datagram.transport is Transport.TCP:
        # MS-TURN without its cookie, and the pseudo-TLS before it.
        assert datagram.payload[:2] in (MS_TURN[0], b"\x16\x03")
    elif found is not None:
        assert datagram.partial or any(20 <= size <= 548 for size in datagram.lengths)


@given(DAMAGED, st.frozensets(st.sampled_from([*GUARDED, 443, 50000])))
def test_guarded_ports_only_add_to_what_is_stun_and_only_for_clients(
    raw: bytes, guarded: frozenset[int]
) -> None:
    datagram = parsed(raw)
    if datagram is None:
        return
    alone = classify(datagram, ())
    if alone is not None:
        assert classify(datagram, guarded) == alone
    elif classify(datagram, guarded) is not None:
        assert datagram.destination_port in guarded
        assert datagram.source_port >= 1024


@given(damaged(_PAYLOADS), st.sampled_from([(UDP, UDP_LITE), (UDP, UDP), (TCP, TCP)]))
def test_both_ip_versions_and_udp_lite_carry_the_same(payload: bytes, protocols: tuple[int, int]) -> None:
    found = [
        detect(Envelope(version, protocol).packet(payload))
        for version, protocol in zip((4, 6), protocols, strict=True)
    ]
    one, other = ((each.protocol, each.method, each.framing, each.stun) if each else None for each in found)
    assert one == other


@given(DAMAGED)
def test_the_address_of_a_response_is_one(raw: bytes) -> None:
    address = mapped_address(raw)
    if address:
        assert str(ip_address(address)) == address
        datagram = parsed(raw)
        assert datagram is not None
        assert classify_response(datagram) is not None


@given(damaged(_PAYLOADS), st.sampled_from(Transport))
def test_an_error_response_answers_its_request_and_nothing_else(payload: bytes, transport: Transport) -> None:
    response = stun.error_response(payload, transport)
    if response is None:
        return
    request, answer = stun.parse(payload), stun.parse(response)
    assert request.message_class is stun.MessageClass.REQUEST
    assert (answer.message_class, answer.method) == (stun.MessageClass.ERROR, request.method)
    assert answer.exact
    assert response[4:20] == payload[4:20]
    assert stun.error_response(response) is None


@given(ARRIVALS, VIEWS, CONFIGS)
def test_what_is_judged_passes_only_for_a_reason(arrival: Arrival, view: View, config: Config) -> None:
    judged = judge(arrival, view, config)
    datagram = parsed(arrival.packet)
    if judged.verdict is Verdict.ACCEPT:
        assert datagram is not None
        match judged.reason:
            case Reason.NOT_STUN if arrival.hook is Hook.PREROUTING:
                assert classify_response(datagram) is None
            case Reason.NOT_STUN:
                assert not shows_stun(datagram)
                assert datagram.transport is Transport.UDP
            case Reason.INSIDE | Reason.THROUGH_VPN:
                way = arrival.incoming if arrival.hook is Hook.PREROUTING else arrival.outgoing
                assert way in (view.inside if judged.reason is Reason.INSIDE else view.vpn)
            case Reason.WALL_DECIDES:
                assert arrival.hook is Hook.OUTPUT
            case other:
                assert other is Reason.VPN_DOWN_ALLOWED
                assert view.known
                assert not view.vpn
    for event in (judged.event, judged.retracted):
        if event is not None:
            assert all(fits(asdict(event)[name]) for name, fits in FITS.items())
    if judged.refusal is not None:
        assert judged.verdict is Verdict.BLOCK
        assert arrival.hook is not Hook.PREROUTING
        assert arrival.incoming in ("", "docker0")
        assert config.on_block is OnBlock.ANSWER
        check_refusal(judged.refusal)


def check_refusal(told: Refusal) -> None:
    """What is sent is whole, goes back where the packet came from, is small, and is never refused itself."""
    blocked = told.blocked
    sent = refusal.packets(told)
    assert len(sent) == (2 if told.response and blocked.tcp else 1)
    for raw in sent:
        version = blocked.family
        header = 20 if version == 4 else 40
        source, destination = (raw[12:16], raw[16:20]) if version == 4 else (raw[8:24], raw[24:40])
        assert raw[0] >> 4 == version
        assert (source, destination) == (blocked.destination.packed, blocked.source.packed)
        assert len(raw) == (
            int.from_bytes(raw[2:4], "big") if version == 4 else 40 + int.from_bytes(raw[4:6], "big")
        )
        assert len(raw) <= (LONGEST_RESPONSE if told.response or blocked.tcp else LONGEST[version])
        protocol = raw[9] if version == 4 else raw[6]
        pseudo = source + destination + struct.pack("!II", len(raw) - header, protocol)
        assert folded((b"" if protocol == 1 else pseudo) + raw[header:]) == 0xFFFF
        back = parsed(raw)
        if back is None:
            assert protocol in (1, 58)
            continue
        assert (back.source_port, back.destination_port) == (blocked.destination_port, blocked.source_port)
        assert back.transport is blocked.transport
        if back.transport is Transport.UDP:
            again = judge(
                Arrival(raw, "", "eth0", Hook.POSTROUTING, 0, 1.0), View(frozenset(), frozenset()), Config()
            )
            assert again.refusal is None


def folded(data: bytes) -> int:
    """RFC 1071 §4.1"""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total

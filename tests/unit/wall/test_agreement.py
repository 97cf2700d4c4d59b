"""The wall and the daemon agree: the rules in the kernel and the code judge the same packets.

What detect() calls STUN, the wall takes. What the wall takes, judge() lets go only if it is positively something else;
unit/look_alike.py decides that once more, without the agent's code. The packets are random ones, and the vectors with
every lie about lengths, extension headers and fragments.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stunwall.config import Config
from stunwall.judge import judge
from stunwall.model import Arrival, Hook, Verdict
from stunwall.policy import View
from stunwall.stun.detect import detect
from unit.build import ip4, ip6
from unit.envelope import FRAGMENT, HIDING, SKIPPED, TCP, UDP_LITE, Envelope
from unit.look_alike import is_look_alike
from unit.payloads import PAYLOADS
from unit.wall import Wall
from vectors.captured import CAPTURED, Captured
from vectors.others import OTHERS
from vectors.programs import SAMPLES

EXAMPLES = 5000
DESTINATION_AT = {4: range(16, 20), 6: range(24, 40)}
UDP = 17


class Both:
    """The chains in family inet and in family netdev."""

    def __init__(self) -> None:
        self._inet, self._netdev = Wall("inet"), Wall("netdev")

    def close(self) -> None:
        self._inet.close()
        self._netdev.close()

    def check(self, packet: bytes) -> bool:
        """Whether the wall takes the packet; fails where wall, daemon and look_alike.py disagree."""
        taken = self._inet.takes(packet)
        if not overlong(packet):
            assert self._netdev.takes(packet) is taken, f"inet and netdev differ: {packet.hex()}"
        detection = detect(packet)
        assert detection is None or taken, f"the wall passes {detection} {packet.hex()}"
        accepted = verdict(packet) is Verdict.ACCEPT
        assert not accepted or detection is None
        if taken and accepted:
            assert is_look_alike(packet), f"taken as STUN, but let go: {packet.hex()}"
        return taken


@pytest.fixture(scope="module")
def both(lab: None) -> Iterator[Both]:
    made = Both()
    yield made
    made.close()


def verdict(packet: bytes) -> Verdict:
    queued = Arrival(packet, "", "eth0", Hook.POSTROUTING, 0, 0.0)
    return judge(queued, View(frozenset({"wg0"}), frozenset()), Config()).verdict


def overlong(packet: bytes) -> bool:
    """Whether IPv6's length is beyond the packet's end: netdev finds no UDP or TCP there, and no receiver does."""
    return packet[0] >> 4 == 6 and 40 + int.from_bytes(packet[4:6], "big") > len(packet)


_headers = st.lists(st.sampled_from([*SKIPPED, FRAGMENT, *HIDING]), max_size=4).map(tuple)
_pieces = st.one_of(st.none(), st.tuples(st.integers(0, 12), st.integers(1, 12)))
_near = st.one_of(st.none(), st.integers(0, 120), st.integers(0, 0xFFFF))
_envelopes = st.builds(
    Envelope,
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from([UDP, UDP, UDP_LITE, TCP]),
    port=st.sampled_from([3478, 5349, 53, 443, 50000]),
    source_port=st.sampled_from([50017, 1024, 1023, 443, 3478]),
    options=st.sampled_from([0, 0, 1, 10]),
    tcp_options=st.sampled_from([0, 3, 10]),
    extensions=_headers,
    piece=_pieces,
    udp_length=_near,
    ip6_length=_near,
)
_plain = st.builds(
    Envelope,
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from([UDP, UDP_LITE, TCP]),
    port=st.sampled_from([3478, 50000]),
)


@settings(max_examples=EXAMPLES, derandomize="CI" in os.environ)
@given(st.one_of(_envelopes, _plain), PAYLOADS)
def test_random_packets_are_judged_alike(both: Both, envelope: Envelope, payload: bytes) -> None:
    both.check(envelope.packet(payload))


@settings(max_examples=EXAMPLES, derandomize="CI" in os.environ)
@given(
    st.one_of(_envelopes, _plain),
    PAYLOADS,
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damaged_headers_are_judged_alike(
    both: Both, envelope: Envelope, payload: bytes, damage: list[tuple[int, int]]
) -> None:
    packet = bytearray(envelope.packet(payload))
    for at, value in damage:
        # The version stays, and so does the destination: the kernel itself drops some multicast.
        if at and at not in DESTINATION_AT[envelope.version] and at < len(packet):
            packet[at] = value
    both.check(bytes(packet))


def lies(size: int) -> Iterator[Envelope]:
    """Every kind of odd header around a payload of `size` bytes."""
    for protocol, version in product((UDP, UDP_LITE, TCP), (4, 6)):
        plain = Envelope(version, protocol)
        yield plain
        yield replace(plain, options=1)
        for length in (0, 7, 8, 8 + size - 4, 8 + size + 4, 28, 82, 0xFFFF):
            if length >= 0:
                yield replace(plain, udp_length=length)
                yield replace(plain, udp_length=length, options=2)
        for first in (1, 2, 3, 5, 8, 12):
            yield replace(plain, piece=(0, first))
            yield replace(plain, piece=(first, 200))
        if version == 6:
            yield from odd_ipv6(protocol, size)
        else:
            yield replace(plain, extensions=(51,))


def odd_ipv6(protocol: int, size: int) -> Iterator[Envelope]:
    for header in (*SKIPPED, *HIDING, FRAGMENT):
        yield Envelope(6, protocol, extensions=(header,))
        yield Envelope(6, protocol, extensions=(header,), udp_length=8 + size + 8)
        yield Envelope(6, protocol, extensions=(header, 60))
        for first in (1, 2, 3, 4, 6, 10):
            yield Envelope(6, protocol, extensions=(FRAGMENT, header), piece=(0, first))
            yield Envelope(6, protocol, extensions=(FRAGMENT, header), piece=(first, 200))
    for length in (0, 8, 28, 8 + size - 4):
        yield Envelope(6, protocol, ip6_length=length)
        yield Envelope(6, protocol, ip6_length=length, udp_length=0)


def test_every_vector_in_every_odd_header_is_judged_alike(both: Both) -> None:
    payloads = {sample.payload for sample in SAMPLES} | {other[3][:600] for other in OTHERS}
    for payload in sorted(payloads):
        for envelope in lies(len(payload)):
            both.check(envelope.packet(payload))


@pytest.mark.parametrize("version", [4, 6])
def test_however_stun_is_cut_into_fragments_one_of_them_is_taken(both: Both, version: int) -> None:
    chains = [(), (60,), (FRAGMENT, 60), (0, FRAGMENT, 43)] if version == 6 else [()]
    for sample, extensions in product(SAMPLES, chains):
        protocol = TCP if sample.transport == "tcp" else UDP
        whole = Envelope(version, protocol, port=sample.port, extensions=extensions)
        size = len(sample.payload) + 28
        for cut in range(1, size // 8 + 1):
            pieces = (replace(whole, piece=(0, cut)), replace(whole, piece=(cut, size)))
            assert any(both.check(piece.packet(sample.payload)) for piece in pieces), (sample.name, cut)
        tiny = [replace(whole, piece=(at, 1)).packet(sample.payload) for at in range(size // 8)]
        assert any(both.check(piece) for piece in tiny), sample.name


def test_extension_headers_that_fill_the_first_fragment_do_not_hide_stun(both: Both) -> None:
    for stuffing, count in product((20, 100), (1, 2)):
        whole = Envelope(6, UDP, extensions=(FRAGMENT,) + (60,) * count, stuffing=stuffing)
        headers = (1 + stuffing) * count
        payload = SAMPLES[0].payload
        for cut in (1, headers // 2, headers - 1, headers, headers + 1, headers + 2):
            # Both: the second could be sent again without the first, whose header names UDP.
            assert both.check(replace(whole, piece=(0, cut)).packet(payload))
            assert both.check(replace(whole, piece=(cut, 400)).packet(payload))


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_fragment_overwrites_is_not_what_is_looked_for(both: Both, version: int) -> None:
    # RFC 1858 §4: a receiver that prefers the later of two overlapping fragments.
    for protocol, last in ((UDP, 5), (UDP_LITE, 5), (TCP, 13)):
        for at in range(1, last + 1):
            assert both.check(Envelope(version, protocol, piece=(at, 4)).packet(bytes(200)))
        later = Envelope(version, protocol, piece=(14, 4)).packet(bytes(200))
        assert not both.check(later)


@pytest.mark.parametrize("header", HIDING)
@pytest.mark.parametrize("protocol", [UDP, UDP_LITE, TCP])
def test_udp_and_tcp_behind_headers_that_hide_them_are_taken(both: Both, header: int, protocol: int) -> None:
    for sample, before in product(SAMPLES, ((), (0,), (60, 43), (FRAGMENT,))):
        for after in ((), (60,), (135,)):
            envelope = Envelope(6, protocol, extensions=(*before, header, *after))
            assert both.check(envelope.packet(sample.payload)), sample.name
    if header == 51:
        assert both.check(Envelope(4, protocol, extensions=(51,)).packet(b"anything"))


@pytest.mark.parametrize("following", [4, 41, 47, 50, 58, 59, 132])
@pytest.mark.parametrize("header", HIDING)
def test_other_protocols_behind_these_headers_pass(both: Both, header: int, following: int) -> None:
    extension = bytes([following, 4]) + bytes(22)
    assert not both.check(ip6(following, bytes(60), extension, first=header))
    if header == 51:
        assert not both.check(ip4(51, extension + bytes(60)))


def test_every_truncation_of_every_sample_is_judged_alike(both: Both) -> None:
    for sample, protocol, version in product(SAMPLES, (UDP, UDP_LITE, TCP), (4, 6)):
        for size in range(len(sample.payload)):
            both.check(Envelope(version, protocol, port=sample.port).packet(sample.payload[:size]))


@pytest.mark.parametrize("captured", CAPTURED, ids=lambda captured: captured.name)
def test_captured_packets_are_judged_alike_and_as_they_should(both: Both, captured: Captured) -> None:
    assert both.check(captured.packet) is (captured.stun or captured.look_alike)
    assert (detect(captured.packet) is not None) is captured.stun


def test_captured_packets_that_are_damaged_are_judged_alike(both: Both) -> None:
    chance = random.Random(1)
    for captured in CAPTURED:
        for _ in range(300):
            packet = bytearray(captured.packet)
            for _ in range(chance.randrange(1, 4)):
                packet[chance.randrange(1, len(packet))] = chance.randrange(256)
            both.check(bytes(packet))

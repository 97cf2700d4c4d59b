"""plain.py: comes to the same as taking a packet apart, for each packet that it reads."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.config import Config
from stunwall.judge import judge
from stunwall.model import Arrival, Hook, Reason, Verdict
from stunwall.policy import View
from stunwall.queue.refusal import packets
from stunwall.stun import plain
from unit.build import DESTINATIONS, SOURCES, ip4, packet, tcp
from unit.damage import damaged
from vectors.captured import CAPTURED
from vectors.programs import SAMPLES, message

PLAIN = [packet("udp", message(0x0001), version) for version in (4, 6)]
OTHERS = [
    *(each.packet for each in CAPTURED),
    *(packet("udp", sample.payload, version) for sample in SAMPLES for version in (4, 6)),
    packet("udp", message(0x0001, bytes(4))),
    packet("udp", message(0x0001) + bytes(4)),
    packet("udp", message(0x0003)),
    ip4(6, tcp(message(0x0001)[:8])),
]
IDS = st.binary(min_size=12, max_size=12)
PORTS = st.binary(min_size=2, max_size=2)


def answers(raw: bytes) -> list[bytes]:
    """What a packet outside the VPN is answered when it is taken apart."""
    arrival = Arrival(raw, "", "eth0", Hook.POSTROUTING, 0, 1.0)
    judged = judge(arrival, View(frozenset({"wg0"}), frozenset()), Config())
    assert (judged.verdict, judged.reason) == (Verdict.BLOCK, Reason.OUTSIDE_VPN)
    assert judged.refusal is not None
    return packets(judged.refusal)


@pytest.mark.parametrize("version", [4, 6])
def test_a_plain_request_is_read(version: int) -> None:
    request = plain.read(packet("udp", message(0x0001), version))
    assert request is not None
    assert request.version == version
    assert str(ip_address(request.source)) == SOURCES[version]
    assert str(ip_address(request.destination)) == DESTINATIONS[version]
    ports = request.source_port, request.destination_port
    assert [int.from_bytes(port, "big") for port in ports] == [50017, 3478]
    assert request.transaction_id == message(0x0001)[8:]


@pytest.mark.parametrize("raw", PLAIN, ids=["ip4", "ip6"])
@given(ends=st.binary(min_size=32, max_size=32), ports=PORTS, others=PORTS, transaction_id=IDS)
def test_the_refusal_is_the_usual_one(
    raw: bytes, ends: bytes, ports: bytes, others: bytes, transaction_id: bytes
) -> None:
    start, size = (12, 8) if raw[0] >> 4 == 4 else (8, 32)
    raw = raw[:start] + ends[:size] + ports + others + raw[start + size + 4 : -12] + transaction_id
    request = plain.read(raw)
    assert request is not None
    assert [plain.refusal(request)] == answers(raw)


@given(st.one_of(damaged(PLAIN), damaged(OTHERS)))
def test_whatever_is_read_as_one_is_one(raw: bytes) -> None:
    request = plain.read(raw)
    if request is not None:
        assert [plain.refusal(request)] == answers(raw)


@pytest.mark.parametrize("raw", OTHERS)
def test_nothing_else_is_read(raw: bytes) -> None:
    assert (plain.read(raw) is not None) == (raw in PLAIN)


@pytest.mark.parametrize("raw", PLAIN, ids=["ip4", "ip6"])
def test_each_bit_of_what_makes_it_plain_counts(raw: bytes) -> None:
    """In the IP header all but its name, TTL and addresses, and IPv6's traffic class and flow; the UDP header's length;
    the start of the message."""
    ip = (0, 2, 3, 9) if raw[0] >> 4 == 4 else (4, 5, 6)
    udp = 20 if raw[0] >> 4 == 4 else 40
    for at in (*ip, *range(udp + 4, udp + 6), *range(udp + 8, udp + 16)):
        for bit in range(4 if at == 0 else 0, 8):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit
            assert plain.read(bytes(changed)) is None, (at, bit)


@pytest.mark.parametrize("fragment", [0x2000, 0x0001, 0x6000, 0x1FFF, 0x8000])
def test_a_fragment_is_not_plain(fragment: int) -> None:
    assert plain.read(ip4(17, PLAIN[0][20:], fragment=fragment)) is None
    assert plain.read(ip4(17, PLAIN[0][20:], fragment=0x4000)) is not None

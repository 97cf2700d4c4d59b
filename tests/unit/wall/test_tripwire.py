"""The inbound tripwire: the rules in the kernel and the daemon find the same success responses."""

from collections.abc import Iterator

import pytest

from stunwall.stun import packet as ip
from stunwall.stun.detect import classify_response, mapped_address
from unit.build import packet
from unit.wall import Wall
from vectors.captured import CAPTURED
from vectors.others import OTHERS
from vectors.programs import HEADERS, SAMPLES, Sample, message, ms_turn, teams, telegram
from vectors.responses import RESPONSES, Response

PORT = 50000
# Samples that are responses.
ANSWERS = {"RFC 5769's response"}


@pytest.fixture(scope="module")
def inbound(lab: None) -> Iterator[Wall]:
    made = Wall(inbound=True)
    yield made
    made.close()


def is_response(raw: bytes) -> bool:
    return classify_response(ip.parse(raw)) is not None


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("response", RESPONSES, ids=lambda response: response.name)
def test_a_response_is_found_by_both_and_the_daemon_reads_the_address(
    inbound: Wall, response: Response, version: int
) -> None:
    raw = packet(response.transport, response.payload, version, PORT)
    assert inbound.takes(raw)
    assert is_response(raw)
    assert mapped_address(raw) == response.address


@pytest.mark.parametrize("response", RESPONSES, ids=lambda response: response.name)
def test_a_response_that_is_cut_is_no_crash_and_gives_no_other_address(response: Response) -> None:
    for size in range(len(response.payload)):
        raw = packet(response.transport, response.payload[:size], 4, PORT)
        assert mapped_address(raw) in ("", response.address, "198.51.100.7")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_request_is_no_response(inbound: Wall, sample: Sample, version: int) -> None:
    raw = packet(sample.transport, sample.payload, version, PORT)
    assert inbound.takes(raw) is (sample.name in ANSWERS)


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_is_no_response_in_any_framing(inbound: Wall, version: int) -> None:
    error = message(0x0111)
    for transport, payload in (("udp", telegram(error)), ("udp", teams(error)), ("tcp", ms_turn(error))):
        raw = packet(transport, payload, version, PORT)
        assert not inbound.takes(raw)
        assert not is_response(raw)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("name", "transport", "port", "payload"), OTHERS, ids=[other[0] for other in OTHERS])
def test_other_traffic_passes(
    inbound: Wall, name: str, transport: str, port: int, payload: bytes, version: int
) -> None:
    raw = packet(transport, payload, version, port)
    discord = name == "Discord's length in another message"  # no question, but a response
    assert inbound.takes(raw) is discord
    assert is_response(raw) is discord


def test_captured_packets_are_judged_alike(inbound: Wall) -> None:
    taken = {captured.name for captured in CAPTURED if inbound.takes(captured.packet)}
    assert taken == {
        "ms-turn-tcp allocate success",
        "telegram reflector: ICE answer",
        "webrtc fuzz corpus 9.stun",
        "scapy: classic binding response",
    }
    for captured in CAPTURED:
        assert captured.name not in taken or is_response(captured.packet)


def test_a_header_alone_is_no_response(inbound: Wall) -> None:
    for size in HEADERS.values():
        assert not inbound.takes(packet("udp", bytes(size), port=PORT))
        assert not inbound.takes(packet("tcp", bytes(size), port=PORT))

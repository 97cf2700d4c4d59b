"""probe.py: what is sent, and what counts as a probe."""

import socket
from collections.abc import Iterator

import pytest

from stunwall.queue.probe import Probe


@pytest.fixture
def heartbeat(lab: None) -> Iterator[Probe]:
    one = Probe(0x90000000)
    yield one
    one.close()


def test_no_packet_is_a_beat_before_the_first(heartbeat: Probe) -> None:
    assert not heartbeat.matches(b"")
    assert not heartbeat.matches(bytes(48))


def test_a_beat_is_a_binding_request_and_each_is_another(heartbeat: Probe) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as listener:
        listener.settimeout(5)
        seen = []
        for _ in range(2):
            heartbeat.send()
            seen.append(listener.recv(100))
        for packet in seen:
            assert packet[28:36] == bytes.fromhex("000100002112a442")
            assert len(packet) == 48
        assert not heartbeat.matches(seen[0])
        assert heartbeat.matches(seen[1])
        assert not heartbeat.matches(seen[1] + b"\0")

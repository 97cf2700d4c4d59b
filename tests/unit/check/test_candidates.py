"""check/candidates.py: candidate lines of both browsers, and which addresses tell who somebody is."""

from ipaddress import ip_address

import pytest

from stunwall.check import candidates
from stunwall.check.candidates import Candidate


@pytest.mark.parametrize(
    ("line", "candidate"),
    [
        (  # Chromium
            "candidate:4090169450 1 udp 1685855999 203.0.113.29 60434 typ srflx raddr 192.168.1.2 rport 60434 "
            "generation 0 ufrag xZ4Q network-id 3",
            Candidate("srflx", "udp", "203.0.113.29", 60434, "192.168.1.2"),
        ),
        (  # Firefox
            "candidate:0 1 UDP 2122252543 d1f2c5e0-2b9a-4a1e-9c8e-1f2a3b4c5d6e.local 37321 typ host",
            Candidate("host", "udp", "d1f2c5e0-2b9a-4a1e-9c8e-1f2a3b4c5d6e.local", 37321, ""),
        ),
        (
            "a=candidate:1 1 tcp 1 fd00::1 9 typ host tcptype active",
            Candidate("host", "tcp", "fd00::1", 9, ""),
        ),
    ],
)
def test_candidates_of_browsers(line: str, candidate: Candidate) -> None:
    assert candidates.parse(line) == candidate


@pytest.mark.parametrize(
    "line",
    [
        "",
        "candidate:1 1 udp 1 192.0.2.1 9 typ",
        "candidate:1 1 udp 1 192.0.2.1 x typ host",
        "candidate:1 1 udp 1 192.0.2.1 ٣ typ host",
        "candidate:1 1 udp 1 192.0.2.1 9 of host",
        "1 1 udp 1 192.0.2.1 9 typ host",
        "candidate:1 1 udp 1 192.0.2.1 9 typ host " + "x " * 100,
    ],
)
def test_what_is_no_candidate(line: str) -> None:
    assert candidates.parse(line) is None


def test_the_addresses_that_a_candidate_shows() -> None:
    def shown(address: str, related: str = "") -> list[str]:
        return list(map(str, Candidate("srflx", "udp", address, 1, related).shown))

    assert shown("203.0.113.1", "0.0.0.0") == ["203.0.113.1"]
    assert shown("a.local", "192.168.1.2") == ["192.168.1.2"]
    assert shown("::ffff:203.0.113.1", "fe80::1%eth0") == ["203.0.113.1", "fe80::1"]


@pytest.mark.parametrize(
    ("text", "public"), [("203.0.113.1", True), ("2001:db8::1", True), ("8.8.8.8", True)]
)
def test_public_addresses(text: str, public: bool) -> None:
    assert candidates.is_public(ip_address(text)) is public


@pytest.mark.parametrize(
    "text", ["10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.1.1", "fd00::1", "fe80::1", "::1"]
)
def test_addresses_of_a_network_near_by(text: str) -> None:
    assert not candidates.is_public(ip_address(text))

"""The limits of chain hand_over, by senders of this machine, in the kernel."""

import socket
from contextlib import suppress

import pytest

from stunwall.wall import table
from stunwall.wall.contents import TABLE
from stunwall.wall.nft import Nft
from unit.wall_kernel import EMPTY, MASK, SERVER4, SERVER6, Way, loaded, run_nft
from vectors.programs import message

FLOW, SOCKET, SENDER = "over_flow_limit", "over_socket_limit", "over_sender_limit"


def sent(server: str, packets: int, sockets: int = 1, ports: int = 1) -> None:
    """Send Binding Requests, evenly from so many sockets, and from each to so many ports."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    for _ in range(sockets):
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            for number in range(packets // sockets):
                with suppress(PermissionError):  # how the sender is told that it was dropped
                    sender.sendto(message(0x0001), (server, 3478 + number % ports))


@pytest.fixture
def wall(nft: Nft, way: Way) -> None:
    run_nft("add", "table", *TABLE.split())
    run_nft("delete", "table", *TABLE.split())  # with what it has counted
    table.load(nft, EMPTY, MASK)


def counted() -> dict[str, int]:
    """What each limit has dropped, and what would have been handed over."""
    counters = loaded().counters
    return {name: counters[name] for name in (FLOW, SOCKET, SENDER, "over_limit", "unattended")}


@pytest.mark.usefixtures("wall")
@pytest.mark.parametrize("server", [SERVER4, SERVER6])
def test_a_flow_a_socket_and_a_user_have_limits(server: str) -> None:
    sent(server, 500)
    first = counted()
    # Each bucket may refill by some packets while they are sent.
    assert 5 <= first["unattended"] <= 20
    assert first[FLOW] == 500 - first["unattended"]
    sent(server, 500, ports=500)
    second = counted()
    assert 50 <= second["unattended"] - first["unattended"] <= 80
    assert second[SOCKET] == 500 - (second["unattended"] - first["unattended"])
    sent(server, 3000, sockets=3000)
    third = counted()
    assert third[SENDER] > 0
    assert sum(third.values()) == 4000


@pytest.mark.usefixtures("wall")
@pytest.mark.parametrize(("server", "of"), [(SERVER4, "4"), (SERVER6, "6")])
def test_what_a_full_set_cannot_take_meets_the_next_limit(server: str, of: str) -> None:
    sent(server, 6000, sockets=6000)
    names = (f"unanswered{of}", f"sockets{of}")
    assert all(0 < len(loaded().sets[name]) <= 1024 for name in names)
    before = counted()
    sent(server, 3000, sockets=3000)
    after = counted()
    assert after[SENDER] > before[SENDER]
    assert sum(after.values()) == 9000


@pytest.mark.usefixtures("wall")
def test_an_element_of_another_program_opens_nothing() -> None:
    run_nft("add", "element", *TABLE.split(), "users", "{ 0 }")
    run_nft("add", "element", *TABLE.split(), "servers4", f"{{ 0 . {SERVER4} }}")
    sent(SERVER4, 10, sockets=10)
    assert sum(counted().values()) == 10


@pytest.mark.usefixtures("wall")
def test_loading_again_keeps_what_the_limits_have_counted(nft: Nft) -> None:
    sent(SERVER4, 20)
    before = loaded().sets["sockets4"]
    table.load(nft, EMPTY, MASK)
    assert loaded().sets["sockets4"] == before

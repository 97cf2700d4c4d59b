"""check/rows.py: what is shown of each request, and of the addresses without one."""

from dataclasses import replace

import pytest

from stunwall.check.browser import Gathering, Seen, Stage
from stunwall.check.candidates import Candidate
from stunwall.check.rows import Row, rows
from unit.check.test_browser import BLOCKED, MACHINE, MOVED, PAUSED, THROUGH, seen

HOST = Candidate("host", "udp", "192.168.1.2", 4000, "")
SRFLX = Candidate("srflx", "udp", "203.0.113.5", 4000, "192.168.1.2")
LOCAL = "means nothing outside your network"


def shown(*candidates: Candidate, found: tuple[Seen, ...] = ()) -> list[Row]:
    return rows(Stage(True, Gathering(candidates), seen=found), MACHINE)


def test_a_request_is_shown_with_what_the_page_saw_of_its_socket() -> None:
    (row,) = shown(HOST, SRFLX, found=(BLOCKED, replace(BLOCKED, as_usual=True, source_port=4001)))
    assert row == Row(4, "eth0", "192.168.1.2", LOCAL, "host, srflx", "blocked", "because")


def test_a_name_hides_the_address_but_not_the_socket() -> None:
    (row,) = shown(replace(HOST, address="a.local"), found=(BLOCKED,))
    assert (row.shown, row.hint, row.kinds) == ("a.local", "hides the address", "host")


def test_without_a_candidate_the_page_saw_nothing() -> None:
    (row,) = shown(
        replace(HOST, port=9), found=(seen(source="192.168.1.2", source_port=9, interface="eth1"),)
    )
    assert row.shown == "192.168.1.2"
    (row,) = shown(found=(BLOCKED,))
    assert (row.shown, row.hint, row.kinds) == ("", "", "")


@pytest.mark.parametrize(
    ("found", "outcome", "why"),
    [
        (BLOCKED, "blocked", "because"),
        (MOVED, "moved", "it would have bypassed the VPN"),
        (THROUGH, "through", "a server would see the VPN's address"),
        (PAUSED, "leak", "it would have left outside the VPN: because"),
        (seen("accepted", "inside"), "inside", "because"),
    ],
)
def test_outcomes(found: Seen, outcome: str, why: str) -> None:
    (row,) = shown(found=(found,))
    assert (row.outcome, row.why) == (outcome, why)


def test_addresses_without_a_request_come_last_of_their_interface() -> None:
    real = replace(HOST, address="2001:db8:1::2", port=5)
    vpn = replace(HOST, address="2001:db8:9::2", port=6)
    tcp = replace(real, transport="tcp", port=9)
    assert shown(HOST, real, vpn, tcp, found=(BLOCKED,))[1:] == [
        Row(6, "eth0", "2001:db8:1::2", "your real address", "host", "none", "no request came from it"),
        Row(
            6,
            "wg0",
            "2001:db8:9::2",
            "the VPN's address",
            "host",
            "none",
            "no request came from it",
        ),
    ]

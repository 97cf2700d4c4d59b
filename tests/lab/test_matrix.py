"""The coverage table, with few of its messages; `./tests/run.sh matrix` takes them all."""

import re

from lab.addresses import FAMILIES
from lab.matrix import BEGIN, DAEMON_STATES, END, README, Where, faults, kinds, measure, rows
from lab.samples import STUN
from lab.topology import Lab

FEW = ("binding_request", "classic_without_cookie", "tcp_allocate_port_80")


def test_stun_of_every_sender_is_sealed_or_goes_into_the_vpn_in_every_state(lab: Lab) -> None:
    seen_outside = 0
    for vpn, state, control, seen in measure(lab, [sample for sample in STUN if sample.name in FEW]):
        assert list(faults(vpn, state, control, seen)) == []
        seen_outside += list(control.values()).count(Where.OUTSIDE)
    assert seen_outside > 0


def test_the_printed_table_is_of_these_senders_states_and_messages() -> None:
    printed, names = README.read_text().split(BEGIN)[1].split(END)[0].strip().split("\n\n")
    assert names == kinds()
    header, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()
    ]
    assert header[3:] == list(DAEMON_STATES)
    assert [tuple(line[:3]) for line in lines] == rows()
    for cell in (cell for line in lines for cell in line[3:]):
        assert sum(map(int, re.findall(r"[0-9]+", cell))) == len(STUN) * len(FAMILIES)

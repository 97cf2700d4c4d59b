"""shares.py: a sender that opens too many flows gets one row for the rest, and takes nothing from others."""

from dataclasses import replace

from stunwall.model import Event, Sender
from stunwall.record import shares
from stunwall.record.shares import BURST, GROUP_BURST, RATE, SENDERS, WINDOW, Key, Shares
from unit.recorded import event

FLOODER, OTHER = Sender(1000, 7, 1), Sender(1000, 8, 2)


def row(taken: Shares, port: int, sender: Sender | None = FLOODER, now: float = 1e9) -> tuple[Key, Event]:
    return made(taken, (port,), event(port, now), sender)


def made(
    taken: Shares, key: Key, its: Event, sender: Sender | None, *, full: bool = False
) -> tuple[Key, Event]:
    found = taken.row(key, its, sender, full=full)
    return found.key, found.of(its)


def flooded(ports: int = int(BURST) + 50, now: float = 1e9) -> Shares:
    taken = Shares()
    for port in range(ports):
        row(taken, port, now=now)
    return taken


def test_a_call_gets_a_row_for_each_flow() -> None:
    taken = Shares()
    for port in range(int(BURST)):
        assert row(taken, port) == ((port,), event(port, 1e9))


def test_beyond_its_share_a_sender_has_one_row_that_says_how_many_flows_it_stands_for() -> None:
    taken = flooded(int(BURST))
    rows = [row(taken, port) for port in (60_000, 60_001, 60_000)]
    assert {key for key, _ in rows} == {rows[0][0]}
    assert [each.flows for _, each in rows] == [1, 1, 0]
    first = rows[0][1]
    assert (first.source, first.source_port, first.destination, first.destination_port) == ("", 0, "", 0)
    assert replace(
        first, source="192.0.2.17", source_port=60_000, destination="203.0.113.7", destination_port=3478
    ) == (event(60_000, 1e9))


def test_another_program_of_the_same_user_keeps_its_rows() -> None:
    taken = flooded()
    for port in range(40):
        assert row(taken, port, OTHER)[0] == (port,)


def test_forwarded_senders_are_told_apart_by_address_and_interface() -> None:
    taken = Shares()
    busy = replace(event(1, 1e9), incoming="docker0")
    for port in range(int(BURST) + 1):
        last = made(taken, (port,), busy, None)
    assert last[0][0] == "aggregate"
    assert last[1].source == busy.source
    for other in (replace(busy, source="192.0.2.18"), replace(busy, incoming="lan0")):
        assert made(taken, (1,), other, None)[0] == (1,)


def test_a_share_comes_back_with_time_and_a_clock_that_is_set_back_gives_nothing() -> None:
    taken = flooded(now=1e9)
    assert row(taken, 1, now=1e9 - 86_400)[0][0] == "aggregate"
    taken = flooded(now=1e9)
    later = 1e9 + 1 / RATE + 1
    assert [row(taken, port, now=later)[0][0] for port in (1, 2)] == [1, "aggregate"]


def test_the_flows_of_an_aggregate_are_counted_anew_in_each_row() -> None:
    taken = flooded(int(BURST))
    assert row(taken, 60_000)[1].flows == 1
    # Time enough for a new row of the aggregate, and too little for one of the flow's own.
    for port in range(60_001, 60_030):
        row(taken, port, now=1e9 + WINDOW)
    assert row(taken, 60_000, now=1e9 + WINDOW)[1].flows == 1


def test_made_up_senders_get_no_more_rows_than_their_interface_and_one_aggregate() -> None:
    taken = Shares()
    keys = set()
    for number in range(SENDERS * 3):
        made_up = replace(event(1, 1e9), incoming="docker0", source=f"made up {number}")
        key, _ = made(taken, (number,), made_up, None)
        keys.add(key)
    assert len(keys) == GROUP_BURST + 1
    assert len(taken._shares) <= SENDERS
    # Neither a program nor a machine behind another interface loses its rows.
    assert row(taken, 1, OTHER)[0] == (1,)
    assert made(taken, (2,), replace(event(2, 1e9), incoming="lan0"), None)[0] == (2,)


def test_a_user_gets_no_more_rows_by_making_cgroups() -> None:
    taken = Shares()
    keys = {row(taken, number, Sender(1000, number, 1))[0] for number in range(int(GROUP_BURST) * 2)}
    assert len(keys) == GROUP_BURST + 1
    assert row(taken, 1, Sender(1001, 5, 1))[0] == (1,)


def test_users_without_number_share_one_aggregate() -> None:
    taken = Shares()
    rows = [made(taken, (uid,), event(1, 1e9), Sender(uid, 5, 1)) for uid in range(SENDERS * 3)]
    assert len({key for key, _ in rows}) <= SENDERS + 1


def test_without_room_for_a_row_a_flow_is_part_of_its_senders_aggregate() -> None:
    taken = Shares()
    key, first = made(taken, (1,), event(1, 1e9), FLOODER, full=True)
    assert (key[0], first.flows) == ("aggregate", 1)
    assert made(taken, (1,), event(1, 1e9), OTHER, full=True)[0] != key


def test_what_is_told_apart_is_bounded() -> None:
    taken = flooded(int(BURST) + shares.FLOWS + 500)
    assert row(taken, 99_999)[1].flows == 0


def test_different_kinds_of_packets_have_rows_of_their_own() -> None:
    taken = flooded()
    other = replace(event(1, 1e9), interface="wlan0")
    assert made(taken, (1,), other, FLOODER)[0] != row(taken, 1)[0]


def test_200_clients_that_all_ask_more_than_gets_rows_are_told_apart() -> None:
    taken = Shares()
    found: dict[str, int] = {}
    for number in range(20):
        for client in range(400):
            flow = replace(event(number, 1e9), incoming="lan0", source=f"client {client}")
            _, its = made(taken, (number, client), flow, None)
            found[its.source] = found.get(its.source, 0) + its.flows
    assert found == {f"client {client}": 20 for client in range(400)}


def test_each_kind_of_aggregate_of_a_sender_is_one_of_its_groups_rows() -> None:
    taken = Shares()
    keys = set()
    for number in range(int(GROUP_BURST) * 2):
        other = replace(event(1, 1e9), incoming="lan0", source="client", interface=f"eth{number}")
        keys.add(made(taken, (number,), other, None)[0])
    assert (
        len([key for key in keys if key[0] == "aggregate" and key[1] != ("interface", "lan0")]) <= GROUP_BURST
    )

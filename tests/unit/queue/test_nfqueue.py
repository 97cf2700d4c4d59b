"""nfqueue.py: a real queue, filled by the wall; what is sent leaves by a tun device that nobody reads."""

import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest

from stunwall.config import Config
from stunwall.model import Answered, Arrival, Hook, Plain, Verdict
from stunwall.queue import proc
from stunwall.queue.nfqueue import Give, Queue, QueueError
from stunwall.stun import packet, plain
from stunwall.wall import queue_rules, table
from stunwall.wall.contents import Contents
from stunwall.wall.nft import Nft
from unit.tun import Tun, ip
from vectors.programs import message

NUMBER = 4782
SERVER = ("203.0.113.7", 3478)
REQUEST = message(0x0001)


@pytest.fixture
def queue(nft: Nft) -> Iterator[Queue]:
    """The queue of a wall that knows no VPN."""
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    with (
        Tun("stq0", "192.168.7.2/24") as tun,
        closing(Queue(NUMBER, Config().redirected_bit, Config().passed_bit)) as queue,
    ):
        ip("link", "set", "stq0", "mtu", "9000")
        tun.route("default")
        table.load(nft, Contents(frozenset(), frozenset()), Config().mark_mask)
        queue_rules.attach(nft, NUMBER)
        yield queue
    table.remove(nft)


def send(payload: bytes = REQUEST, mark: int = 0) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))
        sender.sendto(payload, SERVER)


class Handling:
    """Takes packets apart with `handle`, or decides on them at once with `verdict`; and what it was asked to do."""

    def __init__(
        self,
        handle: Callable[[Arrival, Give], None] = lambda arrival, give: None,
        verdict: Verdict | None = None,
    ) -> None:
        self.handle = handle
        self.verdict = verdict
        self.broken: list[str] = []
        self.steps: list[str] = []
        self.left: list[int] = []  # packets in the queue when each one was answered
        self.finished: list[tuple[Arrival, Answered]] = []
        self.faults: list[tuple[str, Verdict | None]] = []

    def decide(self, packet: bytes, hook: int, incoming: int, outgoing: int) -> tuple[Verdict, Plain] | None:
        self._do("decide")
        request = plain.read(packet)
        return None if request is None or self.verdict is None else (self.verdict, request)

    def answer(self, verdict: Verdict, request: Plain, outgoing: int) -> Answered:
        self.left.append(waiting())
        self._do("answer")
        return Answered(question=7)

    def finish(self, arrival: Arrival, answered: Answered) -> None:
        self._do("finish")
        self.finished.append((arrival, answered))

    def fault(self, error: Exception, verdict: Verdict | None) -> None:
        self.faults.append((str(error), verdict))

    def _do(self, step: str) -> None:
        self.steps.append(step)
        if step in self.broken:
            raise RuntimeError(f"no {step}")


def name(index: int) -> str:
    return socket.if_indextoname(index)


def test_a_packet_arrives_as_the_kernel_has_it(queue: Queue) -> None:
    arrivals: list[Arrival] = []

    def handle(arrival: Arrival, give: Give) -> None:
        arrivals.append(arrival)
        give(Verdict.BLOCK)

    queue.serve_with(Handling(handle), name)
    send(mark=7)
    queue.serve()
    (arrival,) = arrivals
    datagram = packet.parse(arrival.packet)
    assert (datagram.payload, datagram.destination) == (REQUEST, ip_address(SERVER[0]))
    assert (arrival.incoming, arrival.outgoing, arrival.hook, arrival.mark) == (
        "",
        "stq0",
        Hook.POSTROUTING,
        7,
    )
    assert arrival.time > 0
    assert (queue.received, queue.faults) == (1, 0)


def test_what_is_accepted_has_the_bit_that_the_second_lock_asks_for(queue: Queue) -> None:
    subprocess.run(
        ["nft", "-f", "-"],
        input=f"""table inet other {{ chain c {{
        type filter hook postrouting priority srcnat
        meta mark {Config().passed_bit | 7} counter
    }}
}}""",
        text=True,
        check=True,
    )
    queue.serve_with(Handling(lambda arrival, give: give(Verdict.ACCEPT)), name)
    send(mark=7)
    queue.serve()
    listed = subprocess.run(["nft", "list", "table", "inet", "other"], capture_output=True, text=True).stdout
    assert "counter packets 1 " in listed
    subprocess.run(["nft", "delete", "table", "inet", "other"], check=True)


def test_a_handler_that_raises_drops_the_packet_and_is_reported(queue: Queue) -> None:
    def handle(arrival: Arrival, give: Give) -> None:
        raise RuntimeError("broken")

    handler = Handling(handle)
    queue.serve_with(handler, name)
    send()
    queue.serve()
    assert handler.faults == [("broken", None)]
    assert (queue.received, queue.faults) == (1, 1)
    assert waiting() == 0


def test_a_name_that_cannot_be_found_drops_the_packet(queue: Queue) -> None:
    def raising(index: int) -> str:
        raise RuntimeError("no name")

    handler = Handling(lambda arrival, give: give(Verdict.ACCEPT))
    queue.serve_with(handler, raising)
    send()
    queue.serve()
    assert (handler.faults, queue.faults, waiting()) == ([("no name", None)], 1, 0)


def test_a_packet_without_a_verdict_is_dropped_and_reported(queue: Queue) -> None:
    handler = Handling()
    queue.serve_with(handler, name)
    send()
    queue.serve()
    assert handler.faults == [("the packet got no verdict", None)]
    assert (queue.faults, waiting()) == (1, 0)


def test_the_kernel_has_the_verdict_before_the_handler_returns(queue: Queue) -> None:
    seen: list[int] = []

    def handle(arrival: Arrival, give: Give) -> None:
        seen.append(waiting())
        give(Verdict.BLOCK)
        seen.append(waiting())

    queue.serve_with(Handling(handle), name)
    send()
    queue.serve()
    assert seen == [1, 0]


def test_a_handler_that_raises_after_the_verdict_is_reported_with_it(queue: Queue) -> None:
    def handle(arrival: Arrival, give: Give) -> None:
        give(Verdict.BLOCK)
        raise RuntimeError("broken")

    handler = Handling(handle)
    queue.serve_with(handler, name)
    send()
    queue.serve()
    assert handler.faults == [("broken", Verdict.BLOCK)]
    assert (queue.received, queue.faults, waiting()) == (1, 1, 0)


def test_a_second_verdict_changes_nothing_and_is_a_fault(queue: Queue) -> None:
    def handle(arrival: Arrival, give: Give) -> None:
        give(Verdict.BLOCK)
        give(Verdict.ACCEPT)

    queue.serve_with(Handling(handle), name)
    send()
    queue.serve()
    assert (queue.faults, waiting()) == (1, 0)


def test_a_plain_request_is_answered_at_once_and_finished_later(queue: Queue) -> None:
    handler = Handling(verdict=Verdict.BLOCK)
    queue.serve_with(handler, name)
    for _ in range(2):
        send(mark=7)
    assert queue.serve() is True
    assert (handler.steps, handler.left) == (["decide", "answer"] * 2, [1, 0])
    queue.finish()
    queue.finish()
    assert handler.steps[4:] == ["finish"] * 2
    for arrival, answered in handler.finished:
        assert packet.parse(arrival.packet).payload == REQUEST
        assert (arrival.outgoing, arrival.hook, arrival.mark, answered.question) == (
            "stq0",
            Hook.POSTROUTING,
            7,
            7,
        )


def test_what_is_finished_keeps_the_mark_that_the_packet_had_before_its_verdict(queue: Queue) -> None:
    handler = Handling(verdict=Verdict.REDIRECT)
    queue.serve_with(handler, name)
    send(mark=7)
    queue.serve()
    queue.finish()
    assert [arrival.mark for arrival, _ in handler.finished] == [7]


def test_earlier_packets_are_finished_before_one_that_is_taken_apart(queue: Queue) -> None:
    def handle(arrival: Arrival, give: Give) -> None:
        handler.steps.append("handle")
        give(Verdict.BLOCK)

    handler = Handling(handle, Verdict.BLOCK)
    queue.serve_with(handler, name)
    send()
    send(message(0x0001, bytes.fromhex("8022000474657374")))
    queue.serve()
    assert handler.steps == ["decide", "answer", "decide", "finish", "handle"]


def test_no_more_packets_than_some_wait_to_be_finished(queue: Queue) -> None:
    handler = Handling(verdict=Verdict.BLOCK)
    queue.serve_with(handler, name)
    for _ in range(20):
        send()
    queue.serve()
    assert (len(handler.finished), handler.steps.count("answer")) == (16, 20)
    assert queue.serve_all(60) is True
    assert len(handler.finished) == 20


@pytest.mark.parametrize(
    ("broken", "told", "given", "finished"),
    [
        (["decide"], "no decide", None, 0),
        (["answer"], "no answer", Verdict.REDIRECT, 20),
        (["finish"], "no finish", Verdict.REDIRECT, 0),
        (["answer", "finish"], "no finish", Verdict.REDIRECT, 0),
    ],
)
def test_a_plain_request_with_which_something_is_wrong_is_one_fault(
    queue: Queue, broken: list[str], told: str, given: Verdict | None, finished: int
) -> None:
    handler = Handling(verdict=Verdict.REDIRECT)
    handler.broken = broken
    queue.serve_with(handler, name)
    for _ in range(20):
        send()
    queue.serve()
    assert len(handler.faults) == (20 if given is None else 16)
    queue.finish()
    assert handler.faults == [(told, given)] * 20
    assert (queue.faults, waiting()) == (20, 0)
    assert [answered for _, answered in handler.finished] == [Answered()] * finished


def test_a_packet_that_comes_before_there_is_a_handler_is_dropped(queue: Queue) -> None:
    send()
    assert queue.serve() is True
    assert (queue.received, queue.faults, waiting()) == (1, 0, 0)


def test_a_flood_does_not_keep_the_daemon_from_everything_else(queue: Queue) -> None:
    """Each packet that gets its verdict makes room for another, so the queue never runs dry."""
    enough = 300  # fewer than the wall's limit lets through in one go

    def handle(arrival: Arrival, give: Give) -> None:
        if queue.received < enough:
            send()
        give(Verdict.BLOCK)

    queue.serve_with(Handling(handle), name)
    send()
    for _ in range(3):
        assert queue.serve() is False
    assert 3 <= queue.received < enough


def test_serving_all_ends_when_nothing_waits_or_in_time(queue: Queue) -> None:
    again = True

    def handle(arrival: Arrival, give: Give) -> None:
        if again:
            send()
        give(Verdict.BLOCK)

    queue.serve_with(Handling(handle), name)
    send()
    assert queue.serve_all(0) is False
    assert queue.received == 0
    again = False
    for _ in range(100):
        send()
    assert queue.serve_all(60) is True
    assert queue.received == 101
    assert waiting() == 0


def test_large_packets_with_a_mark_do_not_stop_the_queue(queue: Queue) -> None:
    """Their message does not fit NetfilterQueue's buffer unless the kernel hands over a part of them only."""
    lengths: list[int] = []

    def handle(arrival: Arrival, give: Give) -> None:
        lengths.append(len(arrival.packet))
        give(Verdict.BLOCK)

    queue.serve_with(Handling(handle), name)
    for _ in range(3):
        send(REQUEST + bytes(8000), mark=1)
    queue.serve()
    assert lengths == [2048] * 3
    assert waiting() == 0


def test_a_queue_that_is_taken_is_an_error_with_a_cure(queue: Queue) -> None:
    with pytest.raises(QueueError, match="another `queue` in the configuration"):
        Queue(NUMBER, 0, 0)


def waiting() -> int:
    """How many packets have no verdict yet."""
    (row,) = (row for row in proc.rows() if row.queue == NUMBER)
    return row.waiting

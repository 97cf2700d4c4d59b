"""packets.py: what judge() returned is carried out, and what goes wrong on the way is counted."""

import time
from ipaddress import ip_address
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from stunwall.config import Config, Mode, OnBlock, WhenVpnDown
from stunwall.daemon import packets, systemd
from stunwall.daemon.answers import BURST
from stunwall.daemon.packets import PacketHandler
from stunwall.judge import Judgement, judge
from stunwall.model import (
    Answered,
    Arrival,
    Checked,
    Datagram,
    Event,
    Hook,
    Origin,
    Plain,
    Program,
    Refusal,
    Sender,
    Verdict,
)
from stunwall.policy import View
from stunwall.sockets.diag import Socket
from unit.build import SOURCES, TCP, ip4, tcp
from unit.build import packet as build
from vectors import rfc5769
from vectors.programs import message

REQUEST = build("udp", message(0x0001), 4, 3478)
# Not plain: it has an attribute, SOFTWARE.
OTHER = build("udp", message(0x0001, bytes.fromhex("8022000474657374")), 4, 3478)
BOTH = pytest.mark.parametrize("request_", [REQUEST, OTHER], ids=["plain", "other"])


QUESTION = 4711
INDEXES = {"lo": 1, "eth0": 2, "wg0": 3, "docker0": 4}


class Handled:
    """A handler, and what it asked the other parts to do."""

    def __init__(self, config: Config) -> None:
        self.done: list[tuple[str, Any]] = []
        self.problems: list[str] = []
        self.probe = b""
        self.anywhere = False  # whether the socket may be another than the tests' usual one
        self.error: OSError | None = None
        self.awaited = True
        names = SimpleNamespace(name={index: name for name, index in INDEXES.items()}.__getitem__)
        sync: Any = SimpleNamespace(view=View(frozenset({"wg0"}), frozenset({4, 6})), names=names)
        probe: Any = SimpleNamespace(matches=lambda packet: packet == self.probe)
        refusals: Any = SimpleNamespace(send=self._send, send_plain=self._send)
        sockets: Any = SimpleNamespace(
            awaited=lambda response, interface: self.awaited,
            begin=self._begin,
            begin_plain=self._begin_plain,
            found=self._found,
        )
        self.senders: list[Sender | None] = []
        writer: Any = SimpleNamespace(record=self._record, retract=self._note("retract"))
        origins: Any = SimpleNamespace(find=self._find)
        self.checked: Checked | None = None
        self.told: list[Judgement] = []
        checks: Any = SimpleNamespace(
            until=0.0,
            find=lambda datagram, arrival: self.checked,
            tell=lambda datagram, arrival, judgement: self.told.append(judgement),
        )
        self.handler = PacketHandler(
            config, sync, probe, refusals, sockets, origins, checks, writer, self.problems.append
        )

    def _note(self, what: str) -> Any:
        return lambda event: self.done.append((what, event))

    def _begin(self, datagram: Datagram, interface: str) -> int:
        self.done.append(("find socket", interface))
        assert self.anywhere or (str(datagram.destination), interface) == ("203.0.113.7", "eth0")
        return QUESTION

    def _begin_plain(self, request: Plain, interface: int) -> int:
        self.done.append(("find socket", interface))
        assert self.anywhere or (request.destination, interface) == (
            ip_address("203.0.113.7").packed,
            INDEXES["eth0"],
        )
        return QUESTION

    def _found(self, question: int) -> Socket:
        assert question == QUESTION
        return Socket(uid=1000, inode=4711, interface=0, cgroup=99, mark=0)

    def _record(self, event: Event, sender: Sender | None, mark: int) -> None:
        self.done.append(("record", event))
        self.senders.append(sender)

    def _send(self, refusal: Refusal | Plain, packet: bytes = b"") -> None:
        if self.error is not None:
            raise self.error
        self.done.append(("refuse", refusal))

    def _find(self, segment: Datagram, arrival: Arrival) -> Origin:
        self.done.append(("look up", segment.destination_port))
        return Origin("wg0", bound_to_device=False, program=Program.WEBRTC)

    def handle(self, packet: bytes, hook: Hook = Hook.POSTROUTING, mark: int = 0) -> Verdict:
        return self.take(Arrival(packet, "", "eth0", hook, mark, 1.0))

    def take(self, arrival: Arrival) -> Verdict:
        """As the queue hands it over: see queue/nfqueue.py."""
        given: list[Verdict] = []

        def give(verdict: Verdict) -> None:
            given.append(verdict)
            self.done.append(("give", verdict))

        incoming, outgoing = (INDEXES.get(each, 0) for each in (arrival.incoming, arrival.outgoing))
        decided = self.handler.decide(arrival.packet, arrival.hook, incoming, outgoing)
        if decided is None:
            self.handler.handle(arrival, give)
        else:
            verdict, request = decided
            give(verdict)
            answered = Answered()
            try:
                answered = self.handler.answer(verdict, request, outgoing)
            finally:
                self.handler.finish(arrival, answered)
        (verdict,) = given
        return verdict

    @property
    def steps(self) -> list[str]:
        return [what for what, _ in self.done]


@pytest.fixture
def blocking() -> Handled:
    return Handled(Config())


@BOTH
def test_a_blocked_request_is_recorded_and_refused(blocking: Handled, request_: bytes) -> None:
    assert blocking.handle(request_) is Verdict.BLOCK
    # Who is refused closes the socket, so it is looked up before.
    assert blocking.steps == ["give", "find socket", "refuse", "record"]
    event = blocking.done[3][1]
    assert isinstance(event, Event)
    assert (event.verdict, event.packet) == ("blocked", request_)


def test_a_segment_stays_in_the_queue_until_its_connection_is_reset(blocking: Handled) -> None:
    assert blocking.handle(build("tcp", message(0x0001), 4, 3478)) is Verdict.BLOCK
    assert blocking.steps == ["find socket", "refuse", "record", "give"]


@BOTH
def test_the_sender_is_looked_up_unless_it_is_forwarded(blocking: Handled, request_: bytes) -> None:
    blocking.handle(request_)
    blocking.take(Arrival(request_, "docker0", "eth0", Hook.POSTROUTING, 0, 1.0))
    assert blocking.senders == [Sender(uid=1000, cgroup=99, inode=4711), None]


@BOTH
def test_a_refusal_that_cannot_be_sent_is_counted_and_the_packet_stays_blocked(
    blocking: Handled, request_: bytes
) -> None:
    blocking.error = OSError("no route")
    assert blocking.handle(request_) is Verdict.BLOCK
    assert blocking.handler.unanswered == 1
    assert blocking.steps == ["give", "find socket", "record"]


def test_a_sender_that_floods_is_recorded_but_not_answered_any_more(
    blocking: Handled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    more = 50
    for _ in range(int(BURST) + more):
        blocking.handle(REQUEST)
    assert blocking.steps.count("record") == BURST + more
    assert blocking.steps.count("refuse") == BURST
    assert blocking.handler.unanswered == more
    blocking.done.clear()
    blocking.handler._sync.view = View(frozenset(), frozenset(), inside=frozenset({"docker0"}))
    blocking.take(Arrival(REQUEST, "docker0", "eth0", Hook.POSTROUTING, 0, 1.0))
    assert blocking.steps == ["give", "refuse", "record"]


def test_a_check_is_answered_whatever_else_is_sent(
    blocking: Handled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    blocking.handler._checks.until = 1001.0
    blocking.checked = Checked(ip_address("192.0.2.1"), as_usual=False)
    for _ in range(int(BURST) + 50):
        blocking.handle(REQUEST)
    assert blocking.steps.count("refuse") == BURST + 50


@BOTH
def test_whatever_goes_wrong_with_a_refusal_the_packet_is_recorded(
    blocking: Handled, request_: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError(6)

    for way in ("send", "send_plain"):
        monkeypatch.setattr(blocking.handler._refusals, way, fail)
    with pytest.raises(KeyError):
        blocking.handle(request_)
    assert blocking.steps == ["give", "find socket", "record"]


@BOTH
def test_what_may_leave_outside_the_vpn_is_recorded_before(request_: bytes) -> None:
    handled = Handled(Config(when_vpn_down=WhenVpnDown.ALLOW))
    handled.handler._sync.view = View(frozenset(), frozenset())
    assert handled.handle(request_) is Verdict.ACCEPT
    assert handled.steps == ["find socket", "record", "give"]


def test_what_may_leave_outside_the_vpn_and_cannot_be_recorded_gets_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    handled = Handled(Config(when_vpn_down=WhenVpnDown.ALLOW))
    handled.handler._sync.view = View(frozenset(), frozenset())
    monkeypatch.setattr(handled.handler._writer, "record", fail)
    with pytest.raises(RuntimeError):
        handled.handle(REQUEST)
    assert "give" not in handled.steps


def test_a_packet_that_cannot_be_judged_gets_no_verdict(
    blocking: Handled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(packets, "judge_parsed", fail)
    with pytest.raises(RuntimeError):
        blocking.handle(OTHER)
    assert blocking.done == []


def test_a_packet_that_cannot_be_read_is_blocked_and_recorded(blocking: Handled) -> None:
    assert blocking.handle(b"\x45") is Verdict.BLOCK
    assert blocking.handler.unreadable == 1
    assert blocking.steps == ["give", "record"]


@BOTH
def test_a_redirect_that_failed_is_taken_back_before_it_is_recorded_as_blocked(request_: bytes) -> None:
    config = Config(mode=Mode.REDIRECT)
    handled = Handled(config)
    assert handled.handle(request_, Hook.OUTPUT) is Verdict.REDIRECT
    assert handled.handle(request_, mark=config.redirected_bit) is Verdict.BLOCK
    redirected, blocked = handled.steps[:3], handled.steps[3:]
    assert redirected == ["give", "find socket", "record"]
    assert blocked == ["give", "find socket", "refuse", "retract", "record"]


def test_a_probe_that_comes_back_feeds_the_watchdog_and_goes_no_further(
    blocking: Handled, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(systemd, "notify", said.append)
    blocking.probe = REQUEST
    assert blocking.take(Arrival(REQUEST, "", "lo", Hook.POSTROUTING, 0, 1.0)) is Verdict.BLOCK
    assert (said, blocking.steps) == (["WATCHDOG=1"], ["give"])


def test_another_configuration_holds_from_the_next_packet_on(blocking: Handled) -> None:
    blocking.anywhere = True
    assert blocking.handle(REQUEST, Hook.OUTPUT) is Verdict.ACCEPT
    blocking.handler.config = Config(mode=Mode.REDIRECT)
    assert blocking.handle(REQUEST, Hook.OUTPUT) is Verdict.REDIRECT
    assert blocking.handle(REQUEST) is Verdict.BLOCK
    blocking.handler.config = Config(when_vpn_down=WhenVpnDown.ALLOW)
    blocking.handler._sync.view = View(frozenset(), frozenset())
    assert blocking.handle(REQUEST) is Verdict.ACCEPT


def test_another_view_holds_from_the_next_packet_on(blocking: Handled) -> None:
    blocking.anywhere = True
    assert blocking.handle(REQUEST) is Verdict.BLOCK
    blocking.handler._sync.view = View(frozenset({"eth0"}), frozenset({4, 6}))
    assert blocking.handle(REQUEST) is Verdict.ACCEPT


def test_a_fault_is_reported_with_its_error(blocking: Handled) -> None:
    blocking.handler.fault(ValueError("broken"), None)
    blocking.handler.fault(ValueError("broken"), Verdict.REDIRECT)
    assert blocking.problems == [
        "a packet could not be judged and was blocked (ValueError: broken)",
        "a packet could not be answered or recorded; it was redirected (ValueError: broken)",
    ]


def test_a_handshake_is_looked_up_before_it_is_judged(blocking: Handled) -> None:
    syn = ip4(TCP, tcp(b"", 443, flags=0x02))
    assert blocking.handle(syn, Hook.OUTPUT) is Verdict.BLOCK
    assert blocking.steps == ["look up", "find socket", "refuse", "record", "give"]
    assert blocking.done[0][1] == 443


def test_nothing_else_is_looked_up(blocking: Handled) -> None:
    for packet, hook in (
        (REQUEST, Hook.OUTPUT),
        (ip4(TCP, tcp(b"", 443, flags=0x10)), Hook.OUTPUT),
        (ip4(TCP, tcp(message(0x0001), flags=0x02)), Hook.POSTROUTING),
        (ip4(TCP, tcp(b"", 443, flags=0x02)), Hook.PREROUTING),
        (ip4(TCP, tcp(b"", 443, flags=0x02))[:30], Hook.OUTPUT),
    ):
        blocking.handle(packet, hook)
    assert "look up" not in blocking.steps


def test_an_exposure_lasts_for_as_long_as_a_client_repeats_its_request(
    blocking: Handled, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert blocking.handler.exposed_left == 0
    for version in (4, 6):
        response = build("udp", rfc5769.IPV4_RESPONSE, version)
        blocking.take(Arrival(response, "eth0", "", Hook.PREROUTING, 0, 1.0))
        assert blocking.handler.exposed_left == 39.5
        # The first one's, so that servers that take turns are one row of the ledger.
        assert SOURCES[4] in blocking.handler.exposed_why
        now += 30
    now += 10
    assert blocking.handler.exposed_left == 0


@pytest.mark.parametrize("outgoing", ["eth0", "wg0", "docker0"])
@pytest.mark.parametrize("incoming", ["", "docker0"])
@pytest.mark.parametrize("hook", Hook)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("when_vpn_down", WhenVpnDown)
@pytest.mark.parametrize("on_block", OnBlock)
@pytest.mark.parametrize("vpn", [frozenset({"wg0"}), frozenset()])
def test_a_plain_request_gets_what_judge_decides(
    outgoing: str,
    incoming: str,
    hook: Hook,
    mode: Mode,
    when_vpn_down: WhenVpnDown,
    on_block: OnBlock,
    vpn: frozenset[str],
) -> None:
    config = Config(mode=mode, when_vpn_down=when_vpn_down, on_block=on_block)
    for families, version in product((frozenset({4, 6}), frozenset({4})), (4, 6)):
        view = View(vpn, families, inside=frozenset({"docker0"}))
        packet = build("udp", message(0x0001), version, 3478)
        arrival = Arrival(packet, incoming, outgoing, hook, 0, 1.0)
        handled = Handled(config)
        handled.anywhere = True
        handled.handler._sync.view = view
        judgement = judge(arrival, view, config)
        assert handled.take(arrival) is judgement.verdict
        assert handled.steps.count("refuse") == (judgement.refusal is not None)
        assert handled.steps.count("record") == (judgement.event is not None)
        found = judgement.event is not None and not incoming
        assert handled.steps.count("find socket") == found

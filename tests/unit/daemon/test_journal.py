"""journal.py: lines in a real pipe."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import pytest

from stunwall import reasons
from stunwall.daemon import journal
from stunwall.daemon.journal import Journal
from stunwall.daemon.journal_socket import JournalSocket
from stunwall.model import Event, Reason
from unit.recorded import event


class Pipe:
    """A pipe that a Journal writes to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def lines(self) -> list[str]:
        """What was written, and the end."""
        os.close(self.writer)
        with open(self.reader, encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor
            return stream.read().splitlines()


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


class Clock:
    """The seconds that journal.py sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        fake = SimpleNamespace(monotonic=lambda: self.now, strftime=lambda form: "12:34:56 ")
        monkeypatch.setattr(journal, "time", fake)


def test_under_journald_a_line_starts_with_its_priority(pipe: Pipe) -> None:
    to = Journal(pipe.writer, journal=True)
    to.error("broken")
    to.notice("changed")
    to.event(event())
    said = (
        "blocked stun Binding over udp from 192.0.2.17:1 to 203.0.113.7:3478 on eth0: it would have bypassed"
    )
    assert pipe.lines() == ["<3>broken", "<5>changed", f"<4>{said} the VPN"]


def test_elsewhere_a_line_starts_with_the_time(pipe: Pipe) -> None:
    Journal(pipe.writer, journal=False).error("broken")
    (line,) = pipe.lines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d broken", line)


def test_what_was_let_through_is_a_notice_and_what_was_blocked_a_warning(pipe: Pipe) -> None:
    to = Journal(pipe.writer, journal=True)
    to.event(replace(event(), verdict="accepted", reason="vpn-down-allowed"))
    to.event(replace(event(), verdict="redirected", reason="redirected"))
    to.event(event())
    assert [line[:3] for line in pipe.lines()] == ["<5>", "<5>", "<4>"]


def test_an_event_that_is_about_no_packet_is_told_in_its_own_words(pipe: Pipe) -> None:
    Journal(pipe.writer, journal=True).event(Event.note(1.0, "paused", "for 60 s, by user 0"))
    assert pipe.lines() == ["<5>paused: for 60 s, by user 0"]


@pytest.mark.parametrize(
    "hostile",
    ["a\nb", "a\rb", "a\x1b[2Jb", "a\0b", "a\x7fb", "a\u2028b", "a\u202eb", "a\x85b", "a\tb", "a\udcffb"],
    ids=ascii,
)
def test_control_characters_never_reach_the_terminal_or_forge_a_line(pipe: Pipe, hostile: str) -> None:
    Journal(pipe.writer, journal=True).notice(hostile)
    (line,) = pipe.lines()
    assert re.fullmatch(r"<5>a\?+(\[2J)?b", line)


def test_text_in_any_language_is_left_alone(pipe: Pipe) -> None:
    Journal(pipe.writer, journal=True).notice("café 接口 ‘wg0’")
    assert pipe.lines() == ["<5>café 接口 ‘wg0’"]


def test_a_flood_of_flows_is_summed_up_and_starts_anew_each_second(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    to = Journal(pipe.writer, journal=True)
    for port in range(50):
        to.event(event(port))
    to.notice("not an event")
    clock.now = 101.0
    to.event(event(50))
    lines = pipe.lines()
    assert len(lines) == 20 + 1 + 1 + 1
    assert lines[20:22] == ["<5>not an event", "<4>and 30 more flows: see `stunwall log`"]
    assert ":50 to " in lines[22]


def test_up_to_20_flows_a_second_each_have_their_line(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    to = Journal(pipe.writer, journal=False)
    for second in range(3):
        clock.now = 100.0 + second
        for port in range(20):
            to.event(event(port))
    lines = pipe.lines()
    assert len(lines) == 60
    assert all(line.startswith("12:34:56 blocked") for line in lines)


def test_nobody_reading_is_no_reason_to_fail(pipe: Pipe) -> None:
    to = Journal(pipe.writer, journal=True)
    os.close(pipe.reader)
    to.error("lost")
    to.event(event())
    os.close(pipe.writer)
    to.error("lost too")


def test_a_full_pipe_is_no_reason_to_wait(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    to = Journal(pipe.writer, journal=True)
    for _ in range(100):
        to.notice("x" * 5000)
    assert pipe.lines()


def test_every_reason_can_be_said() -> None:
    for reason in Reason:
        assert journal.sentence(replace(event(), reason=reason.value)).endswith(f": {reason.sentence}")


def test_a_packet_that_could_not_be_parsed_has_addresses_and_no_ports() -> None:
    unread = replace(
        event(),
        protocol="unknown",
        method="",
        transport="",
        source_port=0,
        destination_port=0,
        reason="unreadable",
    )
    said = (
        "blocked a packet from 192.0.2.17 to 203.0.113.7 on eth0: it looks like STUN, but could not be parsed"
    )
    assert journal.sentence(unread) == said


class Entries(JournalSocket):
    """A journald that takes entries, or does not."""

    def __init__(self, takes: bool) -> None:
        self.takes = takes
        self.sent: list[Mapping[str, str]] = []

    def send(self, fields: Mapping[str, str]) -> bool:
        self.sent.append(fields)
        return self.takes


def test_an_event_is_an_entry_with_its_fields(pipe: Pipe) -> None:
    entries = Entries(takes=True)
    to = Journal(pipe.writer, journal=True, entries=entries)
    to.event(replace(event(), uid=1000, app="evil\nPRIORITY=0"))
    to.notice("changed")
    assert pipe.lines() == ["<5>changed"]
    (fields,) = entries.sent
    assert fields["MESSAGE"] == journal.sentence(event()).replace(" to ", " (evil?PRIORITY=0) to ")
    assert fields["PRIORITY"] == "4"
    assert fields["SYSLOG_IDENTIFIER"] == "stunwalld"
    explained = reasons.explanation(event())
    assert explained is not None
    assert fields["MESSAGE_ID"] == explained.message_id
    assert fields["STUNWALL_DESTINATION"] == "203.0.113.7"
    assert fields["STUNWALL_UID"] == "1000"
    assert fields["STUNWALL_APP"] == "evil?PRIORITY=0"
    assert "STUNWALL_PACKET" not in fields


def test_an_event_that_no_journald_takes_is_a_line(pipe: Pipe) -> None:
    Journal(pipe.writer, journal=True, entries=Entries(takes=False)).event(event())
    assert pipe.lines() == [f"<4>{journal.sentence(event())}"]

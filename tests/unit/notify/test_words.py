"""words.py: what a notification says of a hostile program's attempt, and the exception that it offers."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stunwall.configfile import reader
from stunwall.model import LEAK, Event
from stunwall.notify import words
from unit.cli.command import HOSTILE
from unit.recorded import event

NOW = time.time()
MINE = replace(event(seen=NOW), uid=1000)
SERVER = {"user": 1000, "to": "203.0.113.7", "port": 3478}


def test_it_says_who_tried_what_and_what_to_do_next() -> None:
    note = words.blocked(replace(MINE, app="org.mozilla.firefox"), 1, NOW, 3600)
    assert note.summary == "stunwall blocked org.mozilla.firefox"
    assert note.body == (
        "It sent a STUN request to 203.0.113.7:3478. Outside the VPN, this would have shown your real address. "
        "“Allow for an hour” lets the application org.mozilla.firefox use STUN outside the VPN."
    )
    assert note.actions == (("details", "Details"), ("allow", "Allow for an hour"))


def test_it_counts_and_says_what_is_different() -> None:
    several = words.blocked(replace(MINE, executable="/opt/a/b", reason="no-vpn"), 1234, NOW, 7200)
    started = time.strftime("%H:%M", time.localtime(NOW))
    assert several.summary == "stunwall blocked b"
    assert several.body.startswith(f"1,234 attempts since {started}. The last one sent a STUN request to ")
    assert "While no VPN is up, this would have shown" in several.body
    assert "“Allow for 2 hours” lets your programs, but with 203.0.113.7:3478 only, use" in several.body
    assert "It contacted" in words.blocked(replace(MINE, protocol="tcp-handshake"), 1, NOW, 60).body
    others = words.blocked(MINE, 7, NOW, 60, others=True)
    assert (others.summary, others.actions) == ("stunwall blocked other programs", ())
    assert others.body.endswith("Run `stunwall log` to see all.")


def test_an_entry_for_several_servers_offers_an_exception_for_its_program_or_none() -> None:
    several = replace(MINE, destination="", destination_port=0, flows=9)
    for note in (words.blocked(several, 9, NOW, 60), words.details(1, several, 60)):
        assert "allow" not in dict(note.actions)
        assert "“" not in note.body
    note = words.blocked(replace(several, app="an.App"), 9, NOW, 60)
    assert "The last one sent a STUN request to several servers. " in note.body
    assert dict(note.actions).keys() == {"details", "allow"}


@pytest.mark.parametrize(
    ("seconds", "words_"),
    [(3600, "an hour"), (7200, "2 hours"), (60, "1 minute"), (5400, "90 minutes"), (5, "5 seconds")],
)
def test_a_length_is_told_in_words(seconds: int, words_: str) -> None:
    assert words.duration(seconds) == words_


@pytest.mark.parametrize(
    ("known", "rule"),
    [
        ({"app": "org.mozilla.firefox"}, {"user": 1000, "app": "org.mozilla.firefox"}),
        ({"app": "a", "unit": "app-a-1.scope"}, {"user": 1000, "app": "a"}),
        ({"unit": r"app-a\x2db@1.service"}, {"user": 1000, "unit": r"app-a\x2db@1.service"}),
        ({}, SERVER),
        ({"destination_port": 0}, {"user": 1000, "to": "203.0.113.7"}),
        # They would let out more than the program.
        ({"unit": "session-3.scope"}, SERVER),
        ({"unit": "user@1000.service"}, SERVER),
        ({"unit": "app.slice"}, SERVER),
        ({"unit": "*.scope"}, SERVER),
        ({"unit": "app-[a-z].scope"}, SERVER),
        ({"unit": "../x.service"}, SERVER),
        ({"unit": "a.service\n"}, SERVER),
        ({"app": "*"}, SERVER),
        ({"app": "a b"}, SERVER),
        ({"app": "a*", "unit": "b.scope"}, {"user": 1000, "unit": "b.scope"}),
    ],
)
def test_the_exception_is_for_the_program_alone_and_one_that_the_configuration_takes(
    tmp_path: Path, known: dict[str, Any], rule: dict[str, Any]
) -> None:
    found = words.exception(replace(MINE, **known))
    assert found == rule
    lines = "".join(f"{key} = {value!r}\n" for key, value in found.items())
    (tmp_path / "c.toml").write_text(f'[[allow]]\nwhy = "w"\n{lines}')
    (allow,) = reader.load(tmp_path / "c.toml").allow
    assert allow.user == 1000


@pytest.mark.parametrize(
    "field", ["app", "unit", "executable", "method", "interface", "who", "cause_text", "reason"]
)
def test_text_of_others_can_neither_control_nor_fill_the_screen(field: str) -> None:
    hostile: dict[str, Any] = {field: HOSTILE + "x" * 10_000}
    strange = replace(MINE, **hostile)
    for note in (
        words.blocked(strange, 2, NOW, 60),
        words.details(1, strange, 60),
        words.refused(HOSTILE * 100),
    ):
        assert len(note.summary) < 100
        assert len(note.body) < 1500
        assert all(c.isprintable() or c == "\n" for c in note.summary + note.body)


def test_details_are_what_the_record_says() -> None:
    known = replace(
        MINE, app="an.App", unit="u.scope", executable="/a/b", pid=7, who="one of 2", cause_text="why"
    )
    note = words.details(12, known, 60)
    assert (note.summary, note.actions) == ("Entry 12: an.App", (("allow", "Allow for 1 minute"),))
    for line in (
        "To: 203.0.113.7:3478",
        "Application: an.App",
        "Process: 7",
        "Not certain: one of 2",
        "Why: why",
    ):
        assert line in note.body.splitlines()
    assert note.body.endswith("More: stunwall show 12")
    assert "Process" not in words.details(12, MINE, 60).body


def test_a_leak_that_a_check_has_seen_is_told_without_who_checked() -> None:
    seen = "a check has seen STUN leave by eth0, outside the VPN (2 of 4 tests sealed)"
    note = words.leak(Event.note(0.0, LEAK, f"{seen}; by user 0 (root), who needs no permission"))
    assert note.summary == "STUN leaves outside the VPN"
    assert note.body.endswith(f" {seen}. Web pages may see your real address. Run `stunwall status`.")
    assert note.actions == ()

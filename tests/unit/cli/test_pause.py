"""cli/pause.py: `stunwall pause` and `stunwall resume`."""

import json
from datetime import datetime

import pytest

from unit.cli.command import Daemon, Result, Stunwall


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("024h", 86400),
        ("0s", 0),
        ("999999h", 3599996400),
    ],
)
def test_pause_asks_for_seconds_and_prints_the_end(
    stunwall: Stunwall, served: Daemon, duration: str, seconds: int
) -> None:
    served.reply = {"paused_until": datetime(2026, 1, 2, 3, 4, 5).timestamp()}
    result = stunwall("pause", duration)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("All STUN can leave until 2026-01-02 03:04:05 ")
    assert "`stunwall resume`" in result.out
    assert json.loads(stunwall("pause", duration, "--json").out) == served.reply
    assert served.asked == [{"command": "pause", "seconds": seconds}] * 2


@pytest.mark.parametrize(
    ("was", "words"), [(True, "The pause has ended.\n"), (False, "There was no pause.\n")]
)
def test_resume_says_whether_there_was_a_pause(
    stunwall: Stunwall, served: Daemon, was: bool, words: str
) -> None:
    served.reply = {"was_paused": was}
    assert stunwall("resume") == Result(0, words, "")
    assert json.loads(stunwall("resume", "--json").out) == {"was_paused": was}
    assert served.asked == [{"command": "resume"}] * 2


@pytest.mark.parametrize(("name", "prompt"), [("DISPLAY", True), ("WAYLAND_DISPLAY", True), ("PATH", False)])
def test_only_somebody_on_a_desktop_or_terminal_is_asked_for_a_password(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch, name: str, prompt: bool
) -> None:
    monkeypatch.setenv(name, "wayland-0")
    served.reply = {"paused_until": 7, "was_paused": True}
    stunwall("pause", "1h")
    stunwall("resume")
    assert [asked.get("interactive", False) for asked in served.asked] == [prompt, False]


def test_a_refusal_says_why_and_is_permission_denied(stunwall: Stunwall, served: Daemon) -> None:
    served.reply = {"error": "nothing was changed: the prompt\x1b[2J was dismissed", "refused": True}
    result = stunwall("pause", "1h")
    assert (result.code, result.out) == (4, "")
    assert "nothing was changed" in result.err
    assert "\x1b" not in result.err

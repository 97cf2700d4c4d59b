"""commands.py: what polkit decides about, and what the record says of it."""

import os
from typing import Any

import pytest

from stunwall.control.peer import Peer
from stunwall.control.prompts import Author, Authorize
from unit.daemon.commands import MEMBER, PORT, Served

ANNA = Author(1000, "anna", "allowed by polkit")


@pytest.mark.parametrize(
    ("command", "action"),
    [("pause", "org.stunwall.pause"), ("allow-add", "org.stunwall.allow"), ("reload", "org.stunwall.reload")],
)
@pytest.mark.parametrize("interactive", [True, False, None, 1, "true"])
def test_a_member_changes_nothing_before_polkit_allows_it(
    served: Served, paused: list[int], command: str, action: str, interactive: Any
) -> None:
    before = served.files()
    request = {"command": command, "seconds": 60, "rule": PORT, "interactive": interactive}
    asked = served.commands.answer(request, MEMBER)
    assert isinstance(asked, Authorize)
    assert (asked.action, asked.interactive) == (action, interactive is True)
    assert (served.files(), served.configured, served.recorded, paused) == (before, [], [], [])
    assert "error" not in asked.make(ANNA)
    assert paused or served.configured


def test_systemd_reloads_it_as_its_own_user_and_is_not_asked(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Peer(997, True)
    assert isinstance(served.commands.answer({"command": "reload"}, own), Authorize), "another user's"
    monkeypatch.setattr(os, "geteuid", lambda: 997)
    assert served.ask("reload", own) == {"changed": []}


def test_the_record_says_which_member_resumed(served: Served, paused: list[int]) -> None:
    served.ask("pause", seconds=60)
    assert served.ask("resume", MEMBER) == {"was_paused": True}
    assert served.recorded[1] == ("resumed", "by user 1000, a member of the group stunwall")


def test_the_record_says_which_member_removed_an_exception(served: Served) -> None:
    served.add(**PORT)
    served.ask("allow-remove", MEMBER, number=1)
    assert served.recorded[1] == (
        "revoked",
        "port 3478: a test; by user 1000, a member of the group stunwall",
    )


def test_the_record_says_who_had_changed_settings_applied(served: Served) -> None:
    for _ in range(2):  # the second time nothing has changed
        served.file.write_text('when_vpn_down = "allow"\n')
        asked = served.commands.answer({"command": "reload"}, MEMBER)
        assert isinstance(asked, Authorize)
        asked.make(ANNA)
    assert served.recorded == [("reloaded", "when_vpn_down; by user 1000 (anna), allowed by polkit")]
    assert served.authors == [(1000, "anna")]


@pytest.mark.parametrize("command", ["resume", "allow-list", "allow-remove"])
def test_what_only_closes_the_wall_again_is_not_polkits(
    served: Served, paused: list[int], command: str
) -> None:
    served.add(**PORT)
    assert "error" not in served.ask(command, MEMBER, number=1)


def test_the_record_says_who_paused_and_who_allowed_and_by_what_right(
    served: Served, paused: list[int]
) -> None:
    for request in ({"command": "pause", "seconds": 60}, {"command": "allow-add", "rule": PORT}):
        asked = served.commands.answer(request, MEMBER)
        assert isinstance(asked, Authorize)
        asked.make(ANNA)
    assert served.recorded == [
        ("paused", "for 60 s, by user 1000 (anna), allowed by polkit"),
        ("allowed", "port 3478: a test; by user 1000 (anna), allowed by polkit"),
    ]
    assert served.authors == [(1000, "anna")] * 2


@pytest.mark.parametrize(
    ("command", "given"),
    [("pause", {}), ("pause", {"seconds": "60"}), ("allow-add", {}), ("allow-add", {"rule": {"x": 1}})],
)
def test_nobody_is_asked_for_a_password_for_what_is_no_request(
    served: Served, command: str, given: dict[str, Any]
) -> None:
    assert "error" in served.ask(command, MEMBER, **given)


def test_the_prompt_says_what_is_to_be_done_but_not_in_the_words_of_who_asks(served: Served) -> None:
    asked = served.commands.answer({"command": "allow-add", "rule": PORT | {"why": "harmless"}}, MEMBER)
    assert isinstance(asked, Authorize)
    assert "(port 3478)" in asked.what
    assert "harmless" not in asked.what


@pytest.mark.parametrize(
    ("until", "said"),
    [
        (1767268800, "until 2026-01-01 "),
        ("2026", "until 2026"),
        (10**20, f"until {10**20}"),
        (-1, "until -1"),
    ],
)
def test_the_prompt_says_when_an_exception_ends(served: Served, until: Any, said: str) -> None:
    asked = served.commands.answer({"command": "allow-add", "rule": PORT | {"until": until}}, MEMBER)
    assert isinstance(asked, Authorize)
    assert said in asked.what


def test_what_is_wrong_with_a_change_is_told_after_polkit_allowed_it(served: Served) -> None:
    asked = served.commands.answer({"command": "allow-add", "rule": {"port": 1}}, MEMBER)
    assert isinstance(asked, Authorize)
    assert "why" in asked.make(ANNA)["error"]
    assert served.recorded == []

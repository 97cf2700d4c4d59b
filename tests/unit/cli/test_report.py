"""cli/report.py: what `stunwall status` says while no daemon is running, or the user may not ask it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from stunwall import hints
from stunwall.cli import report
from stunwall.control.protocol import ControlPermissionError
from stunwall.wall import inspection
from stunwall.wall.nft import NftPermissionError
from unit.cli.command import Stunwall
from unit.fake_machine import answers, inspected, wall


@pytest.mark.parametrize(
    ("loaded", "code", "found", "headline"),
    [
        (inspected(wall()), 0, ("wall-only", False, "up"), "the wall is up: STUN outside the VPN is blocked"),
        (
            inspected(wall(paused=90)),
            1,
            ("paused", True, "up"),
            "a pause lasts for another 90 s: all STUN can leave",
        ),
        (
            inspected(wall(), "chain decide (has: accept)"),
            1,
            ("down", True, "damaged"),
            "the wall is damaged: STUN can leave",
        ),
        (None, 1, ("down", True, "down"), "the wall is not loaded: STUN can leave"),
        (NftPermissionError("denied"), 4, ("unknown", None, "unknown"), "only root can see whether"),
    ],
    ids=["intact", "paused", "damaged", "none", "not permitted"],
)
def test_without_a_daemon_the_kernel_says_whether_stun_can_leak(
    stunwall: Stunwall,
    monkeypatch: pytest.MonkeyPatch,
    loaded: Any,
    code: int,
    found: tuple[str, bool | None, str],
    headline: str,
) -> None:
    monkeypatch.setattr(inspection, "inspect", answers(lambda: loaded))
    printed = stunwall("status", "--json")
    values = json.loads(printed.out)
    assert (printed.code, printed.err) == (code, "")
    assert (values["state"], values["leak_possible"], values["wall"]) == found
    assert values["headline"].startswith("stunwalld is not running, ")
    assert headline in values["headline"]
    assert hints.START in values["next"]
    assert values["daemon"] is None
    assert stunwall("status").out.startswith(f"{found[0].upper()}: {values['headline']}\n")


def test_without_a_daemon_the_interfaces_in_the_wall_are_shown(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = replace(wall(), sets={"vpn": ("wg0",), "inside": ("docker0",)})
    monkeypatch.setattr(inspection, "inspect", lambda settings: inspected(loaded))
    values = json.loads(stunwall("status", "--json").out)
    assert values["vpn"] == [{"interface": "wg0", "why": "as stunwalld left it"}]
    assert values["inside"] == [{"interface": "docker0", "why": "as stunwalld left it"}]
    assert values["problems"] == [hints.NO_DAEMON]


@pytest.mark.parametrize(
    ("second", "said"), [(None, "gone with stunwalld"), (wall(), "up, as stunwalld left it")]
)
def test_without_a_daemon_the_kernel_says_whether_the_second_lock_was_left(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch, second: Any, said: str
) -> None:
    for found in (inspected(wall()), inspected(wall(paused=9)), inspected(wall(), "set vpn")):
        loaded = replace(found, second_lock=second)
        monkeypatch.setattr(inspection, "inspect", lambda settings, loaded=loaded: loaded)
        assert json.loads(stunwall("status", "--json").out)["second_lock"] == said


def test_what_is_damaged_is_named_and_so_is_what_could_not_be_compared(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = inspected(wall(), "chain decide (has: accept)")
    monkeypatch.setattr(inspection, "inspect", lambda settings: found)
    (problem,) = json.loads(stunwall("status", "--json").out)["problems"]
    assert "chain decide (has: accept)" in problem
    found = inspected(wall(), complete=False)
    printed = stunwall("status", "--json")
    assert printed.code == 0
    assert json.loads(printed.out)["problems"] == [hints.NO_DAEMON, hints.LESS_COMPARED]


def test_a_user_without_permission_learns_how_to_get_it(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = ControlPermissionError(hints.members_only("connect to the socket"))
    monkeypatch.setattr(report, "ask", answers(lambda: denied))
    printed = stunwall("status", "--json")
    values = json.loads(printed.out)
    assert (printed.code, values["state"], values["headline"]) == (4, "unknown", "permission denied")
    assert values["next"].startswith("Only root and the group stunwall can connect to the socket: ")
    assert "usermod -aG stunwall" in values["next"]

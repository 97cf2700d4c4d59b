"""cli/proof.py: what is handed to the daemon, and what `status` says of it."""

import json
from typing import Any

import pytest

from stunwall.check import run
from stunwall.check.verdict import Verdict
from stunwall.cli import check
from stunwall.cli.proof import sentence
from unit.cli.command import Daemon, Stunwall
from unit.cli.test_check import INTO_VPN, OUTSIDE, found
from unit.status import STATUS

PROOF: dict[str, Any] = STATUS["proof"]
LEAK = {"verdict": "leak", "sealed": 12, "interfaces": ["eth0"], "seconds": 61.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "12 minutes ago, 14 of 14 tests sealed"),
        (
            {"seconds": 7300.0, "changed": True},
            "2 hours ago, 14 of 14 tests sealed; something has changed since: run `sudo stunwall check`",
        ),
        ({"for_all": False}, "12 minutes ago, 14 of 14 tests sealed, by your own check"),
        (
            {"inconclusive": 1.5},
            "12 minutes ago, 14 of 14 tests sealed; a check 1 second ago was inconclusive",
        ),
        ({"sealed": 0, "tests": 0}, "12 minutes ago, no way leads around the VPN"),
        ({"verdict": ""}, "not since stunwalld started: run `sudo stunwall check`"),
        ({"verdict": "", "inconclusive": 60.0}, "no: a check 1 minute ago was inconclusive"),
        (
            LEAK,
            "no: 1 minute ago a check saw STUN leave by eth0, outside the VPN (12 of 14 tests sealed)",
        ),
    ],
)
def test_the_status_says_in_a_sentence_what_was_proved(
    stunwall: Stunwall, daemon: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    proof = PROOF | changes
    assert sentence(proof) == said
    daemon["proof"] = proof
    printed = stunwall("status").out
    assert said in " ".join(printed.split("Proved", 1)[1].split())
    assert json.loads(stunwall("status", "--json").out)["proof"] == proof


def test_a_daemon_of_an_older_version_says_nothing_of_it(stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    del daemon["proof"]
    assert "Proved" not in stunwall("status").out
    assert json.loads(stunwall("status", "--json").out)["proof"] is None


def test_a_result_is_handed_over_with_what_it_is_about(
    monkeypatch: pytest.MonkeyPatch, stunwall: Stunwall, served: Daemon
) -> None:
    found(monkeypatch, (OUTSIDE, Verdict.LEAK, "seen"), (INTO_VPN, Verdict.THROUGH, "it does"))
    served.reply |= {"basis": 77, "for_all": True}
    said = json.loads(stunwall("check", "--json").out)
    assert (said["kept_for"], said["not_kept"]) == ("everyone", "")
    begin, done = served.asked
    assert begin == {"command": "check-begin"}
    assert done == {
        "command": "check-done",
        "basis": 77,
        "verdict": "leak",
        "sealed": 0,
        "tests": 2,
        "interfaces": ["eth0"],
    }
    served.reply["for_all"] = False
    assert "Kept: `stunwall status` shows this result to you" in stunwall("check").out


def test_why_a_result_is_not_kept_is_told(
    monkeypatch: pytest.MonkeyPatch, stunwall: Stunwall, folder: object
) -> None:
    found(monkeypatch, (OUTSIDE, Verdict.SEALED, "sealed"))
    result = stunwall("check")
    assert result.code == 0
    assert "Not kept for `stunwall status`: stunwalld is not running" in result.out


def test_what_is_inconclusive_is_tried_again_for_as_long_as_wanted(
    monkeypatch: pytest.MonkeyPatch, stunwall: Stunwall
) -> None:
    monkeypatch.setattr(check, "_REST", 0.0)
    found(monkeypatch, (OUTSIDE, Verdict.INCONCLUSIVE, "mute"), (INTO_VPN, Verdict.THROUGH, "it does"))
    unsure = run.examine
    tries = 0

    def examine(*arguments: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 3:
            found(monkeypatch, (OUTSIDE, Verdict.SEALED, "sealed"), (INTO_VPN, Verdict.THROUGH, "it does"))
            return run.examine(*arguments)
        return unsure(*arguments)

    monkeypatch.setattr(run, "examine", examine)
    assert stunwall("check", "--wait", "1m").code == 0
    assert tries == 3


def test_where_no_vpn_comes_up_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, stunwall: Stunwall) -> None:
    monkeypatch.setattr(check, "_LOOK", 0.01)
    found(monkeypatch, (OUTSIDE, Verdict.SEALED, "sealed"))
    result = stunwall("check", "--wait", "1s")
    assert (result.code, result.out) == (5, "")
    assert "no VPN came up within 1 second: nothing was sent" in result.err


def test_the_daemon_is_asked_to_switch_checks_on_and_off(stunwall: Stunwall, served: Daemon) -> None:
    for word, on in (("on", True), ("off", False)):
        served.reply["check_every_vpn_up"] = on
        assert stunwall("check", "--every-vpn-up", word).code == 0
        assert served.asked[-1]["on"] is on
    assert stunwall("check", "--every-vpn-up", "maybe").code == 2

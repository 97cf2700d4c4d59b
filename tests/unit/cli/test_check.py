"""cli/check.py: what is printed of what was found."""

import json
import re
from dataclasses import replace

import pytest

from stunwall.check import run
from stunwall.check.verdict import Result, Verdict
from stunwall.check.ways import Kind, Way
from stunwall.model import Transport
from stunwall.vpn.cause import Cause
from unit.check.test_run import way
from unit.cli.command import HOSTILE, Stunwall

OUTSIDE, INTO_VPN = way(5), way(6, Cause.VPN)


def found(monkeypatch: pytest.MonkeyPatch, *verdicts: tuple[Way, Verdict, str]) -> None:
    """Lets the check find this, the same over both protocols."""
    ways = [each for each, _, _ in verdicts]
    results = [
        Result(each, transport, verdict, why) for each, verdict, why in verdicts for transport in Transport
    ]
    monkeypatch.setattr(run, "forecast", lambda named: (ways, frozenset()))
    monkeypatch.setattr(run, "examine", lambda *arguments: results)


@pytest.mark.parametrize(
    ("verdict", "code", "beginning"),
    [
        (
            Verdict.SEALED,
            0,
            "SEALED: no STUN left outside the VPN (2 of 2 tests outside it sealed); STUN gets through the VPN",
        ),
        (Verdict.LEAK, 1, "LEAK: STUN left this machine outside the VPN (0 of 2 tests outside it sealed)"),
        (Verdict.INCONCLUSIVE, 5, "INCONCLUSIVE: not every way could be shown to be sealed (0 of 2"),
    ],
)
def test_the_verdict_comes_first_and_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, stunwall: Stunwall, verdict: Verdict, code: int, beginning: str
) -> None:
    found(monkeypatch, (OUTSIDE, verdict, "because"), (INTO_VPN, Verdict.THROUGH, "it does"))
    result = stunwall("check")
    assert result.code == code
    assert result.out.startswith(beginning)
    assert ("Next: " in result.out) is (verdict is not Verdict.SEALED)
    said = json.loads(stunwall("check", "--json").out)
    assert said["verdict"] == verdict.value
    assert [each["verdict"] for each in said["ways"][0]["shown"]] == [verdict.value] * 2


def test_what_is_not_as_it_should_be_is_explained_once(
    monkeypatch: pytest.MonkeyPatch, stunwall: Stunwall
) -> None:
    found(
        monkeypatch, (OUTSIDE, Verdict.LEAK, "192.0.2.1 has seen it"), (INTO_VPN, Verdict.BLOCKED, "no STUN")
    )
    out = stunwall("check").out
    assert "IPv4, bound to 192.0.2.5, UDP; IPv4, bound to 192.0.2.5, TCP:\n  192.0.2.1 has seen it" in out
    assert "STUN gets through" not in out


def test_the_forecast_names_the_way_and_exits_0(monkeypatch: pytest.MonkeyPatch, stunwall: Stunwall) -> None:
    found(monkeypatch, (OUTSIDE, Verdict.LEAK, ""))
    result = stunwall("check", "--forecast")
    assert result.code == 0
    assert "eth0" in result.out
    assert Cause.SOURCE_BOUND.sentence in result.out


def test_nothing_reaches_the_terminal_raw_and_addresses_can_be_hidden(
    monkeypatch: pytest.MonkeyPatch, stunwall: Stunwall
) -> None:
    hostile = replace(
        OUTSIDE, kind=Kind.DEVICE, device=HOSTILE, interfaces=(HOSTILE,)
    )  # a kernel allows such names
    found(monkeypatch, (hostile, Verdict.LEAK, HOSTILE), (OUTSIDE, Verdict.LEAK, "192.0.2.1 has seen it"))
    assert "\x1b" not in stunwall("check").out
    assert "\x1b" not in stunwall("check", "--forecast").out
    hidden = stunwall("check", "--redact").out
    assert not re.search(r"\b192\.0\.2\.[15]\b", hidden)

"""cli/rules.py: the rules loaded in the kernel."""

import json
import re
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from stunwall import hints
from stunwall.cli import rules
from stunwall.wall import ruleset, state
from stunwall.wall.nft import NftPermissionError
from unit.cli.command import Result, Stunwall
from unit.fake_machine import answers, wall


@pytest.mark.parametrize(
    ("intact", "first"),
    [
        (True, "The wall is up and intact."),
        (False, f"The wall is damaged: {hints.DAMAGED}. Restore it with {hints.RESTART}."),
    ],
)
def test_the_first_line_says_whether_the_wall_is_intact(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch, intact: bool, first: str
) -> None:
    monkeypatch.setattr(state, "read", lambda: wall(intact=intact))
    result = stunwall("rules")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{first}\n")
    assert json.loads(stunwall("rules", "--json").out)["whole"] is intact


def test_only_chains_and_sets_of_the_wall_are_asked_for() -> None:
    chains = re.findall(r"^    chain (\w+) \{", ruleset.text(), re.M)
    sets = re.findall(r"^    set (\w+) \{", ruleset.text(), re.M)
    assert set(chain.from_iterable(rules._CHAINS.values())) <= set(chains)
    assert rules._SETS.keys() <= set(sets)


def test_every_counter_of_these_chains_is_printed_once(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = wall()
    counting = tuple(replace(rule, packets=10_000 + n, bytes=0) for n, rule in enumerate(loaded.rules))
    monkeypatch.setattr(state, "read", lambda: replace(loaded, rules=counting))
    out = stunwall("rules").out
    shown = set(chain.from_iterable(rules._CHAINS.values()))
    counts = [out.count(f" {rule.packets:,} ") for rule in counting if rule.chain in shown]
    assert counts == [1] * len(counts)
    assert len(counts) > 20


def test_the_sets_are_printed_and_those_without_elements_are_left_out(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets: dict[str, tuple[str | int, ...]] = {"vpn": (), "guard_ports": (3478, 5349), "lan4": ()}
    monkeypatch.setattr(state, "read", lambda: replace(wall(), sets=sets))
    out = stunwall("rules").out
    assert "\nVPN interfaces: none\n" in out
    assert "\nPorts where TLS counts as TURN: 3478, 5349\n" in out
    assert "Directly connected private networks" not in out


def test_with_nft_the_table_is_printed_as_nft_lists_it(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "read", wall)
    monkeypatch.setattr(state, "listing", lambda: "table inet stunwall {\n}\n")
    assert stunwall("rules", "--nft") == Result(0, "table inet stunwall {\n}\n", "")


@pytest.mark.parametrize(
    ("loaded", "code", "error"),
    [
        (None, 1, f"the wall is not loaded: start stunwalld with {hints.START}"),
        (NftPermissionError("only root may read the rules"), 4, "only root may read the rules"),
    ],
    ids=["no wall", "not permitted"],
)
def test_rules_that_cannot_be_read_are_a_one_line_error(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch, loaded: Any, code: int, error: str
) -> None:
    monkeypatch.setattr(state, "read", answers(lambda: loaded))
    assert stunwall("rules") == Result(code, "", f"stunwall: {error}\n")

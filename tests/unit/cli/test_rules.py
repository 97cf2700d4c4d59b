"""cli/rules.py: the rules loaded in the kernel."""

import json
import re
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from stunwall import hints
from stunwall.cli import rules
from stunwall.wall import inspection, ruleset
from stunwall.wall.contents import Addition
from stunwall.wall.nft import Nft, NftPermissionError
from stunwall.wall.state import Rule
from unit.cli.command import Result, Stunwall
from unit.fake_machine import answers, inspected, wall

CHANGED = ("chain decide (has: accept)",)


@pytest.mark.parametrize(
    ("differences", "first"),
    [
        ((), "The wall is up and intact."),
        (CHANGED, f"The wall is damaged: {hints.changed(CHANGED)}. Restore it with {hints.RESTART}."),
    ],
    ids=["intact", "damaged"],
)
def test_the_first_line_says_whether_the_wall_is_intact(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch, differences: tuple[str, ...], first: str
) -> None:
    monkeypatch.setattr(inspection, "inspect", lambda settings: inspected(wall(), *differences))
    result = stunwall("rules")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{first}\n")
    values = json.loads(stunwall("rules", "--json").out)
    assert (values["whole"], values["differences"]) == (not differences, list(differences))


def test_a_daemon_that_runs_knows_best_what_belongs_there(
    stunwall: Stunwall, daemon: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon |= {"wall": "damaged", "differences": list(CHANGED)}
    monkeypatch.setattr(inspection, "inspect", lambda settings: inspected(wall(), complete=False))
    assert json.loads(stunwall("rules", "--json").out)["differences"] == list(CHANGED)


def test_only_chains_and_sets_of_the_wall_are_asked_for() -> None:
    text = ruleset.text(frozenset(Addition))
    chains = re.findall(r"^    chain (\w+) \{", text, re.M)
    sets = re.findall(r"^    set (\w+) \{", text, re.M)
    assert set(chain.from_iterable(rules._CHAINS.values())) <= set(chains)
    assert rules._SETS.keys() <= set(sets)


def test_every_counter_of_these_chains_is_printed_once(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = wall()
    counting = tuple(replace(rule, packets=10_000 + n, bytes=0) for n, rule in enumerate(loaded.rules))
    monkeypatch.setattr(inspection, "inspect", lambda settings: inspected(replace(loaded, rules=counting)))
    out = stunwall("rules").out
    shown = set(chain.from_iterable(rules._CHAINS.values()))
    counts = [out.count(f" {rule.packets:,} ") for rule in counting if rule.chain in shown]
    assert counts == [1] * len(counts)
    assert len(counts) > 20


def test_the_sets_are_printed_and_those_without_elements_are_left_out(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets: dict[str, tuple[str | int, ...]] = {"vpn": (), "guard_ports": (3478, 5349), "lan4": ()}
    monkeypatch.setattr(inspection, "inspect", lambda settings: inspected(replace(wall(), sets=sets)))
    out = stunwall("rules").out
    assert "\nVPN interfaces: none\n" in out
    assert "\nPorts where TLS counts as TURN: 3478, 5349\n" in out
    assert "Directly connected private networks" not in out


def test_the_second_locks_counters_are_printed_too(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = replace(
        wall(), rules=(Rule("decide", "dropped: not passed", 4321, 5), Rule("out", "other", None, None))
    )
    found = replace(inspected(wall()), second_lock=second)
    monkeypatch.setattr(inspection, "inspect", lambda settings: found)
    out = stunwall("rules").out.partition("\nThe second lock\n")[2]
    assert re.search(r"^ +4,321 +5  dropped: not passed$", out, re.M)
    assert "other" not in out
    assert json.loads(stunwall("rules", "--json").out)["second_lock"][0]["packets"] == 4321
    monkeypatch.setattr(inspection, "inspect", lambda settings: inspected(wall()))
    assert stunwall("rules").out.endswith("\nThe second lock is not loaded.\n")
    assert json.loads(stunwall("rules", "--json").out)["second_lock"] is None


def test_with_nft_the_table_is_printed_as_nft_lists_it(
    stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "inspect", lambda settings: inspected(wall()))
    monkeypatch.setattr(Nft, "list_table", lambda self, table: f"table {table} {{\n}}\n")
    assert stunwall("rules", "--nft") == Result(
        0, "table inet stunwall {\n}\ntable netdev stunwall {\n}\n", ""
    )


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
    monkeypatch.setattr(inspection, "inspect", answers(lambda: loaded))
    assert stunwall("rules") == Result(code, "", f"stunwall: {error}\n")

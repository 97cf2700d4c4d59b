"""state.py and ruleset.py: what counts as damage."""

import re
from dataclasses import replace

import pytest

from stunwall.wall import contents, queue_rules, ruleset, table
from stunwall.wall.state import Rule, Wall
from unit.wall_kernel import (
    EMPTY,
    FULL,
    MASK,
    QUEUE,
    loaded,
    run_nft,
)

pytestmark = pytest.mark.usefixtures("clear")


CHAINS = sorted({chain for chain, _ in ruleset.expected(ruleset.file().read_text())})


@pytest.mark.parametrize("chain", CHAINS)
def test_a_flushed_chain_is_damage(chain: str) -> None:
    table.load(FULL, MASK)
    run_nft("flush", "chain", *contents.TABLE.split(), chain)
    assert not loaded().intact


def handles(chain: str) -> list[str]:
    return re.findall(
        r"# handle (\d+)$", run_nft("-a", "list", "chain", *contents.TABLE.split(), chain), re.M
    )[1:]


def test_every_single_rule_that_is_gone_is_damage() -> None:
    for chain in CHAINS:
        table.load(EMPTY, MASK)
        for place in range(len(handles(chain))):
            run_nft("delete", "rule", *contents.TABLE.split(), chain, "handle", handles(chain)[place])
            assert not loaded().intact, (chain, place)
            table.load(EMPTY, MASK)
            assert loaded().intact


@pytest.mark.parametrize("verb", ["insert", "add"])
@pytest.mark.parametrize("chain", ["postrouting", "decide", "hand_over", "may_leave", "output"])
def test_a_rule_of_somebody_elses_in_a_chain_of_the_file_is_damage(verb: str, chain: str) -> None:
    table.load(FULL, MASK)
    run_nft(verb, "rule", *contents.TABLE.split(), chain, "accept")
    assert not loaded().intact


def test_an_open_door_and_exceptions_are_no_damage() -> None:
    table.load(FULL, MASK)
    queue_rules.attach(QUEUE)
    assert loaded().intact
    table.fill(replace(FULL, allow=()), MASK, FULL)
    assert loaded().intact


def test_what_is_expected_is_each_rule_of_the_text_by_chain() -> None:
    text = """
    table x {
        chain a {
            type filter hook output priority 0;
            # accept comment "a remark"
            accept comment "one"
            tcp dport { 1,
            2 } drop comment "two"
        }
        chain b {
            drop comment "three"
        }
    }
    """
    assert ruleset.expected(text) == [("a", "one"), ("a", "two"), ("b", "three")]


def test_a_wall_with_nothing_in_it_is_not_whole() -> None:
    assert not Wall((), {}, {}, None).intact
    assert not Wall((Rule("postrouting", "", None, None),), {}, {}, None).intact

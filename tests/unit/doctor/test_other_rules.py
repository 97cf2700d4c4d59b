"""doctor/other_rules.py: which marks and queues other programs' rules use."""

from typing import Any

import pytest

from stunwall.doctor.other_rules import (
    Claim,
    hidden_marks,
    hidden_queues,
    mark_claims,
    queue_claims,
    routing_claims,
)
from vectors.rulesets import RULESETS

MASK = 0x90000000


def rule(text: str, table: str = "inet other") -> str:
    return f"table {table} {{\nchain c {{\ntype filter hook output priority 0\n{text}\n}}\n}}\n"


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("meta mark set 0x10000000", [0x10000000]),
        ("meta mark set meta mark | 0x80000000", [0x80000000]),
        ("ct mark set 0xffffffff", [0xFFFFFFFF]),
        ("meta mark set meta mark ^ 0x10000000", [0x10000000]),
        ("meta mark set tcp dport map { 80 : 0x10000000, 443 : 0x1 }", [0x10000000]),
        ("meta mark 0x70000000-0x90000000 accept", [0xFFFFFFFF]),
        ("meta mark 0x1-0x7fff accept", []),
        ("meta mark 0x6d6f6c65 accept", []),
        ("meta mark & 0x10000000 == 0x10000000 accept", [0x10000000]),
        ("ct mark & 0xf0000000 == 0x30000000 accept", [0xF0000000]),
        ("ct mark & 0xf0000000 != 0 accept", [0xF0000000]),
        ("meta mark { 0x1, 0x80000001 } accept", [0x80000001]),
        ("meta mark set 0xca6c", []),
        ("meta mark set meta mark & 0x00ffffff", []),
        ("meta mark & 0x0000ff00 == 0x4000 accept", []),
        ("tcp dport 443 accept", []),
        ("meta mark set ct mark", []),
    ],
)
def test_rules_that_set_or_match_our_mark_bits_are_claims(ruleset: Any, text: str, bits: list[int]) -> None:
    found = mark_claims(ruleset(rule(text)), MASK)
    assert found == [Claim("table inet other, chain c", value) for value in bits]


def test_our_own_rules_are_no_claims(ruleset: Any) -> None:
    own = ruleset(rule("meta mark set 0x10000000", "inet stunwall"))
    assert mark_claims(own, MASK) == []


@pytest.mark.parametrize(
    ("given", "claimed"),
    [
        ({"priority": 1, "fwmark": "0x10000000", "fwmask": "0x10000000", "table": "7"}, True),
        ({"priority": 1, "fwmark": "0x90000001", "table": "7"}, True),
        ({"priority": 1, "fwmark": "0xca6c", "table": "51820"}, False),
        ({"priority": 1, "fwmark": "0x80000", "fwmask": "0xff0000", "table": "52"}, False),
        ({"priority": 50, "fwmark": "0x10000000", "fwmask": "0x90000000", "table": "4780"}, False),
        ({"priority": 1, "table": "main"}, False),
    ],
)
def test_routing_rules_that_match_our_mark_bits_are_claims(given: dict[str, Any], claimed: bool) -> None:
    assert bool(routing_claims([given], MASK, 4780)) == claimed


QUEUED: Any = [
    {
        "rule": {
            "family": "inet",
            "table": "opensnitch",
            "chain": "c",
            "expr": [{"queue": {"num": 0, "flags": "bypass"}}],
        }
    },
    {
        "rule": {
            "family": "ip",
            "table": "x",
            "chain": "c",
            "expr": [{"queue": {"num": {"range": [4779, 4781]}}}],
        }
    },
    {"rule": {"family": "ip", "table": "x", "chain": "d", "expr": [{"queue": None}]}},
    {"rule": {"family": "inet", "table": "stunwall", "chain": "c", "expr": [{"queue": {"num": 4780}}]}},
]


def test_a_range_of_queues_is_a_claim_on_each_of_them() -> None:
    # As nft 1.0.6 prints them: the kernel of the test machine may lack `queue`.
    assert [claim.value for claim in queue_claims(QUEUED)] == [0, 4779, 4780, 4781]


@pytest.mark.parametrize("name", RULESETS)
def test_rulesets_of_real_programs_claim_none_of_our_mark_bits(name: str) -> None:
    assert mark_claims(RULESETS[name], MASK) == []
    hidden = ["table ip filter, chain INPUT"] if name == "opensnitch" else []
    assert hidden_queues(RULESETS[name]) == hidden


def test_a_rule_without_marks_or_queues_hides_nothing(ruleset: Any) -> None:
    assert hidden_marks(ruleset(rule("accept"))) == hidden_queues(ruleset(rule("accept"))) == []

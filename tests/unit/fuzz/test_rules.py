"""Rules as nft prints them, ours after somebody has been at them, and those of other programs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.doctor import other_rules
from stunwall.wall import listing, table
from stunwall.wall.contents import Contents
from stunwall.wall.listing import Listing
from stunwall.wall.nft import Nft
from unit.damage import damaged
from unit.wall_kernel import MASK, run_nft

_LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=30)
_NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
_BLOCKS = st.dictionaries(
    st.builds(lambda kind, name: f"{kind} {name}", st.sampled_from(["chain", "set", "map"]), _NAMES),
    st.lists(
        _LINE.filter(
            lambda line: line == line.strip() and line != "" and not line.startswith("elements = {")
        ),
        max_size=4,
    ).map(tuple),
    max_size=4,
)


@pytest.fixture(scope="module")
def text(lab: None) -> str:
    """Our table as nft prints it."""
    run_nft("flush", "ruleset")
    nft = Nft()
    table.load(nft, Contents(vpn=frozenset({"wg0"}), guard_ports=frozenset({1, 2}), redirect=True), MASK)
    nft.close()
    printed = run_nft("-a", "list", "table", "inet", "stunwall")
    run_nft("flush", "ruleset")
    return printed


@given(data=st.data())
def test_a_damaged_listing_is_taken_apart_and_its_differences_are_told(
    text: str, data: st.DataObject
) -> None:
    whole = listing.parse(text)
    damage = data.draw(damaged([text.encode()])).decode(errors="replace")
    seen = listing.parse(damage)
    assert listing.differences(seen, seen, {}) == []
    for one, other in ((whole, seen), (seen, whole)):
        for phrase in listing.differences(one, other, {}):
            assert "\n" not in phrase


@given(_BLOCKS)
def test_a_listing_is_read_as_it_was_printed(blocks: dict[str, tuple[str, ...]]) -> None:
    printed = "table inet stunwall {\n"
    for name, lines in blocks.items():
        printed += f"\t{name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n\n"
    assert listing.parse(printed + "}\n") == Listing((), blocks, {})


@given(st.text(max_size=60))
def test_an_element_has_one_form(element: str) -> None:
    once = listing.normal(element)
    assert listing.normal(once) == once


_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 2**33),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.sampled_from(
        [{"meta": {"key": "mark"}}, {"set": [1]}, {"range": [1, 2]}, {"prefix": {"len": 64}}, {"&": []}]
    ),
)


@st.composite
def _changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one part of it replaced."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        return value | {key: draw(_changed(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(_changed(value[at])), *value[at + 1 :]]
    return draw(_VALUES)


_EXPRESSIONS = [
    {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"|": [{"meta": {"key": "mark"}}, 0x10000000]}}},
    {"mangle": {"key": {"ct": {"key": "mark"}}, "value": {"map": {"key": 1, "data": {"set": [[1, 2]]}}}}},
    {"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 0x90000000]}, "right": 1}},
    {"match": {"op": "==", "left": {"ct": {"key": "mark"}}, "right": {"range": [1, 2]}}},
    {
        "match": {
            "op": "==",
            "left": {"meta": {"key": "mark"}},
            "right": {"set": [1, {"prefix": {"addr": 1, "len": 4}}]},
        }
    },
    {"queue": {"num": {"range": [1, 3]}}},
    {"xt": {"type": "target", "name": "NFQUEUE"}},
]


@given(st.sampled_from(_EXPRESSIONS).flatmap(_changed), st.integers(1, 2**32 - 1))
def test_expressions_of_any_shape_are_read(expression: Any, mask: int) -> None:
    """nft's JSON has other shapes in other versions."""
    rules = [{"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [expression]}}]
    found = [*other_rules.mark_claims(rules, mask), *other_rules.queue_claims(rules)]
    assert all(claim.where == "table ip t, chain c" for claim in found)
    assert all(claim.value & mask for claim in other_rules.mark_claims(rules, mask))
    for place in (*other_rules.hidden_marks(rules), *other_rules.hidden_queues(rules)):
        assert place == "table ip t, chain c"

"""listing.py: listings are taken apart, and every difference between two is told."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.wall import listing, ruleset, table
from stunwall.wall.contents import Addition
from stunwall.wall.listing import Listing
from stunwall.wall.nft import Nft
from unit.wall_kernel import FULL, MASK, run_nft

TABLE = "inet stunwall"
CHAINS = sorted({chain for chain, _ in ruleset.expected(ruleset.text(frozenset(Addition)))})
SETS = re.findall(r"^    (?:set|map) (\w+) \{", ruleset.text(frozenset(Addition)), re.M)


@given(st.text(alphabet='\t\n {}",=#abc'))
def test_any_text_is_taken_apart(text: str) -> None:
    listing.parse(text)


@pytest.mark.parametrize(
    ("element", "normal"),
    [
        ('"wg0"', "wg0"),
        ("3478", "3478"),
        ("10.0.0.1 . 51820", "10.0.0.1/32 . 51820"),
        ('192.168.1.0/24 . "eth0"', "192.168.1.0/24 . eth0"),
        ('"wg0" : 10.0.0.1', "wg0 : 10.0.0.1/32"),
        ("2001:DB8::0001 . 1", "2001:db8::1/128 . 1"),
        ("10.0.0.1 counter packets 5 bytes 6 timeout 5m expires 4m59s", "10.0.0.1/32 counter"),
        ('"a.b:c@d_e"', "a.b:c@d_e"),
    ],
)
def test_elements_are_compared_without_times_and_in_one_form(element: str, normal: str) -> None:
    assert listing.normal(element) == normal


def test_counts_and_handles_are_no_difference_but_a_rule_that_cannot_be_printed_has_only_its_handle() -> None:
    before = Listing(blocks={"chain c": ("counter packets 1 bytes 2 accept # handle 3", "# handle 4")})
    same = Listing(blocks={"chain c": ("counter packets 5 bytes 6 accept # handle 9", "# handle 4")})
    other = Listing(blocks={"chain c": ("counter packets 1 bytes 2 accept # handle 3", "# handle 5")})
    assert listing.differences(before, same, {}) == []
    assert listing.differences(before, other, {}) == ["chain c (has: # handle 5)"]


def test_elements_that_packets_put_into_a_set_do_not_matter() -> None:
    block = {"set s": ("type ipv4_addr", "flags dynamic,timeout")}
    assert (
        listing.differences(Listing(blocks=block), Listing(blocks=block, elements={"s": ("1.2.3.4",)}), {})
        == []
    )


def test_a_long_rule_and_many_elements_are_shortened() -> None:
    before = Listing(blocks={"chain c": (), "set s": ()})
    now = Listing(blocks={"chain c": ("x" * 100,), "set s": ()}, elements={"s": ("1", "2", "3")})
    assert listing.differences(before, now, {}) == [
        f"chain c (has: {'x' * 60}…)",
        "set s (has: 1 and 2 more)",
    ]


@pytest.fixture
def before(clear: None, nft: Nft) -> Listing:
    table.load(nft, FULL, MASK)
    return read(nft)


def read(nft: Nft) -> Listing:
    text = nft.list_table(TABLE, handles=True)
    assert text is not None
    return listing.parse(text)


def test_a_table_is_as_it_was(before: Listing, nft: Nft) -> None:
    assert {name.split()[0] for name in before.blocks} == {"chain", "set", "map", "counter"}
    assert listing.differences(before, read(nft), {}) == []
    table.load(nft, FULL, MASK)
    assert listing.differences(before, read(nft), {}) == []


@pytest.mark.parametrize("chain", CHAINS)
def test_every_rule_that_is_gone_and_every_added_one_is_told(before: Listing, nft: Nft, chain: str) -> None:
    handles = [
        int(line.rsplit(" ", 1)[1])
        for line in before.blocks[f"chain {chain}"]
        if not line.startswith("type ")
    ]
    for place, handle in enumerate(handles):
        table.load(nft, FULL, MASK)
        moved = int(read(nft).blocks[f"chain {chain}"][-len(handles) :][place].rsplit(" ", 1)[1])
        run_nft("delete", "rule", *TABLE.split(), chain, "handle", str(moved))
        (told,) = listing.differences(before, read(nft), {})
        assert told.startswith(f"chain {chain} "), handle
    for verb in ("insert", "add"):
        table.load(nft, FULL, MASK)
        run_nft(verb, "rule", *TABLE.split(), chain, "accept")
        assert listing.differences(before, read(nft), {}) == [f"chain {chain} (has: accept)"]


@pytest.mark.parametrize("name", [name for name in SETS if name != "paused"])
def test_elements_that_are_gone_are_told(before: Listing, nft: Nft, name: str) -> None:
    run_nft("flush", "map" if name.startswith("vpn_address") else "set", *TABLE.split(), name)
    told = listing.differences(before, read(nft), {})
    assert [each.split()[1] for each in told] == ([name] if before.elements.get(name) else [])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("add table inet stunwall { flags dormant; }", "the table (flags dormant)"),
        (
            "add chain inet stunwall ask_output { policy drop; }",
            "chain ask_output (has: type filter hook output",
        ),
        ("add chain inet stunwall more", "chain more (added)"),
        ("add set inet stunwall more { type mark; }", "set more (added)"),
        ("add counter inet stunwall more", "counter more (added)"),
        ("delete chain inet stunwall mark_replies", "chain mark_replies (removed)"),
        (
            "delete chain inet stunwall mark_replies\n"
            "add chain inet stunwall mark_replies { type filter hook prerouting priority 5; }",
            "chain mark_replies (has: type filter hook prerouting priority",
        ),
        (
            'add element inet stunwall vpn_address4 { "eth0" : 10.0.0.9 }',
            "map vpn_address4 (has: eth0 : 10.0.0.9/32)",
        ),
        ('delete element inet stunwall vpn { "wg0" }', "set vpn (lacks: wg0)"),
    ],
)
def test_what_is_not_a_rule_is_told_too(before: Listing, nft: Nft, change: str, told: str) -> None:
    run_nft("-f", "-", text=change)
    (found,) = listing.differences(before, read(nft), {})
    assert found.startswith(told)

"""egress.py: the second lock as nft statements."""

import re

import pytest

from stunwall.config import Config, mark_bits
from stunwall.wall import egress, ruleset
from stunwall.wall.egress import BaseChain, Egress

MASK = Config().mark_mask
PORTS = frozenset({3478})
ETH0 = BaseChain("eth0", ("goto out",))
LISTING = """table netdev other {
\tchain egress_9 {
\t\ttype filter hook egress device "eth9" priority 0; policy accept;
\t}
}
table netdev stunwall { # progname python
\tchain out {
\t}
\tchain egress_2 {
\t\ttype filter hook egress device "eth0" priority 1000; policy accept;
\t}
\tchain vpn_7 {
\t\ttype filter hook egress device "wg0" priority 1000; policy accept;
\t}
}
"""


def wanted(**changed: object) -> Egress:
    values: dict[str, object] = {"out": {2: "eth0"}, "vpn": {7: "wg0"}, "guard_ports": PORTS}
    return Egress(**(values | changed))  # type: ignore[arg-type]


def test_the_chains_that_find_stun_are_those_of_the_first_lock() -> None:
    chains, sets = egress.classify(ruleset.text())
    names = re.findall(r"^    chain (\w+) \{", chains, re.M)
    assert "classify" in names
    assert len(names) > 5
    assert not {"decide", "classify_output"} & set(names)
    assert {*re.findall(r"^    set (\w+) \{", sets, re.M)} >= {"guard_ports", "classic_lengths"}


def test_a_chain_that_is_not_in_the_file_is_an_error() -> None:
    with pytest.raises(ValueError, match="no chain classify"):
        egress.classify("")


def test_the_table_has_the_flags_the_marks_and_what_is_kept() -> None:
    kept = {"redirected4": ("40000 . 203.0.113.7 . 3478 expires 59m",), "redirected6": ()}
    text = egress.table(ruleset.second_lock(), ruleset.text(), 0x30000, "owner", kept)
    redirected, passed = (f"{bit:#010x}" for bit in mark_bits(0x30000))
    assert text.startswith("#")
    assert "table netdev stunwall {\n    flags owner;\n" in text
    assert f"meta mark & {passed} == {passed} counter accept" in text
    assert f"meta mark & {redirected} != {redirected} return" in text
    assert "$" not in text
    assert "define" not in text
    assert "add element netdev stunwall redirected4 { 40000 . 203.0.113.7 . 3478 expires 59m }\n" in text
    assert "redirected6 { " not in text.partition("add element")[2]


def test_every_way_out_has_a_chain_and_the_vpn_only_to_redirect() -> None:
    assert wanted().chains == {"egress_2": ETH0}
    assert wanted(redirect=True).chains == {
        "egress_2": BaseChain("eth0", ("goto redirected",)),
        "vpn_7": BaseChain("wg0", ("jump remember",)),
    }


def test_what_a_way_out_carries_passes_its_stun_on() -> None:
    carried = {7: "wg0", 8: "lan0.7"}
    assert wanted(carried=carried).chains == {
        "egress_2": ETH0,
        "vpn_7": BaseChain("wg0", ("goto pass",)),
        "inside_8": BaseChain("lan0.7", ("goto pass",)),
    }
    assert wanted(carried=carried, redirect=True).chains["vpn_7"].rules == ("jump remember", "goto pass")


@pytest.mark.parametrize("name", ['a"b', "a*"])
def test_a_name_that_nft_cannot_be_told_is_left_out(name: str) -> None:
    made = wanted(out={2: "eth0", 3: name})
    assert made.chains == {"egress_2": ETH0}
    assert made.unnameable == [name]


def test_a_name_that_is_not_utf8_is_known_again_as_nft_prints_it() -> None:
    strange = wanted(out={2: "a\udcffb"}, vpn={})
    assert egress.changes(strange, {"egress_2": "a\ufffdb"}, strange) == []


def test_chains_of_other_tables_are_not_ours() -> None:
    assert egress.is_in(LISTING)
    assert egress.base_chains(LISTING) == {"egress_2": "eth0", "vpn_7": "wg0"}
    assert not egress.is_in("table netdev stunwall2 {\n}\n")
    assert egress.base_chains("") == {}


def test_only_what_is_not_there_is_changed() -> None:
    before = wanted()
    assert egress.changes(before, {"egress_2": "eth0"}, before) == []
    (added,) = egress.changes(before, {}, before)
    assert added == egress.add_chain("egress_2", ETH0)
    assert added.endswith("egress_2 goto out\n")
    (removed,) = egress.changes(wanted(out={}), {"egress_2": "eth0"}, before)
    assert removed == egress.remove_chain("egress_2")


def test_a_link_with_another_name_gets_a_new_chain_whatever_the_kernel_prints() -> None:
    renamed = wanted(out={2: "lan0"})
    for there in ({"egress_2": "eth0"}, {"egress_2": "lan0"}):
        assert egress.changes(renamed, there, wanted()) == [
            egress.add_chain("egress_2", BaseChain("lan0", ("goto out",)))
        ]


def test_another_mode_makes_all_chains_anew() -> None:
    texts = egress.changes(wanted(redirect=True), {"egress_2": "eth0"}, wanted())
    assert [text.split()[-1] for text in texts] == ["redirected", "remember"]
    texts = egress.changes(wanted(), {"egress_2": "eth0", "vpn_7": "wg0"}, wanted(redirect=True))
    assert texts[0] == egress.remove_chain("vpn_7")
    assert texts[1].endswith("goto out\n")


def test_ports_and_bridged_machines_are_filled_in_when_they_change() -> None:
    before = wanted(bridged=frozenset({"52:54:00:12:34:56"}))
    assert egress.fill(before, before) == ""
    text = egress.fill(before, None)
    assert "add element netdev stunwall guard_ports { 3478 }" in text
    assert 'bridged @ll,48,48 0x525400123456 counter accept comment "bridged 52:54:00:12:34:56"' in text
    assert egress.fill(wanted(), before) == "flush chain netdev stunwall bridged\n"
    assert egress.fill(wanted(guard_ports=frozenset()), wanted()) == "flush set netdev stunwall guard_ports\n"


def test_every_rule_of_the_file_has_a_comment_of_its_own() -> None:
    text = ruleset.second_lock()
    comments = [comment for _, comment in ruleset.expected(text)]
    assert len(comments) == len(set(comments))
    for chain in re.findall(r"^    chain \w+ \{\n(.*?)^    \}\n", text, re.M | re.S):
        written = [line for line in chain.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert all(re.search(r' comment "[^"]+"$', line) for line in written)


def test_every_change_of_a_mark_keeps_other_programs_bits() -> None:
    text = re.sub(r'"[^"]*"|#.*', "", ruleset.second_lock())
    changes = re.findall(r"meta mark set (.*?)(?: accept)? comment", text, re.M)
    assert len(changes) == text.count("mark set")
    assert set(changes) == {
        "meta mark & $unredirected",
        "meta mark | $passed",
        "meta mark | $both",
        "meta mark & $others",
    }

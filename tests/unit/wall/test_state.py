"""state.py: what is read from the listing of the table."""

import pytest

from stunwall.wall import listing, queue_rules, ruleset, state, table
from stunwall.wall.nft import Nft
from stunwall.wall.state import Rule
from unit.wall_kernel import EMPTY, MASK, loaded

TEXT = """table inet stunwall {
\tflags dormant

\tcounter into_vpn {
\t\tpackets 3 bytes 400
\t}

\tset vpn { # handle 4
\t\ttype ifname
\t\telements = { "wg0",
\t\t\t     "a,b }" }
\t}

\tset paused {
\t\ttypeof meta time
\t\tflags interval,timeout
\t\telements = { "2026-11-25 13:06:34"-"2026-11-25 13:07:35" timeout 1h30m expires 1h29m59s500ms }
\t}

\tchain decide { # handle 7
\t\ttype filter hook postrouting priority srcnat - 10; policy accept;
\t\toifname @vpn counter name "into_vpn" accept comment "into the VPN" # handle 12
\t\tlimit rate over 500/second burst 500 packets counter packets 7 bytes 8 drop # handle 13
\t}

\tchain to_stunwalld {
\t\tcounter packets 1 bytes 2 comment "to stunwalld on queue 4780" # handle 14
\t\t{} # handle 15
\t}
}
"""


@pytest.mark.parametrize("rule", ["queue to 4780", "queue num 4780", 'xt target "NFQUEUE"', ""])
def test_the_listing_is_read_whatever_nft_prints_for_the_queue_rule(rule: str) -> None:
    wall = state.wall(listing.parse(TEXT.replace("{} #", f"{rule} #")))
    assert wall.rules[:3] == (
        Rule("decide", "into the VPN", 3, 400),
        Rule("decide", "", 7, 8),
        Rule("to_stunwalld", "to stunwalld on queue 4780", 1, 2),
    )
    assert wall.sets["vpn"] == ("wg0", "a,b }")
    assert wall.counters == {"into_vpn": 3}
    assert wall.queue == 4780
    assert wall.paused == 5399


def test_without_the_queue_rule_its_counter_alone_is_no_queue() -> None:
    text = TEXT.replace("\t\t{} # handle 15\n", "")
    assert state.wall(listing.parse(text)).queue is None


@pytest.mark.parametrize(
    ("element", "seconds"),
    [("1 expires 2d3h4m5s6ms", 183845.006), ("1 timeout 5m expires 59s", 59), ("1", 0), ("1 timeout 5m", 0)],
)
def test_when_an_element_times_out(element: str, seconds: float) -> None:
    assert state.expires(element) == seconds


@pytest.mark.parametrize(
    ("elements", "age"),
    [
        ("0x00000001 timeout 3650d expires 3649d23h59m18s500ms", 41.5),
        ("0x00000001 timeout 3650d expires 3650d", 0),
        ("0x00000001 timeout 3651d expires 3649d", 0),
        ("0x00000001 timeout 3650d", 0),
        ("0x00000002 timeout 3650d expires 3649d", 0),
        ("0x00000001 timeout 3650d expires 3649d, 0x00000002", 0),
    ],
    ids=["ours", "just loaded", "longer", "never expires", "another", "two"],
)
def test_the_age_is_known_only_from_the_element_of_the_file(elements: str, age: float) -> None:
    text = f"table inet stunwall {{\n\tset loaded {{\n\t\telements = {{ {elements} }}\n\t}}\n}}\n"
    assert state.age(listing.parse(text)) == age


def test_without_the_set_the_age_is_not_known() -> None:
    assert state.age(listing.parse(TEXT)) == 0


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


@pytest.mark.usefixtures("clear")
def test_the_comments_of_the_file_are_those_in_the_kernel(nft: Nft) -> None:
    table.load(nft, EMPTY, MASK)
    queue_rules.attach(nft, 1)
    filled = {*queue_rules.CHAINS}
    rules = [(rule.chain, rule.comment) for rule in loaded().rules if rule.chain not in filled]
    assert sorted(rules) == sorted(ruleset.expected(ruleset.text()))

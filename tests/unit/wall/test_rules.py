"""rules/stunwall.nft as text: that it says what the code says. The kernel reads it in tests/lab."""

import re
from collections import Counter

import pytest

from stunwall import config
from stunwall.model import GUARD_PORTS
from stunwall.stun import message as stun
from stunwall.wall import ruleset
from unit.build import ip4, ip6, packet
from unit.wall import FILE, Wall
from vectors.others import OTHERS
from vectors.programs import SAMPLES, Sample, classic, message

TEXT = FILE.read_text()
BARE = "\n".join(line.partition("#")[0] for line in TEXT.splitlines())  # no string in the file has a #
BASE_CHAINS = {
    "postrouting": "filter hook postrouting priority srcnat - 10",
    "output": "route hook output priority 100",
    "mark_replies": "filter hook prerouting priority mangle",
    "snat_redirected": "nat hook postrouting priority srcnat - 1",
    "untrack_refusals": "filter hook output priority raw",
}
OLD_CHAINS = [
    *("errors", "datagrams", "classic", "segments", "strays", "stun", "door", "listener", "exceptions"),
    *("allowed", "programs", "asking", "bypassing", "redirector", "replies", "readdressing", "refusals"),
]
FILLED = {"to_stunwalld", "output_to_stunwalld", "allow_rules", "allow_programs"}


def chains() -> dict[str, str]:
    """Each chain's body without comments."""
    return dict(re.findall(r"^    chain (\w+) \{\n(.*?)^    \}", BARE, re.M | re.S))


def test_the_agent_loads_this_file() -> None:
    assert ruleset.file() == FILE


def test_the_classic_types_are_those_that_the_daemon_knows() -> None:
    listed = re.search(r"@th,64,16 \{ (0x0001[^}]*) \} goto classify_classic_stun", BARE)
    assert listed
    assert {int(type_, 16) for type_ in listed[1].split(",")} == stun.CLASSIC_TYPES


@pytest.mark.parametrize(("name", "headers"), [("classic_lengths", 8), ("classic_ipv4_lengths", 28)])
def test_the_classic_lengths_go_from_the_bare_header_to_the_longest_in_steps_of_4(
    name: str, headers: int
) -> None:
    (elements,) = re.findall(rf"^add element inet stunwall {name} \{{([^}}]*)\}}", BARE, re.M)
    pairs = [(int(length), int(field)) for length, field in re.findall(r"(\d+) \. (\d+)", elements)]
    assert pairs == [
        (headers + stun.HEADER + size, size) for size in range(0, stun.CLASSIC_MAX - stun.HEADER + 1, 4)
    ]
    assert pairs[-1] == (headers + 548, 528)


def test_the_cookie_is_the_rfcs_wherever_it_is_matched() -> None:
    cookies = re.findall(r",32 (0x2\w+)", BARE)
    assert len(cookies) == 5 + 4  # in messages, and in ICMP errors that quote them
    assert {int(cookie, 16).to_bytes(4, "big") for cookie in cookies} == {stun.MAGIC_COOKIE}


def test_the_guarded_ports_are_the_configurations_default() -> None:
    listed = re.search(r"set guard_ports \{[^}]*elements = \{ ([^}]*) \}", BARE)
    assert listed
    assert tuple(map(int, listed[1].split(", "))) == GUARD_PORTS


def rules(chain: str) -> list[str]:
    """A chain's rules without their comments."""
    lines = (line.strip() for line in chains()[chain].splitlines())
    return [line.rpartition(' comment "')[0] for line in lines if line and "policy" not in line]


def test_the_marks_are_the_configurations_default_and_are_written_in_one_place() -> None:
    defined = {name: int(value, 16) for name, value in re.findall(r"^define (\w+) = (0x\w{8})$", BARE, re.M)}
    mask = config.Config().mark_mask
    redirected, permitted = config.mark_bits(mask)
    assert defined == {
        "redirected": redirected,
        "permitted": permitted,
        "both": mask,
        "others": ~mask & 0xFFFFFFFF,
        "unpermitted": ~permitted & 0xFFFFFFFF,
    }
    bare = re.sub(r'"[^"]*"', "", BARE)
    assert not re.search(r"mark[^\n]*\b0x", bare.partition("add table")[2])


def test_every_change_of_a_mark_keeps_other_programs_bits() -> None:
    changes = re.findall(r"(meta|ct) mark set (\w+ mark [&|] \$\w+)", BARE)
    assert len(changes) == len(re.findall(r"mark set", BARE))
    for kept, value in changes:
        kind, operator, name = re.fullmatch(r"(\w+) mark ([&|]) \$(\w+)", value).groups()  # type: ignore[union-attr]
        assert kind == kept
        assert name in {"|": ("redirected", "both"), "&": ("others", "unpermitted")}[operator]


def test_every_rule_has_a_comment_and_no_two_the_same() -> None:
    rules = ruleset.expected(TEXT)
    assert max(Counter(rules).values()) == 1
    assert max(Counter(comment for _, comment in rules).values()) == 1
    for name, body in chains().items():
        flat = re.sub(r"\{[^}]*\}", "{}", body)
        written = [line for line in flat.splitlines() if line.strip() and "policy" not in line]
        assert all(re.search(r' comment "[^"]+"$', line) for line in written), name
        assert len(written) == sum(chain == name for chain, _ in rules), name


@pytest.mark.parametrize("file", ["rules/stunwall.nft", "agent/stunwall/wall/queue_rules.py"])
def test_no_queue_is_ever_bypassed(file: str) -> None:
    text = (FILE.parents[1] / file).read_text()
    assert not re.search(r"\bbypass\b", re.sub(r"#.*", "", text))
    assert "queue num" not in text


def test_the_queue_rule_is_the_daemons() -> None:
    assert "queue" not in re.sub(r'"[^"]*"', "", BARE)


def test_the_door_ends_in_an_unconditional_drop() -> None:
    rules = [line.strip() for line in chains()["hand_over"].splitlines() if line.strip()]
    assert re.fullmatch(r'counter name \w+ drop comment "[^"]*"', rules[-1])
    assert rules[0].startswith("jump to_stunwalld ")
    assert len(rules) == 2


@pytest.mark.parametrize("chain", sorted(FILLED))
def test_what_the_daemon_fills_is_empty_before(chain: str) -> None:
    assert rules(chain) == []


def test_stun_ends_at_the_door_and_what_passes_before_goes_to_the_vpn_or_from_it_or_is_ours() -> None:
    assert rules("decide") == [
        "meta mark & $both == $both goto decide_output",
        "jump may_leave",
        "oifname @vpn counter name into_vpn accept",
        "rt ipsec exists counter name into_ipsec accept",
        "iifname @vpn ct direction reply counter name from_vpn accept",
        "limit rate over 500/second burst 500 packets counter name over_limit drop",
        "goto hand_over",
    ]


def test_an_exception_is_what_stands_in_a_set_or_in_a_rule_of_the_users() -> None:
    passing = [rule for rule in rules("may_leave") if rule != "jump allow_rules"]
    assert len(passing) == len(rules("may_leave")) - 1
    for rule in passing:
        assert re.search(r"@\w+ .*counter name \w+ accept$", rule), rule
        assert not re.search(r"[^.] [!<>]= ", rule)


def test_a_redirected_flow_that_strays_ends_in_a_drop_whatever_it_is() -> None:
    strays = [rule for rule in rules("postrouting") if "stop_redirected" in rule]
    assert strays == [
        "ct mark & $redirected == $redirected ct direction original oifname != @vpn jump stop_redirected"
    ]
    assert rules("stop_redirected")[-1] == "counter name strayed drop"
    before = rules("postrouting")[: rules("postrouting").index(strays[0])]
    assert [rule for rule in before if "accept" in rule or "goto" in rule] == [
        'oifname "lo" accept',
        "oifname @inside accept",
    ]


def test_a_refusal_leaves_by_the_loopback_or_an_inside_interface_or_not_at_all() -> None:
    assert rules("postrouting")[:4] == [
        # The probe.
        'oifname "lo" meta l4proto udp @th,64,64 0x000100002112a442 meta mark $both jump to_stunwalld',
        'oifname "lo" accept',
        "oifname @inside accept",
        "ct state untracked meta mark $both counter drop",
    ]
    assert rules("untrack_refusals") == ["meta mark $both notrack"]


def test_redirected_flows_keep_their_mark_when_the_vpn_goes() -> None:
    # `masquerade` forgets the flow then (net/netfilter/nf_nat_masquerade.c, masq_device_event).
    assert "masquerade" not in BARE
    assert [rule.partition(" snat ")[0] for rule in rules("snat_redirected")] == [
        "meta mark & $redirected == $redirected"
    ] * 2


def test_both_bits_together_mean_a_question_of_ours_and_no_packet_leaves_with_them() -> None:
    asking = rules("classify_output")
    assert asking[0] == "meta mark set meta mark | $both"
    # The chains that are asked go to `stun` or return here: none ends the packet's way by itself.
    assert asking[1:3] == ["jump classify", "meta mark set meta mark & $others"]
    assert rules("decide_output")[0] == "meta mark set meta mark & $others"
    assert "meta mark & $both != 0 accept" in rules("output")


def test_a_flow_is_permitted_only_while_its_unit_is_asked_for_and_its_stun() -> None:
    clearing = "meta nfproto @by_program ct mark set ct mark & $unpermitted"
    judged = rules("output")
    assert judged.index(clearing) < judged.index("meta nfproto @by_program jump allow_programs")
    assert rules("classify_output")[-1] == clearing


def test_the_output_hook_drops_nothing_and_its_last_word_is_on_to_the_wall() -> None:
    for chain in ("output", "classify_output", "decide_output"):
        assert not any(re.search(r"\bdrop\b|\breject\b", rule) for rule in rules(chain))
    assert rules("decide_output")[-2:] == ["jump output_to_stunwalld", "accept"]
    # What is asked of stunwalld there: no exception, not into the VPN, redirectable, UDP, the first packet.
    guards = [
        "jump may_leave",
        "oifname @vpn accept",
        "rt ipsec exists accept",
        "meta nfproto != @redirectable accept",
        "meta l4proto != udp accept",
        "ct state != new accept",
        "limit rate over 500/second burst 500 packets accept",
    ]
    assert rules("decide_output")[1:-2] == guards


def quoting(version: int, type_: int, payload: bytes) -> bytes:
    """An ICMP packet with the beginning of the packet that it is about (RFC 792, RFC 4443 §3.1)."""
    message = bytes([type_, 3, 0, 0, 0, 0, 0, 0]) + packet("udp", payload, version)
    return ip4(1, message) if version == 4 else ip6(58, message)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.transport == "udp"], ids=lambda s: s.name)
@pytest.mark.parametrize(("version", "type_"), [(4, 3), (6, 1)])
def test_an_icmp_error_that_quotes_our_refusal_or_stun_with_the_cookie_is_dropped(
    wall: Wall, sample: Sample, version: int, type_: int
) -> None:
    offset = 12 if sample.framing == "teams" else 0
    cookie = stun.has_cookie(sample.payload[offset:])
    assert wall.takes(quoting(version, type_, sample.payload)) is cookie
    if refusal := stun.error_response(sample.payload[offset:]):
        assert wall.takes(quoting(version, type_, sample.payload[:offset] + refusal))


def test_icmp_that_quotes_a_refusal_of_every_classic_request_is_dropped_and_no_other_classic_message(
    wall: Wall,
) -> None:
    for type_ in sorted(stun.CLASSIC_TYPES):
        refusal = stun.error_response(classic(type_))
        for version, unreachable in ((4, 3), (6, 1)):
            if refusal is not None:
                assert wall.takes(quoting(version, unreachable, refusal)), hex(type_)
            assert not wall.takes(quoting(version, unreachable, classic(type_)))


@pytest.mark.parametrize(("name", "transport", "port", "payload"), OTHERS, ids=[other[0] for other in OTHERS])
@pytest.mark.parametrize("version", [4, 6])
def test_other_icmp_passes(
    wall: Wall, name: str, transport: str, port: int, payload: bytes, version: int
) -> None:
    for type_ in range(256):
        assert not wall.takes(quoting(version, type_, payload))


def test_icmp_of_other_types_passes_whatever_it_quotes(wall: Wall) -> None:
    for version, unreachable in ((4, 3), (6, 1)):
        for type_ in set(range(256)) - {unreachable}:
            assert not wall.takes(quoting(version, type_, message(0x0001)))


@pytest.mark.parametrize("chain", sorted(set(re.findall(r"chain (classify\w*)", BARE)) - {"classify_output"}))
def test_the_chains_that_find_stun_lead_to_a_decision_or_back_and_count_what_they_find(chain: str) -> None:
    for rule in rules(chain):
        last = re.search(r"( counter)? (goto|jump) (\w+)$|^(goto) (\w+)$| return$", " " + rule)
        assert last, rule
        assert (last[1] is not None) is (last[3] == "decide"), rule
        # Other hooks and family netdev read the same text: no interface, connection or mark.
        assert not re.search(r"\b(oifname|iifname|ct|mark|udp|tcp|nfproto)\b", rule), rule


def test_only_the_base_chains_have_a_hook_and_their_policy_is_accept() -> None:
    hooks = {name: re.search(r"type (.*); policy accept;", body) for name, body in chains().items()}
    assert {name: hook[1] for name, hook in hooks.items() if hook} == BASE_CHAINS
    assert BARE.count("policy accept;") == BARE.count("policy ") == len(BASE_CHAINS)


def test_the_file_touches_its_own_table_only_and_keeps_what_is_in_the_sets() -> None:
    outside = [
        line.split() for line in re.sub(r"^table .*", "", BARE, flags=re.M | re.S).splitlines() if line
    ]
    assert [words[:4] for words in outside if words[0] != "define"] == [
        [verb, "table", "inet", "stunwall"] for verb in ("add", "flush")
    ]
    assert re.findall(r"^table (.*) \{", BARE, re.M) == ["inet stunwall"]
    after = [line.split() for line in BARE[BARE.index("\n}\n") :].splitlines() if line[:1].isalpha()]
    assert {tuple(words[2:4]) for words in after} == {("inet", "stunwall")}
    # Of the sets it flushes only those that it fills itself.
    assert re.findall(r"flush set (.*)", BARE) == [
        "inet stunwall classic_lengths",
        "inet stunwall classic_ipv4_lengths",
    ]
    assert "destroy" not in BARE
    assert set(re.findall(r"\b(delete \w+)", BARE)) == {"delete chain", "delete counter"}


def test_the_chains_and_the_counter_of_version_0_1_0_are_deleted() -> None:
    counters = [re.findall(rf"{verb} counter inet stunwall (\w+)", BARE) for verb in ("add", "delete")]
    assert counters == [["refusals"]] * 2
    assert "counter refusals {}" not in BARE
    added, deleted = (re.findall(rf"{verb} chain inet stunwall (\w+)", BARE) for verb in ("add", "delete"))
    assert added == deleted == OLD_CHAINS
    assert not set(deleted) & chains().keys()

"""The files in rules/ as text: that they say what the code says. The kernel reads them in tests/lab."""

import re
from collections import Counter
from pathlib import Path

import pytest

from stunwall import config
from stunwall.model import GUARD_PORTS
from stunwall.stun import message as stun
from stunwall.stun.detect import detect
from stunwall.wall import queue_rules, ruleset
from stunwall.wall.contents import Addition
from unit.build import ip4, ip6, packet
from unit.wall import FILE, Wall
from vectors.others import OTHERS
from vectors.programs import HEADERS, SAMPLES, Sample, classic, message

FILES = [FILE, *(FILE.with_name(addition.value) for addition in Addition)]
TEXT = "".join(file.read_text() for file in FILES)
BARE = "\n".join(line.partition("#")[0] for line in TEXT.splitlines())  # no string in the file has a #
BASE_CHAINS = {
    "postrouting": "filter hook postrouting priority srcnat - 10",
    "remember_verdicts": "filter hook postrouting priority srcnat - 9",
    "tripwire": "filter hook prerouting priority dstnat + 10",
    "ask_output": "filter hook output priority 1000",
    "handshakes": "filter hook output priority 1001",
    "mark_redirected": "route hook output priority 99",
    "keep_redirected": "filter hook postrouting priority srcnat - 11",
    "mark_replies": "filter hook prerouting priority mangle",
    "snat_redirected": "nat hook postrouting priority srcnat - 1",
    "untrack_refusals": "filter hook output priority raw",
}
OLD_CHAINS = [
    *("errors", "datagrams", "classic", "segments", "strays", "stun", "door", "listener", "exceptions"),
    *("allowed", "programs", "asking", "bypassing", "redirector", "replies", "readdressing", "refusals"),
    "output",
]
FILLED = {*queue_rules.CHAINS, "allow_rules", "allow_programs"}
# In output.nft, and filled by redirect.nft.
FILLED_LATER = {"new_flows", "decide_redirect"}


def chains() -> dict[str, str]:
    """Each chain's body without comments."""
    found: dict[str, str] = {}
    for name, body in re.findall(r"^    chain (\w+) \{\n(.*?)^    \}", BARE, re.M | re.S):
        assert not found.get(name), "two files have rules for it"
        found[name] = body
    return found


def test_the_agent_loads_these_files() -> None:
    assert ruleset.file() == FILE
    assert ruleset.text() == FILE.read_text()
    assert ruleset.text(frozenset(Addition)) == TEXT


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
    # In messages, in responses, in ICMP errors that quote messages, in requests of a check, and in postrouting.
    assert len(cookies) == 7 + 7 + 6 + 1 + 2
    assert {int(cookie, 16).to_bytes(4, "big") for cookie in cookies} == {stun.MAGIC_COOKIE}


def test_the_guarded_ports_are_the_configurations_default() -> None:
    listed = re.search(r"^add element inet stunwall guard_ports \{ ([^}]*) \}", BARE, re.M)
    assert listed
    assert tuple(map(int, listed[1].split(", "))) == GUARD_PORTS


def rules(chain: str) -> list[str]:
    """A chain's rules without their comments."""
    lines = (line.strip() for line in chains()[chain].splitlines())
    return [line.rpartition(' comment "')[0] for line in lines if line and "policy" not in line]


def test_the_marks_are_the_configurations_default_and_are_written_in_one_place() -> None:
    defined = {name: int(value, 16) for name, value in re.findall(r"^define (\w+) = (0x\w{8})$", BARE, re.M)}
    mask = config.Config().mark_mask
    redirected, passed = config.mark_bits(mask)
    assert defined == {
        "redirected": redirected,
        "passed": passed,
        "both": mask,
        "others": ~mask & 0xFFFFFFFF,
        "unredirected": ~redirected & 0xFFFFFFFF,
    }
    bare = re.sub(r'"[^"]*"', "", BARE)
    assert not re.search(r"mark[^\n]*\b0x", bare.partition("add table")[2])


def test_every_change_of_a_mark_keeps_other_programs_bits() -> None:
    changes = re.findall(r"(?:meta mark set meta|ct mark set ct) mark ([&|]) \$(\w+)", BARE)
    assert len(changes) == len(re.findall(r"mark set", BARE))
    for operator, name in changes:
        assert name in {"|": ("redirected", "passed", "both"), "&": ("others", "unredirected")}[operator]


def test_every_rule_has_a_comment_and_no_two_the_same() -> None:
    rules = ruleset.expected(TEXT)
    assert max(Counter(rules).values()) == 1
    assert max(Counter(comment for _, comment in rules).values()) == 1
    for name, body in chains().items():
        flat = re.sub(r"\{[^}]*\}", "{}", body)
        written = [line for line in flat.splitlines() if line.strip() and "policy" not in line]
        assert all(re.search(r' comment "[^"]+"$', line) for line in written), name
        assert len(written) == sum(chain == name for chain, _ in rules), name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_rule_in_a_file_hands_packets_to_a_queue(file: Path) -> None:
    text = re.sub(r'#.*| comment "[^"]*"', "", file.read_text())
    assert not re.search(r"\b(bypass|queue num)\b", text)


def test_the_queue_rule_is_the_daemons() -> None:
    assert "queue" not in re.sub(r'"[^"]*"', "", BARE)


def test_the_door_ends_in_an_unconditional_drop() -> None:
    door = rules("hand_over")
    assert door[-3:] == [
        "limit rate over 2500/second burst 800 packets counter name over_limit drop",
        "jump to_stunwalld",
        "counter name unattended drop",
    ]
    assert all(rule.endswith(" drop") for rule in door[:-3])
    assert rules("response")[-3:] == [
        "limit rate over 200/second burst 200 packets counter name exposed drop",
        "jump response_to_stunwalld",
        "counter name exposed drop",
    ]


@pytest.mark.parametrize("chain", sorted(FILLED))
def test_what_the_daemon_fills_is_empty_before(chain: str) -> None:
    assert rules(chain) == []


def test_stun_ends_at_the_door_and_what_passes_before_goes_inside_to_the_vpn_or_is_an_exception() -> None:
    assert rules("decide") == [
        "meta mark & $both == $both meta mark set meta mark & $unredirected return",
        "oifname @inside accept",
        "oifname @vpn accept",
        "rt ipsec exists counter name into_ipsec accept",
        # No exception goes by the destination of a source route.
        "ip option lsrr exists goto hand_over",
        "ip option ssrr exists goto hand_over",
        "exthdr rt exists goto hand_over",
        "jump may_leave",
        "goto hand_over",
    ]


def test_an_exception_is_what_stands_in_a_set_or_in_a_rule_of_the_users() -> None:
    every = rules("may_leave") + rules("to_vpn_server")
    passing = [rule for rule in every if re.search(r"accept$|goto", rule)]
    assert len(passing) == len(every) - 3
    for rule in passing:
        assert re.search(r"@\w+ .*counter name \w+ (goto pass|accept)$", rule), rule
        assert not re.search(r"[^.] [!<>]= ", rule)


def test_what_a_check_asks_is_handed_over_wherever_it_goes() -> None:
    """Only a VRF accepts it, from which it comes again."""
    assert rules("check") == [
        "ip daddr . udp dport @checked4 goto checked",
        "ip6 daddr . udp dport @checked6 goto checked",
    ]
    assert rules("checked") == [
        'meta oifkind "vrf" accept',
        "oifname @inside goto hand_over",
        "oifname @vpn goto hand_over",
        "rt ipsec exists meta mark set meta mark | $both goto hand_over",
        "jump may_leave",
        "goto hand_over",
    ]
    asked = "@th,96,32 0x2112a442 @th,64,2 0 jump check"
    assert rules("look")[:2] == ['oif "lo" goto loopback', asked], (
        "only what stays on this machine comes before it"
    )


def test_only_the_vpns_interface_and_programs_of_root_send_the_vpns_own_packets() -> None:
    assert rules("vpn_transport") == [
        "iifname @vpn goto to_vpn_server",
        "iif != 0 return",
        "meta skuid != 0 return",
        "goto to_vpn_server",
    ]


def test_what_passes_gets_the_bit_that_the_second_lock_and_the_tripwire_ask_for() -> None:
    assert rules("pass") == [
        "meta mark & $both == $both meta mark set meta mark & $others accept",
        # Of a check, it never passes.
        "ip daddr . udp dport @checked4 meta mark set meta mark & $unredirected | $passed goto hand_over",
        "ip6 daddr . udp dport @checked6 meta mark set meta mark & $unredirected | $passed goto hand_over",
        "meta mark set meta mark | $passed",
        "goto remember_passed",
    ]
    assert rules("remember_verdicts") == ["meta mark & $both == $passed goto remember_passed"]
    assert rules("remember_passed")[-1] == "accept"


def test_a_redirected_flow_that_strays_ends_in_a_drop_whatever_it_is() -> None:
    assert rules("keep_redirected") == [
        'oif "lo" accept',
        "meta mark & $both == $redirected meta l4proto { 6, 17 } goto redirected_packet",
        "ct mark & $redirected == $redirected ct direction original goto redirected_related",
    ]
    assert rules("redirected_packet") == [
        "oifname @vpn goto remember_redirected",
        "goto redirected_related",
    ]
    assert rules("redirected_related") == [
        "oifname @vpn accept",
        "oifname @inside accept",
        "meta l4proto 17 jump classify_udp",
        "meta l4proto 6 jump classify_tcp",
        "counter name strayed drop",
    ]
    assert rules("remember_redirected")[-1] == "counter name strayed drop"


def test_a_refusal_leaves_by_the_loopback_or_an_inside_interface_or_not_at_all() -> None:
    assert rules("postrouting")[0] == "meta mark & $both == $both jump own_marks"
    assert rules("look")[0] == 'oif "lo" goto loopback'
    assert rules("own_marks") == [
        'oif "lo" return',
        "meta mark != $both meta mark set meta mark & $others return",
        "oifname @inside accept",
        "counter drop",
    ]
    assert rules("untrack_refusals") == ["meta mark $both goto answered"]
    assert rules("answered")[-1] == "notrack"


def test_redirected_flows_keep_their_address_when_the_vpn_goes() -> None:
    # `masquerade` forgets the flow then (net/netfilter/nf_nat_masquerade.c, masq_device_event).
    assert "masquerade" not in BARE
    assert [rule.partition(" snat ")[0] for rule in rules("snat_redirected")] == [
        "meta mark & $redirected == $redirected"
    ] * 2


def test_only_redirect_nft_asks_connection_tracking_or_translates_addresses() -> None:
    for file in FILES[:2]:
        bare = re.sub(r'#.*|"[^"]*"', "", file.read_text())
        assert not re.search(r"\bct\b|\bnat\b", bare), file.name


def test_both_bits_together_mean_a_question_of_ours_and_no_packet_leaves_with_them() -> None:
    # The chains that are asked go to `decide` or return here: none ends the packet's way by itself.
    assert rules("classify_output") == [
        "meta mark set meta mark | $both",
        "jump classify",
        "meta mark & $both == $passed goto decide_output",
        "meta mark set meta mark & $others",
    ]
    assert rules("decide_output")[0] == "meta mark set meta mark & $others"


def test_a_mark_of_another_program_is_no_exception() -> None:
    assert rules("ask_output")[2] == "meta mark & $passed == $passed meta mark set meta mark & $others"
    exception = "meta nfproto @by_program meta mark & $both == $passed"
    forwarded, permitted = (rule for rule in rules("may_leave") if "by_program" in rule)
    assert forwarded == f"{exception} iif != 0 meta mark set meta mark & $others"
    assert permitted == f"{exception} counter name permitted_programs goto pass"


def test_the_output_hook_drops_nothing_and_its_last_word_is_on_to_the_wall() -> None:
    for chain in ("ask_output", "classify_output", "decide_output", "decide_redirect"):
        assert not any(re.search(r"\bdrop\b|\breject\b", rule) for rule in rules(chain))
    # What is asked of stunwalld there: redirectable, UDP, the first packet, not into the VPN, no exception.
    assert rules("decide_redirect") == [
        "meta nfproto != @redirectable accept",
        "meta l4proto != 17 accept",
        "ct state != new accept",
        "oifname @inside accept",
        "oifname @vpn accept",
        "rt ipsec exists accept",
        "meta mark set meta mark | $both",
        "jump may_leave",
        "meta mark set meta mark & $others",
        "update @redirect_users { meta skuid limit rate over 500/second burst 300 packets } accept",
        "limit rate over 1000/second burst 600 packets accept",
        "jump output_to_stunwalld",
        "accept",
    ]


def test_most_udp_ends_after_a_few_tests_that_let_through_nothing_that_classify_udp_takes() -> None:
    """Each is what a rule of classify_udp begins with, and nothing but them ends the way of UDP in postrouting."""
    quick = rules("postrouting")[2:]
    assert rules("postrouting")[1] == "meta l4proto != 17 goto look"
    assert len(quick) == len(rules("classify_udp"))
    for test in quick:
        match, verdict = test.rsplit(" goto ", 1)
        assert verdict == "look"
        assert any(rule.startswith(match + " ") for rule in rules("classify_udp")), test


def test_a_bit_mask_of_a_payload_that_finds_outgoing_stun_is_a_run_of_bits() -> None:
    """nft 1.1 prints others wrongly, so that rules that are saved and loaded again would find something else."""
    for chain in chains():
        for rule in rules(chain) if chain.startswith(("classify", "look", "postrouting")) else ():
            for mask in re.findall(r"@\w\w,\d+,\d+ & 0x(\w+) ==", rule):
                bits = f"{int(mask, 16):b}".rstrip("0")
                assert "0" not in bits, rule


@pytest.mark.parametrize("first", [0x2112, 0xA442])
def test_the_bits_that_tcp_is_read_for_are_those_of_either_half_of_the_cookie(first: int) -> None:
    tests = re.findall(r"@ih,32,32 & 0x(\w+) == 0x(\w+) @ih,56,8 & 0x(\w+) == (\d+) jump", BARE)
    assert len(tests) == 2
    for mask, value, low_mask, low_value in tests:
        assert first & int(mask, 16) == int(value, 16)
        assert first & int(low_mask, 16) == int(low_value)


@pytest.mark.parametrize("first", [0xFF10, 0x0200, 0x0300])
def test_the_bits_that_tcp_is_read_for_are_those_of_each_framing(first: int) -> None:
    tests = re.findall(r"@ih,0,32 & 0x(\w{4})0000 == 0 @ih,8,8 & 0x(\w+) == 0 (?:jump|goto)", BARE)
    assert len(tests) == 2
    for mask, low_mask in tests:
        assert not first & (int(mask, 16) | int(low_mask, 16))


@pytest.mark.parametrize("type_", sorted(stun.CLASSIC_TYPES))
def test_the_first_byte_of_every_type_of_classic_stun_is_looked_for(type_: int) -> None:
    masks = re.findall(r"@th,64,32 & 0x(\w{4})0000 == 0 ", BARE)
    assert len(masks) == 2
    assert not any(type_ & int(mask, 16) for mask in masks)


def test_the_second_lock_sends_udp_and_tcp_to_the_same_chains_first() -> None:
    text = FILE.with_name("second_lock.nft").read_text()
    (out,) = re.findall(r"^    chain out \{\n(.*?)^    \}", text, re.M | re.S)
    found = re.findall(r"^        ([^#\n]*?) comment", out, re.M)
    assert found[:3] == [
        "meta l4proto 17 goto classify_udp",
        "meta l4proto 6 goto classify_tcp",
        "jump classify",
    ]


def quoting(version: int, type_: int, payload: bytes) -> bytes:
    """An ICMP packet with the beginning of the packet that it is about (RFC 792, RFC 4443 §3.1)."""
    message = bytes([type_, 3, 0, 0, 0, 0, 0, 0]) + packet("udp", payload, version)
    return ip4(1, message) if version == 4 else ip6(58, message)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.transport == "udp"], ids=lambda s: s.name)
@pytest.mark.parametrize(("version", "type_"), [(4, 3), (6, 1)])
def test_an_icmp_error_that_quotes_our_refusal_or_stun_with_the_cookie_is_dropped(
    wall: Wall, sample: Sample, version: int, type_: int
) -> None:
    offset = HEADERS[sample.framing]
    cookie = stun.has_cookie(sample.payload[offset:])
    assert wall.takes(quoting(version, type_, sample.payload)) is cookie
    detection = detect(packet("udp", sample.payload, version, sample.port))
    assert detection
    if refusal := detection.message and stun.error_response(sample.payload[offset:]):
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
    bodies = "".join(chains().values())
    assert bodies.count("policy accept;") == bodies.count("policy ") == len(BASE_CHAINS)
    # Those of stunwall.nft are made before they are emptied, and so named twice.
    made = dict(re.findall(r"^add chain inet stunwall (\w+) \{ type (.*); policy accept; \}", BARE, re.M))
    assert made.items() <= BASE_CHAINS.items()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_touches_its_own_table_only(file: Path) -> None:
    bare = re.sub(r"#.*", "", file.read_text())
    assert re.findall(r"^table (.*) \{", bare, re.M) == ["inet stunwall"]
    outside = re.sub(r"^table inet stunwall \{\n.*?^\}\n", "", bare, flags=re.M | re.S)
    statements = [
        each.split() for each in re.split(r"[;\n]", re.sub(r"\{[^}]*\}", "", outside)) if each.strip()
    ]
    statements = [words for words in statements if words[0] != "define"]
    assert {tuple(words[2:4]) for words in statements} <= {("inet", "stunwall")}
    assert {words[0] for words in statements} <= {"add", "flush", "delete"}


def test_loading_the_file_again_empties_its_own_chains_and_keeps_what_is_in_the_sets() -> None:
    text = FILE.read_text()
    bare = re.sub(r"#.*", "", text)
    own = re.findall(r"^    chain (\w+) \{", text, re.M)
    emptied = re.findall(r"flush chain inet stunwall (\w+)", bare)
    assert emptied == [*own, *OLD_CHAINS]
    # Before its rules are added, and all before the first of the old ones is deleted.
    assert bare.index("\ntable inet stunwall {") > bare.index(f"flush chain inet stunwall {own[-1]}\n")
    assert bare.index("delete chain") > bare.index(f"flush chain inet stunwall {OLD_CHAINS[-1]}\n")
    # Of the sets it flushes only those that it fills itself.
    assert re.findall(r"flush set (.*)", bare) == [
        "inet stunwall loaded",
        "inet stunwall classic_lengths",
        "inet stunwall classic_ipv4_lengths",
    ]
    assert "flush table" not in bare
    assert set(re.findall(r"\b(delete \w+)\b(?! @)", bare)) == {"delete chain", "delete counter"}


def test_the_chains_and_counters_of_version_0_1_0_are_deleted() -> None:
    counters = [re.findall(rf"{verb} counter inet stunwall (\w+)", BARE) for verb in ("add", "delete")]
    assert counters == [["refusals", "into_vpn"]] * 2
    assert not re.search(r"counter (refusals|into_vpn) \{\}", BARE)
    assert re.findall(r"delete chain inet stunwall (\w+)", BARE) == OLD_CHAINS
    assert not set(OLD_CHAINS) & chains().keys()

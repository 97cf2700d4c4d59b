"""rules/stunwall.nft as text: that it says what the code says. The kernel reads it in tests/lab."""

import re
from collections import Counter

import pytest

from stunwall import detect, firewall, stun
from unit.build import packet
from unit.wall import FILE, Wall
from vectors.others import OTHERS
from vectors.programs import SAMPLES, Sample, classic, message

TEXT = FILE.read_text()
BARE = "\n".join(line.partition("#")[0] for line in TEXT.splitlines())  # no string in the file has a #
WALL = Wall(TEXT)
BASE_CHAINS = {"postrouting", "refusals"}


def chains() -> dict[str, str]:
    """Each chain's body without comments."""
    return dict(re.findall(r"^    chain (\w+) \{\n(.*?)^    \}", BARE, re.M | re.S))


def test_the_agent_loads_this_file() -> None:
    assert firewall.rules_file() == FILE


def test_the_classic_types_are_those_that_the_daemon_knows() -> None:
    listed = re.search(r"@th,64,16 \{ (0x0001[^}]*) \} goto classic", BARE)
    assert listed
    assert {int(type_, 16) for type_ in listed[1].split(",")} == stun.CLASSIC_TYPES


def test_the_classic_lengths_go_from_the_bare_header_to_the_longest_in_steps_of_4() -> None:
    pairs = [(int(udp), int(field)) for udp, field in re.findall(r"(\d+) \. (\d+)", chains()["classic"])]
    assert pairs == [
        (8 + stun.HEADER + size, size) for size in range(0, stun.CLASSIC_MAX - stun.HEADER + 1, 4)
    ]
    assert pairs[-1] == (556, 528)


def test_the_cookie_is_the_rfcs_wherever_it_is_matched() -> None:
    cookies = re.findall(r",32 (0x2\w+)", BARE)
    assert len(cookies) == 5 + 4  # in messages, and in ICMP errors that quote them
    assert {int(cookie, 16).to_bytes(4, "big") for cookie in cookies} == {stun.MAGIC_COOKIE}


def test_the_guarded_ports_are_the_configurations_default() -> None:
    assert frozenset(detect.GUARD_PORTS) == WALL.guard_ports


def test_both_of_our_marks_bits_and_no_other_stand_in_the_rules() -> None:
    from stunwall import answer

    marks = re.findall(r"\b0x3\w{7}\b", BARE)
    assert {int(mark, 16) for mark in marks} == {answer.MARK, answer.MARK | answer.BEHIND}


def test_every_rule_has_a_comment_and_no_two_the_same() -> None:
    rules = firewall.expected(TEXT)
    assert max(Counter(rules).values()) == 1
    assert max(Counter(comment for _, comment in rules).values()) == 1
    for name, body in chains().items():
        flat = re.sub(r"\{[^}]*\}", "{}", body)
        written = [line for line in flat.splitlines() if line.strip() and "policy" not in line]
        assert all(re.search(r' comment "[^"]+"$', line) for line in written), name
        assert len(written) == sum(chain == name for chain, _ in rules), name


def test_the_agents_reading_of_the_file_has_the_rules_that_find_stun_in_their_order() -> None:
    for name, rules in WALL.chains.items():
        assert [comment for chain, comment in firewall.expected(TEXT) if chain == name] == [
            rule.comment for rule in rules
        ]


def test_nothing_bypasses_the_queue() -> None:
    assert "bypass" not in BARE
    assert "queue" not in BARE  # the daemon's rule, which firewall.py writes


def test_firewall_never_writes_bypass() -> None:
    source = (FILE.parents[1] / "agent" / "stunwall" / "firewall.py").read_text()
    assert "bypass" not in source


def test_the_door_ends_in_an_unconditional_drop() -> None:
    rules = [line.strip() for line in chains()["door"].splitlines() if line.strip()]
    assert re.fullmatch(r'counter name \w+ drop comment "[^"]*"', rules[-1])
    assert rules[0].startswith("jump listener ")
    assert len(rules) == 2


def test_chain_listener_is_empty_until_the_daemon_opens_it() -> None:
    assert not chains()["listener"].strip()


def test_stun_ends_at_the_door_and_what_passes_before_goes_to_the_vpn_or_from_it_or_is_ours() -> None:
    rules = [line.strip() for line in chains()["stun"].splitlines() if line.strip()]
    accepting = [rule.partition(" counter")[0] for rule in rules if " accept " in rule]
    assert accepting == [
        "oifname @vpn",
        "iifname @vpn ct direction reply",
        "ct state untracked meta mark 0x30000001",
    ]
    assert rules[-1].startswith("goto door ")


def test_a_refusal_to_a_local_program_never_leaves_the_loopback() -> None:
    rules = [line.strip() for line in chains()["postrouting"].splitlines() if line.strip()]
    first, second = [rule for rule in rules if not rule.startswith(("#", "type "))][:2]
    assert first.startswith('oifname "lo" accept ')
    assert second.startswith("ct state untracked meta mark 0x30000000 counter drop ")


def quoting(version: int, type_: int, payload: bytes) -> bytes:
    """An ICMP message with the beginning of the packet that it is about (RFC 792, RFC 4443 §3.1)."""
    return bytes([type_, 3, 0, 0, 0, 0, 0, 0]) + packet("udp", payload, version)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.transport == "udp"], ids=lambda s: s.name)
@pytest.mark.parametrize(("version", "type_"), [(4, 3), (6, 1)])
def test_an_icmp_error_that_quotes_our_refusal_or_stun_with_the_cookie_is_dropped(
    sample: Sample, version: int, type_: int
) -> None:
    cookie = "magic cookie" in (WALL.sends("udp", sample.payload, 50000) or "")
    assert (WALL.drops_error(version, quoting(version, type_, sample.payload)) is not None) is (
        cookie or sample.framing == "teams"
    )
    offset = 12 if sample.framing == "teams" else 0
    if refusal := stun.refusal(sample.payload[offset:]):
        assert WALL.drops_error(version, quoting(version, type_, sample.payload[:offset] + refusal))


def test_icmp_that_quotes_a_refusal_of_every_classic_request_is_dropped_and_no_other_classic_message() -> (
    None
):
    for type_ in sorted(stun.CLASSIC_TYPES):
        refusal = stun.refusal(classic(type_))
        for version, unreachable in ((4, 3), (6, 1)):
            if refusal is not None:
                assert WALL.drops_error(version, quoting(version, unreachable, refusal)), hex(type_)
            assert WALL.drops_error(version, quoting(version, unreachable, classic(type_))) is None


@pytest.mark.parametrize(("name", "transport", "port", "payload"), OTHERS, ids=[other[0] for other in OTHERS])
@pytest.mark.parametrize("version", [4, 6])
def test_other_icmp_passes(name: str, transport: str, port: int, payload: bytes, version: int) -> None:
    for type_ in range(256):
        assert WALL.drops_error(version, quoting(version, type_, payload)) is None


def test_icmp_of_other_types_passes_whatever_it_quotes() -> None:
    for version, unreachable in ((4, 3), (6, 1)):
        for type_ in set(range(256)) - {unreachable}:
            assert WALL.drops_error(version, quoting(version, type_, message(0x0001))) is None


@pytest.mark.parametrize("chain", ["datagrams", "segments", "classic"])
def test_the_chains_that_find_stun_accept_and_drop_nothing_themselves(chain: str) -> None:
    assert not re.search(
        r"\b(accept|drop|return|queue|mark|reject)\b", re.sub(r'"[^"]*"', "", chains()[chain])
    )


def test_only_the_base_chains_have_a_hook_and_their_policy_is_accept() -> None:
    assert {name for name, body in chains().items() if "hook" in body} == BASE_CHAINS
    assert BARE.count("policy accept;") == BARE.count("policy ") == len(BASE_CHAINS)


def test_the_file_touches_its_own_table_only_and_keeps_what_is_in_the_sets() -> None:
    outside = [
        line.split() for line in re.sub(r"^table .*", "", BARE, flags=re.M | re.S).splitlines() if line
    ]
    assert [words[:4] for words in outside] == [
        [verb, "table", "inet", "stunwall"] for verb in ("add", "flush")
    ]
    assert re.findall(r"^table (.*) \{", BARE, re.M) == ["inet stunwall"]
    assert "destroy" not in BARE
    assert "delete" not in BARE

"""What rules/stunwall.nft says about a packet, read from the file itself: the part of nft that it uses.

Independent of the agent's code, so that the wall and the daemon can be held against each other.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unit.build import tcp, udp

FILE = Path(__file__).resolve().parents[2] / "rules" / "stunwall.nft"
CHAINS = {"udp": "classify_udp", "tcp": "classify_tcp"}


@dataclass(frozen=True)
class Seen:
    """A packet as nft sees it: the transport header with what follows, and where the payload starts."""

    segment: bytes
    payload: bytes = b""
    guarded: bool = False  # whether the destination port is in the set guard_ports
    icmp: str = ""  # "icmp" or "icmpv6"
    lengths: frozenset[tuple[int, ...]] = frozenset()  # the set classic_lengths

    def bits(self, base: str, offset: int, length: int) -> int | None:
        """`@th,offset,length` or `@ih,…`; None if the packet ends before, when no rule matches."""
        data = self.segment if base == "th" else self.payload
        if offset + length > len(data) * 8:
            return None
        return int.from_bytes(data, "big") >> (len(data) * 8 - offset - length) & (1 << length) - 1


Test = Callable[[Seen], bool]


@dataclass(frozen=True)
class Rule:
    """A rule: all of its tests must hold. `verdict` is `drop`, or the chain it leads to."""

    tests: tuple[Test, ...]
    verdict: str
    comment: str


class Wall:
    """The chains that find STUN, and the one that finds ICMP errors which quote it."""

    def __init__(self, text: str) -> None:
        self.chains = {
            name: tuple(_rules(body))
            for name, body in re.findall(r"^    chain (\w+) \{\n(.*?)^    \}", text, re.M | re.S)
            if name in ("classify_udp", "classify_classic_stun", "classify_tcp", "drop_icmp_quotes")
        }
        pairs = re.findall(
            r"\d+ \. \d+", _found(r"add element inet stunwall classic_lengths (\{[^}]*\})", text)
        )
        self.lengths = frozenset(tuple(map(int, pair.split(" . "))) for pair in pairs)
        self.guard_ports = _values(_found(r"set guard_ports \{[^}]*elements = (\{[^}]*\})", text))

    def sends(self, transport: str, payload: bytes, port: int) -> str | None:
        """The comment of the rule that takes the packet for STUN, None if it passes."""
        segment = udp(payload, port) if transport == "udp" else tcp(payload, port)
        return self._taken(
            Seen(segment, payload, port in self.guard_ports, lengths=self.lengths), CHAINS[transport]
        )

    def drops_error(self, version: int, message: bytes) -> str | None:
        """The comment of the rule that drops an ICMP or ICMPv6 message, None if it passes."""
        return self._taken(Seen(message, icmp="icmp" if version == 4 else "icmpv6"), "drop_icmp_quotes")

    def _taken(self, seen: Seen, chain: str) -> str | None:
        while True:
            matches = (rule for rule in self.chains[chain] if all(test(seen) for test in rule.tests))
            rule = next(matches, None)
            if rule is None or rule.verdict in ("decide", "drop"):
                return rule.comment if rule else None
            chain = rule.verdict


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, f"{pattern} is not in the file"
    return match[1]


def _rules(body: str) -> Iterator[Rule]:
    text = re.sub(r"^\s*#.*$", "", body, flags=re.M)
    while text.strip():
        tests, verdict = [], ""
        while not (match := re.match(r'\s*comment "([^"]*)"\n', text)):
            size, test, verdict = _token(text)
            text = text[size:]
            tests.append(test)
        text = text[match.end() :]
        yield Rule(tuple(tests), verdict, match[1])


def _token(text: str) -> tuple[int, Test, str]:
    """Return the size of the first token, its test, and its verdict if it is one."""
    if match := re.match(r"\s*udp length \. @(\w+),(\d+),(\d+) @classic_lengths(?= )", text):
        base, offset, length = match[1], int(match[2]), int(match[3])
        return (
            match.end(),
            lambda seen: (len(seen.segment), seen.bits(base, offset, length)) in seen.lengths,
            "",
        )
    if match := re.match(r"\s*udp length (\d+)", text):
        size = int(match[1])
        return match.end(), lambda seen: len(seen.segment) == size, ""
    if match := re.match(r"\s*@(\w+),(\d+),(\d+) (\{[^}]*\}|[\w-]+)", text):
        base, offset, length, wanted = match[1], int(match[2]), int(match[3]), _values(match[4])
        return match.end(), lambda seen: seen.bits(base, offset, length) in wanted, ""
    if match := re.match(r"\s*(?:udp|tcp) dport @guard_ports(?= )", text):
        return match.end(), lambda seen: seen.guarded, ""
    if match := re.match(r"\s*counter(?= )", text):
        return match.end(), lambda seen: True, ""
    if match := re.match(r"\s*(icmp|icmpv6) type destination-unreachable(?= )", text):
        icmp, type_ = match[1], {"icmp": 3, "icmpv6": 1}[match[1]]  # RFC 792, RFC 4443 §3.1
        return match.end(), lambda seen: seen.icmp == icmp and seen.segment[:1] == bytes([type_]), ""
    match = re.match(r"\s*(?:goto )?(\w+)", text)
    assert match, f"not understood: {text[:60]!r}"
    return match.end(), lambda seen: True, match[1]


def _values(text: str) -> frozenset[int]:
    found: set[int] = set()
    for item in text.strip("{} ").split(","):
        low, _, high = item.strip().partition("-")
        found |= set(range(int(low, 0), int(high or low, 0) + 1))
    return frozenset(found)

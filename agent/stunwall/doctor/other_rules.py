"""Finds stunwall's mark bits and queue in other programs' rules, given as nft's JSON. No I/O."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Ruleset = list[dict[str, Any]]  # the list `nftables` of libnftables-json(5)

_OURS = {("inet", "stunwall"), ("netdev", "stunwall")}
_ALL = 0xFFFFFFFF
_LAST_QUEUE = 0xFFFF


@dataclass(frozen=True, slots=True)
class Claim:
    """Another program's use of a mark or a queue: which rule uses it, and its value."""

    where: str
    value: int


def mark_claims(ruleset: Ruleset, mask: int) -> list[Claim]:
    """Return the rules of other programs that set or match bits of `mask` in the packet or connection mark."""
    found = []
    for rule in _others_rules(ruleset):
        for expression in rule["expr"]:
            for value in _mark_bits(expression):
                if value & mask:
                    found.append(Claim(_place(rule), value))
    return list(dict.fromkeys(found))


def hidden_marks(ruleset: Ruleset) -> list[str]:
    """Return where iptables rules set or match marks whose values are not in nft's JSON."""
    return _of_xtables(ruleset, "mark", "connmark")


def hidden_queues(ruleset: Ruleset) -> list[str]:
    """Return where iptables rules queue packets without the number of the queue in nft's JSON."""
    return _of_xtables(ruleset, "nfqueue")


def _of_xtables(ruleset: Ruleset, *names: str) -> list[str]:
    return list(
        dict.fromkeys(
            _place(rule)
            for rule in _others_rules(ruleset)
            for expression in rule["expr"]
            if _xtables_name(expression) in names
        )
    )


def _xtables_name(expression: dict[str, Any]) -> str:
    match expression:
        case {"xt": {"name": str(name)}}:
            return name.lower()
    return ""


def routing_claims(rules: Iterable[dict[str, Any]], mask: int, ours: int) -> list[Claim]:
    """Return the rules in the output of `ip -j rule` that match bits of `mask`, except those for table `ours`."""
    found = []
    for rule in rules:
        if "fwmark" not in rule or str(rule.get("table")) == str(ours):
            continue
        value, width = _number(rule["fwmark"]), _number(rule.get("fwmask", _ALL))
        if value & width & mask:
            found.append(Claim(f"ip rule, priority {rule.get('priority')}", value))
    return found


def queue_claims(ruleset: Ruleset) -> list[Claim]:
    """Return the rules of other programs that send packets to a queue."""
    found = []
    for rule in _others_rules(ruleset):
        for expression in rule["expr"]:
            match expression:
                case {"queue": {"num": int(number)}}:
                    found.append(Claim(_place(rule), number))
                case {"queue": {"num": {"range": [int(first), int(last)]}}}:
                    found += [Claim(_place(rule), each) for each in range(first, min(last, _LAST_QUEUE) + 1)]
    return list(dict.fromkeys(found))


def _others_rules(ruleset: Ruleset) -> Iterator[dict[str, Any]]:
    for item in ruleset:
        rule = item.get("rule")
        if rule is not None and (rule["family"], rule["table"]) not in _OURS:
            # nft prints what it has no JSON for as text; before 1.0.6, that is everything from xtables (src/json.c).
            yield rule | {"expr": [each for each in rule.get("expr", ()) if isinstance(each, dict)]}


def _place(rule: dict[str, Any]) -> str:
    return f"table {rule['family']} {rule['table']}, chain {rule['chain']}"


def _mark_bits(expression: dict[str, Any]) -> Iterator[int]:
    """Yield the bits of the mark that an expression sets to one, or matches."""
    match expression:
        case {"mangle": {"key": key, "value": value}} if _is_mark(key):
            yield from _set_bits(value)
        case {"match": {"left": {"&": [key, bits]}}} if _is_mark(key):
            yield from _numbers(bits)
        case {"match": {"left": key, "right": value}} if _is_mark(key):
            yield from _numbers(value)


def _set_bits(value: Any) -> Iterator[int]:  # noqa: ANN401 - from nft's JSON
    match value:
        case {"|": [_, bits]} | {"^": [_, bits]}:
            value = bits
    match value:
        case {"map": {"data": {"set": list(pairs)}}}:
            for pair in pairs:
                match pair:
                    case [_, mark]:
                        yield from _numbers(mark)
    yield from _numbers(value)  # nothing if it clears bits (`&`) or copies a mark


def _is_mark(value: Any) -> bool:  # noqa: ANN401
    match value:
        case {"meta": {"key": "mark"}} | {"ct": {"key": "mark"}}:
            return True
    return False


def _numbers(value: Any) -> Iterator[int]:  # noqa: ANN401
    match value:
        case int():
            yield value
        case {"prefix": {"len": int(length)}} if 0 <= length <= 32:  # a mask of the highest bits
            yield _ALL << (32 - length) & _ALL
        case {"range": [int(first), int(last)]}:
            changing = (1 << (first ^ last).bit_length()) - 1  # the bits that differ within the range
            yield last | changing
        case {"set": list(elements)}:
            for element in elements:
                yield from _numbers(element)


def _number(value: Any) -> int:  # noqa: ANN401 - `ip` prints 0x… as text
    return int(value, 0) if isinstance(value, str) else int(value)

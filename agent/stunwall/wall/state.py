"""The table as the kernel has it: its rules, counters and sets, and whether it is intact."""

import re
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from stunwall.wall import nft, queue_rules, ruleset
from stunwall.wall.contents import TABLE

# What stunwalld puts rules into; the others must be as in the file.
_FILLED_CHAINS = frozenset({*queue_rules.CHAINS, "allow_rules", "allow_programs"})


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as loaded: its chain, its comment, and its counter in packets and bytes, None without a counter."""

    chain: str
    comment: str
    packets: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Wall:
    """The table as the kernel has it.

    `sets`: their elements by name. `counters`: packets by name. `queue`: the number of the queue that STUN is handed
    to, None while the queue rules are missing. `paused`: the seconds that are left of a pause.
    """

    rules: tuple[Rule, ...]
    sets: dict[str, tuple[str | int, ...]]
    counters: dict[str, int]
    queue: int | None
    paused: int = 0

    @property
    def intact(self) -> bool:
        """Whether every rule of the file is in its place, and the sets that it fills are as in the file."""
        text = ruleset.text()
        for name, elements in ruleset.fixed_sets(text).items():
            if frozenset(self.sets.get(name, elements)) != elements:
                return False
        loaded = [(rule.chain, rule.comment) for rule in self.rules if rule.chain not in _FILLED_CHAINS]
        # Chain by chain, as the kernel may list chains in another order. sorted() keeps the order within each.
        by_chain = itemgetter(0)
        return sorted(loaded, key=by_chain) == sorted(ruleset.expected(text), key=by_chain)


def read() -> Wall | None:
    """Return the wall as loaded, None if there is no such table. Raises NftError."""
    listing = nft.read_table(TABLE)
    if listing is None:
        return None
    counters = {item["counter"]["name"]: item["counter"] for item in listing if "counter" in item}
    rules = [item["rule"] for item in listing if "rule" in item]
    return Wall(
        rules=tuple(_rule(rule, counters) for rule in rules),
        sets={item["set"]["name"]: _elements(item["set"]) for item in listing if "set" in item},
        counters={name: int(counter["packets"]) for name, counter in counters.items()},
        paused=next((_expires(item["set"]) for item in listing if _is_set(item, "paused")), 0),
        queue=_queue([rule for rule in rules if rule["chain"] == "to_stunwalld"]),
    )


def listing() -> str:
    """Return the table as `nft list` prints it. Raises NftError."""
    return nft.list_table(TABLE)


def _rule(rule: dict[str, Any], counters: dict[str, dict[str, Any]]) -> Rule:
    counter = next((e["counter"] for e in rule["expr"] if "counter" in e), None)
    if isinstance(counter, str):
        counter = counters[counter]
    packets, size = (counter["packets"], counter["bytes"]) if counter else (None, None)
    return Rule(rule["chain"], rule.get("comment", ""), packets, size)


def _elements(found: dict[str, Any]) -> tuple[str | int, ...]:
    return tuple(_element(element) for element in found.get("elem", ()))


def _element(element: Any) -> str | int:  # noqa: ANN401 - as nft's JSON has it (libnftables-json(5))
    match element:
        case {"concat": parts}:
            return " . ".join(str(_element(part)) for part in parts)
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{_element(first)}-{_element(last)}"
        case {"elem": {"val": value}}:
            return _element(value)
        case int():
            return element
    return str(element)


def _is_set(item: dict[str, Any], name: str) -> bool:
    return "set" in item and item["set"]["name"] == name


def _expires(found: dict[str, Any]) -> int:
    elements = (element["elem"] for element in found.get("elem", ()) if isinstance(element, dict))
    return max((int(element.get("expires", 0)) for element in elements), default=0)


def _queue(rules: list[dict[str, Any]]) -> int | None:
    if not any("queue" in e or "xt" in e for rule in rules for e in rule["expr"]):
        return None
    numbers = (
        re.fullmatch(rf"{queue_rules.CHAINS['to_stunwalld']} (\d+)", rule.get("comment", ""))
        for rule in rules
    )
    return next((int(number[1]) for number in numbers if number), None)

"""The table as the kernel has it: its rules, counters and sets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stunwall.wall import listing, queue_rules
from stunwall.wall.contents import CHECKSUM, TABLE
from stunwall.wall.listing import Listing
from stunwall.wall.nft import Nft

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_TIMEOUT = 3650 * 86400  # seconds, of the element of `loaded` in stunwall.nft
_EXPIRES = re.compile(r"expires ((?:\d+(?:ms|[smhd]))+)")


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


def read(nft: Nft) -> Wall | None:
    """Return the wall as loaded, None if there is no such table. Raises NftError."""
    found = read_listing(nft)
    return None if found is None else wall(found)


def read_listing(nft: Nft, table: str = TABLE) -> Listing | None:
    """Return a table as loaded, None if there is no such table. Raises NftError."""
    text = nft.list_table(table, handles=True)
    return None if text is None else listing.parse(text)


def wall(found: Listing) -> Wall:
    """Return what the listing of the table says."""
    counters = {
        name.removeprefix("counter "): _counts(" ".join(lines))
        for name, lines in found.blocks.items()
        if name.startswith("counter ")
    }
    queued = found.blocks.get("chain to_stunwalld", ())
    return Wall(
        rules=tuple(_rules(found, counters)),
        sets={
            name.removeprefix("set "): tuple(map(_element, found.elements.get(name.removeprefix("set "), ())))
            for name in found.blocks
            if name.startswith("set ")
        },
        counters={name: counts[0] for name, counts in counters.items() if counts},
        queue=_queue(queued),
        paused=int(max(map(expires, found.elements.get("paused", ())), default=0)),
    )


def age(found: Listing) -> float:
    """Return how long ago stunwall.nft was loaded, in seconds without those of sleep, 0 if that is not known."""
    elements = found.elements.get("loaded", ())
    if len(elements) != 1 or not re.fullmatch(rf"0x00000001 timeout 3650d {_EXPIRES.pattern}", elements[0]):
        return 0.0  # not, or not only, what the file puts there
    return max(0.0, _TIMEOUT - expires(elements[0]))


def filled(found: Listing) -> bool:
    """Return whether a daemon has filled the table since it was made."""
    return bool(found.elements.get(CHECKSUM))


def expires(element: str) -> float:
    """Return the seconds until an element times out, 0 if it does not."""
    match = _EXPIRES.search(element)
    parts = re.findall(r"(\d+)(ms|[smhd])", match[1]) if match else ()
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def _rules(found: Listing, counters: dict[str, tuple[int, int] | None]) -> Iterator[Rule]:
    for name, lines in found.blocks.items():
        if not name.startswith("chain "):
            continue
        for line in map(listing.without_handle, lines):
            if line.startswith("type "):  # the hook of a base chain
                continue
            comment = re.search(r' comment "([^"]*)"$', line)
            rule = line[: comment.start()] if comment else line
            named = re.search(r'\bcounter name "?(\w+)"?', rule)
            packets, size = (counters.get(named[1]) if named else _counts(rule)) or (None, None)
            yield Rule(name.removeprefix("chain "), comment[1] if comment else "", packets, size)


def _counts(text: str) -> tuple[int, int] | None:
    match = re.search(r"\bpackets (\d+) bytes (\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _element(element: str) -> str | int:
    text = re.sub(r" (timeout|expires) \w+", "", element)
    return int(text) if text.isdecimal() else text.replace('"', "")


def _queue(rules: tuple[str, ...]) -> int | None:
    # nft prints the target NFQUEUE as `queue`, `xt target`, or as nothing, by its version and libraries.
    if not any(re.match(r"queue\b|xt\b|$", listing.bare(rule)) for rule in rules):
        return None
    comment = queue_rules.CHAINS["to_stunwalld"]
    numbers = (re.search(rf'comment "{comment} (\d+)"$', listing.bare(rule)) for rule in rules)
    return next((int(number[1]) for number in numbers if number), None)

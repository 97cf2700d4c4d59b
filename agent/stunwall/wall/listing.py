"""What `nft list table` prints, taken apart, and how two listings of a table differ. No I/O.

The text, not the JSON: nft prints the JSON of a table with a flag wrongly (nft.py), and some builds print none.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

# What the kernel counts, and the time that is left of an element.
_CHANGING = re.compile(r" ?\b(?:packets \d+ bytes \d+|expires \w+)")
_ELEMENT = re.compile(r'(?:"[^"]*"|[^",])+')
_HANDLE = re.compile(r" ?# handle \d+$")
_TIMES = re.compile(r" (?:timeout|expires) \w+")
_QUOTED = 60  # characters of a rule that a difference quotes


@dataclass(frozen=True, slots=True)
class Listing:
    """A table.

    `head`: the lines before its first block, such as its flags. `blocks`: the lines of each chain, set, map and
    counter, by its kind and name, as in `chain decide`. `elements`: those of each set and map, by its name.
    """

    head: tuple[str, ...] = ()
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    elements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def parse(text: str) -> Listing:
    """Take apart one table as `nft list table` prints it: a tab a level, and a block ends with a brace."""
    head: list[str] = []
    blocks: dict[str, tuple[str, ...]] = {}
    elements: dict[str, tuple[str, ...]] = {}
    lines = iter(text.split("\n"))  # a comment may contain what splitlines() takes for the end of a line
    for line in lines:
        if match := re.fullmatch(r"\t([^\t].*) \{( # handle \d+)?", line):
            block = list(_block(lines))
            name = match[1].split()[-1]
            for number, inner in enumerate(block):
                if inner.startswith("elements = {"):
                    elements[name] = _elements(" ".join(block[number:]))
                    del block[number:]
                    break
            blocks[match[1]] = tuple(block)
        elif re.match(r"\t[^\t]", line):
            head.append(line.strip())
    return Listing(tuple(head), blocks, elements)


def _block(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line == "\t}":
            return
        yield line.strip()


def _elements(text: str) -> tuple[str, ...]:
    """Return the elements in `elements = { … }`; a comma or a brace can also stand in quotes."""
    inner = text.removeprefix("elements = {").rstrip().removesuffix("}")
    return tuple(stripped for each in _ELEMENT.findall(inner) if (stripped := each.strip()))


def normal(element: str) -> str:
    """Return an element without times, counts and quotes, and with every address as a network."""
    key = _TIMES.sub("", _CHANGING.sub("", element))
    return re.sub(r"[^ ]+", lambda word: _normal_word(word[0].strip('"')), key)


def _normal_word(word: str) -> str:
    if "." not in word and ":" not in word:
        return word
    try:
        return str(ip_network(word, strict=False))
    except ValueError:
        return word


def differences(
    expected: Listing,
    seen: Listing,
    elements: Mapping[str, frozenset[str]],
    ignored: frozenset[str] = frozenset(),
) -> list[str]:
    """Return what is not as expected, each as a phrase such as `chain decide`, in the order of the listing.

    Args:
        elements: those that are expected instead of those in `expected`, as normal() returns them, by set.
        ignored: sets whose elements do not matter, besides those that packets fill (flags dynamic).
    """
    found = []
    if expected.head != seen.head:
        lines = sorted({*expected.head} ^ {*seen.head})
        found.append(f"the table ({', '.join(lines)})")
    for name in dict.fromkeys((*expected.blocks, *seen.blocks)):
        before, now = expected.blocks.get(name), seen.blocks.get(name)
        if before is None or now is None:
            found.append(f"{name} ({'added' if before is None else 'removed'})")
        elif line := _first_difference(before, now):
            found.append(f"{name} ({line})")
        elif name.startswith(("set ", "map ")) and not any("dynamic" in line for line in now):
            own = name.split()[-1]
            wanted = elements.get(own, frozenset(map(normal, expected.elements.get(own, ()))))
            there = frozenset(map(normal, seen.elements.get(own, ())))
            if own not in ignored and wanted != there:
                found.append(f"{name} ({_changed(wanted, there)})")
    return found


def without_handle(line: str) -> str:
    """Return a line without the handle at its end."""
    return _HANDLE.sub("", line)


def bare(line: str) -> str:
    """Return a line without its handle and what the kernel counts."""
    return _CHANGING.sub("", without_handle(line))


def _lasting(line: str) -> str:
    """Return a line as bare(), but a rule that nft cannot print as its handle: another one in its place has another."""
    return line if line.startswith("# handle ") else bare(line)


def _first_difference(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    """Return the first line that is not as before, "" if there is none."""
    was, has = ([_lasting(line) for line in lines] for lines in (before, now))
    if was == has:
        return ""
    place = next((n for n, pair in enumerate(zip(was, has, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        place = min(len(was), len(has))
    lines, verb = (has, "has") if place < len(has) else (was, "lacks")
    line = lines[place]
    return f"{verb}: {line[:_QUOTED]}{'…' if len(line) > _QUOTED else ''}"


def _changed(wanted: frozenset[str], there: frozenset[str]) -> str:
    parts = []
    for verb, some in (("has", there - wanted), ("lacks", wanted - there)):
        if some:
            more = f" and {len(some) - 1} more" if len(some) > 1 else ""
            parts.append(f"{verb}: {min(some)}{more}")
    return ", ".join(parts)

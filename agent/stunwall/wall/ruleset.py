"""The text of the files in rules/: where they are, the rules that they hold, their mark bits."""

import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

from stunwall.wall.contents import Addition, marks


def text(additions: Collection[Addition] = ()) -> str:
    """Return the text of stunwall.nft and of these additions."""
    return "".join(map(_read, ("stunwall.nft", *(each for each in Addition if each in additions))))


def file(name: str = "stunwall.nft") -> Path:
    """Return where a file of rules is: in the installed package, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "rules" / name
    return installed if installed.exists() else package.parents[1] / "rules" / name


@cache
def _read(name: str) -> str:
    """Return the text of a file, read once: an upgrade may change it under a daemon that still runs."""
    return file(name).read_text()


def second_lock() -> str:
    """Return the text of second_lock.nft."""
    return _read("second_lock.nft")


def expected(rules: str) -> list[tuple[str, str]]:
    """Return (chain, comment) of each rule in a text of rules, in order."""
    found: list[tuple[str, str]] = []
    chain = ""
    for line in rules.splitlines():
        if match := re.match(r"\s*chain (\w+) \{", line):
            chain = match[1]
        elif (match := re.search(r' comment "([^"]*)"$', line)) and not line.lstrip().startswith("#"):
            found.append((chain, match[1]))
    return found


def fixed_sets(rules: str) -> dict[str, frozenset[str]]:
    """Return the sets that a text of rules fills itself for good, and their elements, as in `28 . 0`."""
    filled = re.findall(r"^add element inet stunwall (classic_\w+) \{([^}]*)\}", rules, re.MULTILINE)
    return {name: frozenset(re.findall(r"\d+ \. \d+", elements)) for name, elements in filled}


def with_marks(rules: str, mask: int) -> str:
    """Return the rules with the two bits of `mask` for the mark."""
    # A context of libnftables remembers a `define`, and refuses a second one.
    for name, value in marks(mask).items():
        rules = re.sub(
            rf"^define {name} = \w+$", f"redefine {name} = {value:#010x}", rules, flags=re.MULTILINE
        )
    return rules

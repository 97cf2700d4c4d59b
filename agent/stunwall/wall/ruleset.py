"""The text of the files in rules/: where they are, the rules that stunwall.nft holds, its mark bits."""

import re
from functools import cache
from pathlib import Path

from stunwall.config import mark_bits


@cache
def text() -> str:
    """Return the text of stunwall.nft, read once: an upgrade may change the file under a daemon that still runs."""
    return file().read_text()


@cache
def second_lock() -> str:
    """Return the text of second_lock.nft, read once."""
    return file("second_lock.nft").read_text()


def file(name: str = "stunwall.nft") -> Path:
    """Return where a file of rules is: in the installed package, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "rules" / name
    return installed if installed.exists() else package.parents[1] / "rules" / name


def expected(rules: str) -> list[tuple[str, str]]:
    """Return (chain, comment) of each rule in the text of stunwall.nft, in order."""
    found: list[tuple[str, str]] = []
    chain = ""
    for line in rules.splitlines():
        if match := re.match(r"\s*chain (\w+) \{", line):
            chain = match[1]
        elif (match := re.search(r' comment "([^"]*)"$', line)) and not line.lstrip().startswith("#"):
            found.append((chain, match[1]))
    return found


def fixed_sets(rules: str) -> dict[str, frozenset[str]]:
    """Return the sets that the text of stunwall.nft fills itself, and their elements, as in `28 . 0`."""
    filled = re.findall(r"^add element inet stunwall (\w+) \{([^}]*)\}", rules, re.MULTILINE)
    return {name: frozenset(re.findall(r"\d+ \. \d+", elements)) for name, elements in filled}


def with_marks(rules: str, mask: int) -> str:
    """Return the rules with the two bits of `mask` for the mark."""
    redirected, permitted = mark_bits(mask)
    bits = {
        "redirected": redirected,
        "permitted": permitted,
        "both": mask,
        "others": mask ^ 0xFFFFFFFF,
        "unpermitted": permitted ^ 0xFFFFFFFF,
    }
    # A context of libnftables remembers a `define`, and refuses a second one.
    for name, value in bits.items():
        rules = re.sub(
            rf"^define {name} = \w+$", f"redefine {name} = {value:#010x}", rules, flags=re.MULTILINE
        )
    return rules

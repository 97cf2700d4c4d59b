"""Loads the table into the kernel, fills it, and removes it."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from stunwall.model import Address
from stunwall.wall import modules, requirements, ruleset, state
from stunwall.wall.contents import TABLE, Contents, fill_exceptions, fill_sets
from stunwall.wall.listing import Listing
from stunwall.wall.nft import Nft, NftError, NftPermissionError

Server = tuple[Address, int]
"""A server of a check: its address and UDP port."""


def load(nft: Nft, contents: Contents, mask: int) -> Contents:
    """Replace the table by a new one, filled, without queue rules and pause, in one transaction.

    Whatever other programs did to the old table is gone. Its counts stay, and so does what packets put into its sets.
    `mask` has two mark bits. Returns what it holds, which is more than asked for while it has redirected flows.
    Raises NftError, which names a missing kernel feature.
    """
    before = None
    with suppress(NftError):  # loading it says why
        before = state.read_listing(nft)
    if before is not None and any(before.elements.get(name) for name in ("redirected4", "redirected6")):
        contents = replace(contents, redirect=True)
    rules = ruleset.with_marks(ruleset.text(contents.additions), mask)
    filled = fill_sets(contents) + fill_exceptions(contents, mask)
    anew = f"add table {TABLE}\ndelete table {TABLE}\n"
    try:
        if before is not None:
            # Another program may have left something there that the new table does not take.
            with suppress(NftError):
                nft.apply(anew + _counted(rules, before) + filled + _kept(rules, before))
                return contents
        nft.apply(anew + rules + filled)
    except NftPermissionError:
        raise
    except NftError as error:
        lacking = requirements.missing(nft.refused, modules.how_to_load, redirect=contents.redirect)
        raise (NftError(lacking) if lacking else error) from error
    return contents


def _counted(rules: str, before: Listing) -> str:
    """Return the rules, with named counters that begin where those in `before` are."""

    def counter(match: re.Match[str]) -> str:
        return f"{match[1]}{' '.join(before.blocks.get(f'counter {match[2]}', ()))}}}"

    return re.sub(r"^( *counter (\w+) \{)\}$", counter, rules, flags=re.MULTILINE)


def _kept(rules: str, before: Listing) -> str:
    """Return the statements that put back what packets have put into the sets (flags dynamic)."""
    names = (
        name.removeprefix("set ")
        for name, lines in before.blocks.items()
        if name.startswith("set ") and any(re.match("flags .*dynamic", line) for line in lines)
    )
    return "".join(
        f"add element {TABLE} {name} {{ {', '.join(before.elements[name])} }}\n"
        for name in names
        if before.elements.get(name) and re.search(rf"^ *set {name} \{{", rules, re.MULTILINE)
    )


def fill(nft: Nft, contents: Contents, mask: int, before: Contents | None) -> bool:
    """Replace the contents of sets and chains, in one transaction; `before` is what the table holds, if known.

    Exceptions that do not change keep their counters. Returns whether they were replaced.
    """
    same = before is not None and (before.allow, before.cgroups) == (contents.allow, contents.cgroups)
    exceptions = "" if same else fill_exceptions(contents, mask)
    try:
        nft.apply(fill_sets(contents, before) + exceptions)
    except NftError:  # perhaps another program has changed the sets
        if before is None:
            raise
        nft.apply(fill_sets(contents) + exceptions)
    return not same


def pause(nft: Nft, seconds: int, now: int) -> None:
    """Let all STUN pass for `seconds` from `now` (Unix seconds); 0 seconds end a pause. Raises NftError."""
    text = f"flush set {TABLE} paused\n"
    if seconds:
        # From one second ago, so that rounding does not delay it.
        text += f"add element {TABLE} paused {{ {now - 1}-{now + seconds} timeout {seconds}s }}\n"
    nft.apply(text)


def check(nft: Nft, servers: Iterable[Server], seconds: int) -> None:
    """Hand over, and never let out, what is sent to these servers, for `seconds`. Raises NftError."""
    nft.apply(
        "".join(
            f"add element {TABLE} checked{address.version} {{ {address} . {port} timeout {seconds}s }}\n"
            for address, port in servers
        )
    )


def end_check(nft: Nft, servers: Iterable[Server]) -> None:
    """Take servers out of the sets before their time is over. Raises NftError, for example if it is over."""
    nft.apply(
        "".join(
            f"delete element {TABLE} checked{address.version} {{ {address} . {port} }}\n"
            for address, port in servers
        )
    )


def remove(nft: Nft) -> None:
    """Remove the table, if there is one. Raises NftError."""
    nft.apply(f"add table {TABLE}\ndelete table {TABLE}\n")

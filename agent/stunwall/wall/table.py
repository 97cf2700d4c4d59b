"""Loads the table into the kernel, fills it, and removes it."""

from stunwall.wall import nft, requirements, ruleset
from stunwall.wall.contents import TABLE, Contents, fill_exceptions, fill_sets
from stunwall.wall.nft import NftError, NftPermissionError


def load(contents: Contents, mask: int) -> None:
    """Put the whole wall in place, filled, its door shut, in one transaction; `mask` has two mark bits.

    Raises NftError, which names the kernel piece that is missing.
    """
    try:
        nft.apply(
            ruleset.with_marks(ruleset.text(), mask) + fill_sets(contents) + fill_exceptions(contents, mask)
        )
    except NftPermissionError:
        raise
    except NftError as error:
        lacking = requirements.missing(nft.refused)
        raise (NftError(lacking) if lacking else error) from error


def fill(contents: Contents, mask: int, before: Contents | None) -> None:
    """Replace what is in the sets and chains, in one transaction; `before` is what the wall holds, if known.

    Exceptions that stay the same keep their counters.
    """
    same = before is not None and (before.allow, before.cgroups) == (contents.allow, contents.cgroups)
    nft.apply(fill_sets(contents) + ("" if same else fill_exceptions(contents, mask)))


def pause(seconds: int, now: int) -> None:
    """Let all STUN pass for so many seconds from `now` (Unix seconds), or stop that with 0 seconds."""
    text = f"flush set {TABLE} paused\n"
    if seconds:
        # From a second ago, so that no rounding delays it.
        text += f"add element {TABLE} paused {{ {now - 1}-{now + seconds} timeout {seconds}s }}\n"
    nft.apply(text)


def remove() -> None:
    """Remove the table and all that is in it; no error if it is not there."""
    nft.apply(f"add table {TABLE}\ndelete table {TABLE}\n")

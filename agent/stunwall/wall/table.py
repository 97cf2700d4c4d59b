"""Loads the table into the kernel, fills it, and removes it."""

from stunwall.wall import nft, requirements, ruleset
from stunwall.wall.contents import TABLE, Contents, fill_exceptions, fill_sets
from stunwall.wall.nft import NftError, NftPermissionError


def load(contents: Contents, mask: int) -> None:
    """Load the table and fill it, without queue rules, in one transaction; `mask` has two mark bits.

    Raises NftError, which names a missing kernel feature.
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
    """Replace the contents of sets and chains, in one transaction; `before` is what the table holds, if known.

    Exceptions that do not change keep their counters.
    """
    same = before is not None and (before.allow, before.cgroups) == (contents.allow, contents.cgroups)
    nft.apply(fill_sets(contents) + ("" if same else fill_exceptions(contents, mask)))


def pause(seconds: int, now: int) -> None:
    """Let all STUN pass for `seconds` from `now` (Unix seconds); 0 seconds end a pause. Raises NftError."""
    text = f"flush set {TABLE} paused\n"
    if seconds:
        # From one second ago, so that rounding does not delay it.
        text += f"add element {TABLE} paused {{ {now - 1}-{now + seconds} timeout {seconds}s }}\n"
    nft.apply(text)


def remove() -> None:
    """Remove the table, if there is one. Raises NftError."""
    nft.apply(f"add table {TABLE}\ndelete table {TABLE}\n")

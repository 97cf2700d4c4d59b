"""What the table should look like, and whether it does. No I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf

from stunwall.config import Config
from stunwall.wall import listing, queue_rules, ruleset, state
from stunwall.wall.contents import CHECKSUM, checksum
from stunwall.wall.listing import Listing, normal

# The chains of the exceptions, and all that stunwalld fills, as in Listing.blocks.
EXCEPTIONS = ("chain allow_rules", "chain allow_programs")
FILLED = (*EXCEPTIONS, *(f"chain {name}" for name in queue_rules.CHAINS))
_OF_FILE = ("chain allow_rules", *(f"chain {name}" for name in queue_rules.chains(())))  # in stunwall.nft
_PAUSED = frozenset({"paused"})
_SLACK = 2  # seconds by which the kernel's clocks and ours may disagree about the end of a pause


@dataclass(frozen=True, slots=True)
class Filled:
    """What belongs in the sets that stunwalld fills: their elements by name, None if unknown, and the pause.

    `pause_left`: the seconds until a pause ends. `pause_times_out`: those until its element times out, which stand
    still while the machine sleeps. Both are 0 or less if there is none.
    """

    elements: Mapping[str, Iterable[str]] | None
    pause_left: float = 0.0
    pause_times_out: float = -inf


def differences(expected: Listing, seen: Listing, filled: Filled, *, again: bool = False) -> list[str]:
    """Return what is not as expected, as listing.differences().

    With `again`, the file may have been loaded again, which adds its own ports to `guard_ports`.
    """
    elements: dict[str, frozenset[str]] = {}
    ignored = _PAUSED
    if filled.elements is None:
        ignored |= (
            frozenset(name.split()[-1] for name in expected.blocks)
            - ruleset.fixed_sets(ruleset.text()).keys()
        )
    else:
        elements = {name: frozenset(map(normal, some)) for name, some in filled.elements.items()}
        elements[CHECKSUM] = frozenset({f"{checksum(filled.elements):#010x}"})
    if again and "guard_ports" in elements:
        elements["guard_ports"] |= frozenset(map(str, Config().guard_ports))
    found = listing.differences(expected, seen, elements, ignored)
    if not _pause_fits(seen.elements.get("paused", ()), filled):
        found.append("set paused")
    return found


def loaded_again(expected: Listing) -> Listing:
    """Return the table as it is when stunwall.nft has been loaded again: without its queue rules and exceptions."""
    return replace(expected, blocks={**expected.blocks, **dict.fromkeys(_OF_FILE, ())})


def _pause_fits(elements: tuple[str, ...], filled: Filled) -> bool:
    """Whether the set `paused` has the element of the pause, and no other."""
    ends = [state.expires(element) for element in elements]
    if filled.pause_left > _SLACK and not ends:
        return False
    # An element without a time-out, or a second one, is never ours.
    return len(ends) <= 1 and all(0 < end <= filled.pause_times_out + _SLACK for end in ends)

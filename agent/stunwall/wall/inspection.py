"""Looks at the table without the daemon, which knows what it put there: is the table as it should be?"""

import ctypes
import json
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

from stunwall.config import Config
from stunwall.wall import listing, queue_rules, reference, ruleset, second_lock, state, table
from stunwall.wall.child import in_child
from stunwall.wall.contents import CHECKSUM, TABLE, Contents, checksum, elements
from stunwall.wall.listing import Listing, normal
from stunwall.wall.nft import Nft, NftError
from stunwall.wall.state import Wall
from stunwall.wall.units import UnitWatch, living

_NEW_NETWORK = 0x40000000  # linux/sched.h: CLONE_NEWNET


@dataclass(frozen=True, slots=True)
class Inspection:
    """The table as loaded, and what is not as it should be.

    `complete` is false if only the comments of the rules could be compared, since this process may not make a network
    namespace. `second_lock` is what is loaded of it, None without it.
    """

    wall: Wall
    differences: tuple[str, ...]
    complete: bool
    second_lock: Wall | None = None

    @property
    def intact(self) -> bool:
        """Whether everything that was compared is as it should be."""
        return not self.differences


def inspect(settings: Config) -> Inspection | None:
    """Compare the table with the file and the configuration, None if there is no table. Raises NftError.

    What should be loaded is loaded in a network namespace of its own, and listed there.
    """
    with closing(Nft()) as nft:
        seen, second = state.read_listing(nft), second_lock.rules(nft)
    if seen is None:
        return None
    wall = state.wall(seen)
    try:
        expected = listing.parse(in_child(lambda: _made_anew(settings, seen)))
    except NftError:
        comments = tuple(_other_comments(wall, _contents(settings, seen)))
        return Inspection(wall, comments, complete=False, second_lock=second)
    differences = tuple(_differences(expected, seen, settings))
    return Inspection(wall, differences, complete=True, second_lock=second)


def read_ruleset() -> list[dict[str, Any]]:
    """Return the objects of every table, without the elements of sets (libnftables-json(5)). Raises NftError."""
    found: list[dict[str, Any]] = json.loads(in_child(_list_ruleset))
    return found


def _list_ruleset() -> str:
    with closing(Nft()) as nft:
        return json.dumps(nft.list_ruleset())


def _files(seen: Listing) -> Contents:
    """Return contents for which the table was made of these files. If all of one is gone, the checksum does not fit."""
    return Contents(
        frozenset(),
        frozenset(),
        redirect="set redirected4" in seen.blocks,
        vpn_down_allowed="chain remember_verdicts" in seen.blocks,
        bound_tcp="set carried" in seen.blocks,
    )


def _contents(settings: Config, seen: Listing) -> Contents:
    """Return contents that need the files of which the table was made, without what only the network tells."""
    asked = "chain ask_output" in seen.blocks  # not at boot
    allow = tuple(rule for rule in settings.allow if asked or not rule.by_program)
    return replace(_files(seen), guard_ports=settings.guard_ports, allow=allow)


def _made_anew(settings: Config, seen: Listing) -> str:
    """Load the table in a new network namespace, with the exceptions and the queue rules; return its listing."""
    if ctypes.CDLL(None).unshare(_NEW_NETWORK) != 0:
        raise NftError("this process may not make a network namespace")
    contents = _contents(settings, seen)
    with closing(UnitWatch()) as watch:
        cgroups = watch.find(contents.allow)
    with closing(Nft()) as nft:
        table.load(nft, replace(contents, cgroups=cgroups), settings.mark_mask)
        with suppress(NftError):  # without NFQUEUE here, stunwalld can't have put in queue rules either
            queue_rules.attach(nft, settings.queue, contents.additions)
        return nft.list_table(TABLE, handles=True) or ""


def _differences(expected: Listing, seen: Listing, settings: Config) -> Iterator[str]:
    """Yield what is not as expected. Queue rules or exceptions that are missing let nothing out."""
    for name in reference.FILLED:
        there = seen.blocks.get(name)
        if there is not None and _is_part(there, expected.blocks.get(name, ())):
            # The handle of a rule that nft cannot print is another one there.
            expected = replace(expected, blocks={**expected.blocks, name: there})
    filled = elements(_files(seen))
    ignored = frozenset({*filled, CHECKSUM, "paused"})
    yield from listing.differences(expected, seen, {}, ignored)
    elements_there = {name: [normal(each) for each in seen.elements.get(name, ())] for name in filled}
    default = Config().guard_ports
    # From the configuration, from the file, or from the file when it was loaded again.
    ports = (settings.guard_ports, default, settings.guard_ports | default)
    if set(elements_there["guard_ports"]) not in [set(map(str, each)) for each in ports]:
        yield "set guard_ports"
    summed = seen.elements.get(CHECKSUM, ())
    at_boot = not summed and not any(elements_there[name] for name in elements_there.keys() - {"guard_ports"})
    if not at_boot and summed != (f"{checksum(elements_there):#010x}",):
        yield "the elements of its sets"


def _is_part(rules: tuple[str, ...], known: tuple[str, ...]) -> bool:
    """Whether these are some of the known rules, in their order."""
    left = iter([listing.bare(rule) for rule in known])
    return all(listing.bare(rule) in left for rule in _living(rules))


def _living(rules: tuple[str, ...]) -> list[str]:
    """Return the rules without those about cgroups that have ended, in which nothing is."""
    numbered = (re.match(r"socket cgroupv2 level \d+ (\d+)", rule) for rule in rules)
    numbers = [int(match[1]) if match else None for match in numbered]
    there = living(number for number in numbers if number is not None)
    return [rule for rule, number in zip(rules, numbers, strict=True) if number is None or number in there]


def _other_comments(wall: Wall, contents: Contents) -> Iterator[str]:
    """Yield the chains whose rules do not have the comments of the file, in order."""
    filled = {name.removeprefix("chain ") for name in reference.FILLED}
    loaded = [(rule.chain, rule.comment) for rule in wall.rules if rule.chain not in filled]
    expected = ruleset.expected(ruleset.text(contents.additions))
    for chain in dict.fromkeys(chain for chain, _ in (*expected, *loaded)):
        if [each for each in loaded if each[0] == chain] != [each for each in expected if each[0] == chain]:
            yield f"chain {chain}"
    for name, lengths in ruleset.fixed_sets(ruleset.text()).items():
        if frozenset(wall.sets.get(name, ())) != lengths:
            yield f"set {name}"

"""The second lock in the kernel: a table of ours alone, which follows the interfaces as they come and go."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from stunwall.wall import egress, listing, requirements, ruleset, state
from stunwall.wall.egress import BaseChain, Egress
from stunwall.wall.nft import NOT_THERE, Nft, NftError, NftPermissionError
from stunwall.wall.state import Wall

# With `persist` (Linux 6.9, nft 1.1) the table stays when stunwalld ends without removing it; nft flush ruleset then
# removes it.
_FLAGS = ("owner, persist", "owner")
_REDIRECTED = ("redirected4", "redirected6")


@dataclass(frozen=True, slots=True)
class State:
    """What the kernel has of it.

    `state`: up, missing or unsupported. `interfaces`: the names of those that are locked. `dropped`: packets. `why`:
    what is wrong, "" if nothing.
    """

    state: str
    interfaces: tuple[str, ...] = ()
    dropped: int = 0
    why: str = ""


class SecondLock:
    """The table `netdev stunwall`, which the kernel removes when `nft` is closed, or nft removes.

    Args:
        problem: is called with what is wrong, and with "" once nothing is. A kernel without the second lock is no
            problem, since the first lock holds.
    """

    def __init__(self, nft: Nft, mask: int, problem: Callable[[str], None]) -> None:
        self.unsupported = ""
        """What the kernel lacks, "" if nothing."""
        self.failing = False
        """Whether `follow` is to be called again although the network has not changed."""
        self.held = False
        """Whether it was whole until `follow` last listed it: on every way out that there was by then."""
        self._nft = nft
        self._mask = mask
        self._problem = problem
        self._made: Egress | None = None  # what is in the table, None without one
        self._why = "it has not been put up yet"

    def follow(self, wanted: Egress, gone: Collection[int] | None = None) -> None:
        """Make the table if there is none of ours, and bring it in step with the network.

        Args:
            wanted: what belongs in it.
            gone: the indexes of the links that have gone since the last call; the kernel has removed their chains, also
                if another link has the index now. None if they are not known: then the chains are listed.
        """
        if self.unsupported or (not self.failing and gone is not None and not gone and wanted == self._made):
            return
        listed = gone is None or self.failing or self._made is None
        before = {} if self.failing or self._why or self._made is None else self._made.chains
        self.held = self.failing = False
        self._why = _unlocked(wanted.unnameable)
        complaint = ""
        try:
            there = self._list(wanted) if listed else self._known(gone or ())
            self.held = bool(before) and _covers(before, there, wanted)
            self._step(wanted, there)
        except NftError as error:
            complaint = self._why = self.unsupported or str(error)
            self.failing = not self.unsupported
        self._problem(f"the second lock is not complete: {complaint}" if self.failing and complaint else "")

    def _list(self, wanted: Egress) -> dict[str, str]:
        """Return the device of each base chain that is there; without a table of ours, make it. Raises NftError."""
        there = self._nft.list_chains("netdev")
        if self._made is None or not egress.is_in(there):
            self._make(wanted)
            return {}
        return egress.base_chains(there)

    def _known(self, gone: Collection[int]) -> dict[str, str]:
        """Return the device of each base chain, "" if it is gone: nobody else can change the table."""
        chains = {} if self._made is None else self._made.chains
        return {
            name: "" if int(name.rpartition("_")[2]) in gone else chain.device
            for name, chain in chains.items()
        }

    def state(self) -> State:
        """Return what the kernel has of it. Raises NftError."""
        if self.unsupported:
            return State("unsupported", why=self.unsupported)
        found = rules(self._nft)
        if found is None or self._made is None:
            return State("missing", why=self._why)
        dropped = sum(rule.packets or 0 for rule in found.rules if rule.comment.startswith("dropped:"))
        chains = egress.base_chains(self._nft.list_chains("netdev"))
        devices = {device for chain, device in chains.items() if chain.startswith("egress_")}
        return State("up", tuple(sorted(devices)), dropped, self._why)

    def _make(self, wanted: Egress) -> None:
        """Replace the table, whoever made it, by one of our own. Raises NftError."""
        text = self._nft.list_table(egress.TABLE)
        # Not which one: nft looks for its name in the folder /proc, which it may not list here (nft.py).
        if text is not None and re.match(r"table .* \{ # progname ", text):
            raise NftError(f"another program owns a table {egress.TABLE}: end that program")
        delete = "" if text is None else f"delete table {egress.TABLE}\n"
        before = listing.parse(text or "")
        kept = {name: before.elements.get(name, ()) for name in _REDIRECTED}
        complaint = self._load(delete, wanted, kept) and self._load(delete, wanted, {})
        if complaint is not None:
            self.unsupported = requirements.missing_for_second_lock(self._nft.refused) or ""
            raise complaint
        self._made = replace(wanted, out={}, vpn={}, carried={})

    def _load(self, delete: str, wanted: Egress, kept: Mapping[str, Iterable[str]]) -> NftError | None:
        """Load the table with the best flags that nft and the kernel know; return why none would do."""
        complaint = None
        for flags in _FLAGS:
            text = egress.table(ruleset.second_lock(), ruleset.text(), self._mask, flags, kept)
            try:
                self._nft.apply(delete + text + egress.fill(wanted, None))
            except NftPermissionError:
                raise
            except NftError as error:
                complaint = error
            else:
                return None
        return complaint

    def _step(self, wanted: Egress, there: Mapping[str, str]) -> None:
        """Bring the contents and the base chains, of which `there` exist, in step. Raises NftError."""
        if text := egress.fill(wanted, self._made):
            self._nft.apply(text)
        changes = egress.changes(wanted, there, self._made)
        try:
            if changes:
                self._nft.apply("".join(changes))
        except NftError:
            self._each(changes)
        if not self.failing:
            self._made = wanted

    def _each(self, changes: Iterable[str]) -> None:
        """Make each change by itself, so that an interface that is gone is in the way of no other. Raises NftError."""
        complaint = None
        for text in changes:
            try:
                self._nft.apply(text)
            except NftError as error:
                # A notification that the interface is gone, or has another name, is on its way.
                self.failing = True
                complaint = complaint if NOT_THERE in str(error) else error
        if complaint is not None:
            raise complaint


def _covers(before: Mapping[str, BaseChain], there: Mapping[str, str], wanted: Egress) -> bool:
    """Return whether every way out had its chain already, and the kernel has it."""
    return not wanted.unnameable and all(
        before.get(name) == chain and there.get(name) == chain.device
        for name, chain in wanted.chains.items()
        if name.startswith("egress_")
    )


def _unlocked(names: Iterable[str]) -> str:
    quoted = ", ".join(map(repr, names))
    return f"nft has no words for the name of {quoted}: rename it" if quoted else ""


def rules(nft: Nft) -> Wall | None:
    """Return its rules and counters as loaded, without the elements of its sets, None without it. Raises NftError."""
    text = nft.list_table(egress.TABLE, terse=True)
    found = listing.parse(text or "")
    # Another program's table of that name has other chains.
    return state.wall(found) if "chain out" in found.blocks else None


def remove(nft: Nft) -> None:
    """Remove the table, if there is one. Raises NftError."""
    if nft.list_table(egress.TABLE, terse=True) is not None:
        nft.apply(f"delete table {egress.TABLE}\n")

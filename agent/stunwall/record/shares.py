"""How many rows of the record a sender gets: beyond its share, one row stands for all of its other flows. No I/O."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from stunwall.model import Event, Sender

Key = tuple[Hashable, ...]

# Rows at once: more flows than a call opens. Then rows a second, so that no sender can push another's rows out of the
# record: at one in 3 s it takes a million rows, the default of keep_rows, more than the 30 days of keep_days.
BURST, RATE = 100.0, 1 / 3
# What all cgroups of a user get together, and all machines behind an interface: both can make up as many senders as
# they like. A million rows take 17 days.
GROUP_BURST, GROUP_RATE = 10 * BURST, 2 * RATE
# Of these, so many are for aggregates: once no more are left, a sender gets one of them a minute, and no row a flow. So
# 200 clients of a gateway, each with two addresses, are in the record under their own, even if all ask at once.
RESERVED = GROUP_BURST / 2
# Senders of the last minutes that are told apart, some 500 bytes each; more of them get no rows of their own.
SENDERS = 2000
WINDOW = 60.0  # seconds: packets of a flow within it are one event
# Flows of an aggregate that are told apart, some 300 bytes each; it stands for at least so many.
FLOWS = 2000


class Row(NamedTuple):
    """A row of the record, by its key. Of an aggregate: how many flows a packet adds, and the source of all of them."""

    key: Key
    flows: int = 0
    source: str | None = None

    def of(self, event: Event) -> Event:
        """Return the row's event, by the event of its first packet."""
        if self.source is None:
            return event
        return replace(
            event, source=self.source, source_port=0, destination="", destination_port=0, flows=self.flows
        )


@dataclass(slots=True)
class _Share:
    left: float
    time: float
    since: float  # when counting flows began
    flows: set[Key] = field(default_factory=set)


class Shares:
    """What each sender has left. Times are Unix seconds; a clock that is set back gives nothing."""

    def __init__(self) -> None:
        self._shares = _Table(BURST, RATE)
        self._groups = _Table(GROUP_BURST, GROUP_RATE)

    def row(self, key: Key, event: Event, sender: Sender | None, *, full: bool = False) -> Row:
        """Return the row that a new flow belongs to: its own, or an aggregate's.

        Args:
            key: the flow's.
            event: its first packet's, or another one's if the flow is part of an aggregate.
            sender: whose packet it is, None for a forwarded one and where that is not known.
            full: whether there is no room for a row of its own.
        """
        known = sender is not None
        group: Hashable = ("user", sender.uid) if sender is not None else ("interface", event.incoming)
        origin: Hashable = (event.incoming, event.source) if sender is None else (sender.uid, sender.cgroup)
        everyone = self._groups.share(group, event.time)
        if everyone is None:
            group, everyone = "everyone", self._groups.common(event.time)
        # Looked up only if the group has a row left: so made-up senders cannot fill the table.
        told_apart = everyone.left >= 1 or origin in self._shares
        share = self._shares.share(origin, event.time) if told_apart else None
        if share is None:
            return _aggregate(key, event, everyone, group, "")
        if share.left < 1 or full or everyone.left < RESERVED:
            if not _paid(event, share, everyone):
                return _aggregate(key, event, everyone, group, "")
            return _aggregate(key, event, share, origin, "" if known else event.source)
        share.left -= 1
        everyone.left -= 1
        return Row(key)


def _aggregate(key: Key, event: Event, share: _Share, whose: Hashable, source: str) -> Row:
    flows = 0
    if len(share.flows) < FLOWS and key not in share.flows:
        share.flows.add(key)
        flows = 1
    return Row(("aggregate", whose, *_about(event)), flows, source)


def _about(event: Event) -> Key:
    """Return what all flows of an aggregate have in common."""
    return event.interface, event.family, event.transport, event.protocol, event.verdict, event.reason


def _paid(event: Event, share: _Share, group: _Share) -> bool:
    """Whether a sender has an aggregate for this event in this minute, or its group has one left for it."""
    row = ("aggregate", *_about(event))
    if row not in share.flows:
        if group.left < 1:
            return False
        group.left -= 1
        share.flows.add(row)
    return True


class _Table:
    """The shares of some kind of sender."""

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._shares: dict[Hashable, _Share] = {}
        self._common = _Share(burst, 0.0, 0.0)

    def __len__(self) -> int:
        return len(self._shares)

    def __contains__(self, origin: Hashable) -> bool:
        return origin in self._shares

    def share(self, origin: Hashable, now: float) -> _Share | None:
        """Return a sender's share at this time, None if too many senders have one."""
        share = self._shares.get(origin)
        if share is None:
            if len(self._shares) >= SENDERS:
                self._forget(now)
            if len(self._shares) >= SENDERS:
                return None
            share = self._shares.setdefault(origin, _Share(self._burst, now, now))
        return self._refilled(share, now)

    def common(self, now: float) -> _Share:
        """Return the share of all senders that have none."""
        return self._refilled(self._common, now)

    def _refilled(self, share: _Share, now: float) -> _Share:
        share.left = min(self._burst, share.left + max(0.0, now - share.time) * self._rate)
        share.time = now
        if not 0 <= now - share.since < WINDOW:
            share.since = now
            share.flows.clear()
        return share

    def _forget(self, now: float) -> None:
        """Forget who has its whole share again."""
        self._shares = {
            origin: share
            for origin, share in self._shares.items()
            if share.left + max(0.0, now - share.time) * self._rate < self._burst
        }

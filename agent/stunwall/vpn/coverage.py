"""How much of the Internet routes lead to. No I/O.

An interface may have a hundred thousand routes, as VPN clients make them for what is to go through the VPN, or not. So
what they hold together is not counted anew at every change: a few wide ones decide, and the narrow ones are counted
only if they could tip the scales.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

Block = tuple[int, int]
"""A network: its first address, and the length of its prefix."""

_BITS = {4: 32, 6: 128}
# RFC 4291 §2.4: 2000::/3 has all of the Internet's unicast IPv6 addresses so far; OpenVPN's `redirect-gateway ipv6` and
# others route just this instead of ::/0.
_INTERNET: dict[int, Block] = {4: (0, 0), 6: (0x2000 << 112, 3)}
_WIDE = 16  # how much longer the prefix of a wide network is than the Internet's, at most


def covers(blocks: Iterable[Block], version: int) -> bool:
    """Whether the networks hold more than half of all public addresses.

    That is a default route, its halves 0.0.0.0/1 and 128.0.0.0/1, or the list of networks that VPN clients
    make when they leave the LAN or the VPN's server out.
    """
    return _count(blocks, version) > _half(version)


def _count(blocks: Iterable[Block], version: int) -> int:
    """Return how many public addresses the networks hold; where they overlap, each counts once."""
    bits = _BITS[version]
    lowest, length = _INTERNET[version]
    highest = lowest + (1 << bits - length)
    total, counted = 0, lowest
    for first, prefix in sorted(blocks):
        end = min(first + (1 << bits - prefix), highest)
        start = max(first, counted)
        if end > start:
            total += end - start
            counted = end
    return total


def _half(version: int) -> int:
    return 1 << _BITS[version] - _INTERNET[version][1] - 1


@dataclass(slots=True)
class Coverage:
    """What the routes of one table lead to by one interface: the wide ones, and the addresses of all others."""

    version: int
    wide: Counter[Block] = field(default_factory=Counter)
    narrow: int = 0
    """A network that several of them hold counts several times."""

    def add(self, block: Block, times: int = 1) -> None:
        """Add a network; -1 times takes it away."""
        _, length = block
        if length <= _INTERNET[self.version][1] + _WIDE:
            self.wide[block] += times
            if not self.wide[block]:
                del self.wide[block]
        else:
            self.narrow += times * (1 << _BITS[self.version] - length)


def cover(several: Iterable[Coverage], every: Iterable[Block], version: int) -> bool:
    """Whether they hold more than half of all public addresses together; `every` has all of their networks."""
    several = tuple(several)
    sure = _count({block for each in several for block in each.wide}, version)
    if sure > _half(version):
        return True
    return sure + sum(each.narrow for each in several) > _half(version) and covers(every, version)

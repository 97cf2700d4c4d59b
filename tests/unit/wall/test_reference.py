"""reference.py: what a pause has in the kernel, and what does not fit it."""

from math import inf

import pytest

from stunwall.wall import reference
from stunwall.wall.listing import Listing
from stunwall.wall.reference import Filled

BLOCKS = {"set paused": ("typeof meta time", "flags interval,timeout")}
PAUSE = '"2026-11-25 13:06:34"-"2026-11-25 13:07:35" timeout 60s expires 50s'


@pytest.mark.parametrize(
    ("elements", "left", "times_out", "fits"),
    [
        ((), 0, -inf, True),
        ((PAUSE,), 50, 50, True),
        ((PAUSE,), 30, 50, True),  # the machine slept
        ((PAUSE,), 0, -inf, False),
        ((PAUSE,), 50, 40, False),
        ((PAUSE, PAUSE), 50, 50, False),
        (("1-2222222222",), 50, 50, False),
        ((), 50, 50, False),
        ((), 1, 1, True),  # the kernel was faster
    ],
)
def test_the_element_of_the_pause_and_no_other_fits(
    elements: tuple[str, ...], left: float, times_out: float, fits: bool
) -> None:
    expected, seen = Listing(blocks=BLOCKS), Listing(blocks=BLOCKS, elements={"paused": elements})
    found = reference.differences(expected, seen, Filled({}, left, times_out))
    assert found == ([] if fits else ["set paused"])


def test_while_it_is_not_known_what_was_filled_in_only_the_rules_and_the_lengths_are_compared() -> None:
    blocks = {"set vpn": ("type ifname",), "set classic_lengths": ("typeof udp length . udp length",)}
    expected = Listing(blocks=blocks)
    seen = Listing(blocks=blocks, elements={"vpn": ('"eth0"',), "classic_lengths": ("9 . 9",)})
    assert reference.differences(expected, seen, Filled(None)) == ["set classic_lengths (has: 9 . 9)"]

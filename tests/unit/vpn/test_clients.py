"""clients.py: rules and marks as these clients really set them, each with its origin there."""

import pytest

from stunwall.vpn import clients
from stunwall.vpn.fib import Action, Rule

MOLE = 0x6D6F6C65


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("wg-quick", Rule(4, 32765, Action.TO_TABLE, 51820, invert=True, mark=51820, mask=0xFFFFFFFF)),
        ("wg-quick", Rule(4, 32763, Action.TO_TABLE, 51821, invert=True, mark=51821, mask=0xFFFFFFFF)),
        ("Mullvad", Rule(4, 32765, Action.TO_TABLE, MOLE, invert=True, mark=MOLE, mask=0xFFFFFFFF)),
        ("Tailscale", Rule(4, 5210, Action.TO_TABLE, 254, mark=0x80000, mask=0xFF0000)),
        ("Tailscale", Rule(4, 5270, Action.TO_TABLE, 52)),
        ("NetBird", Rule(4, 110, Action.TO_TABLE, 7120, invert=True, mark=0x1BD00, mask=0xFFFFFFFF)),
        ("sing-box", Rule(4, 9001, Action.TO_TABLE, 254, suppress=0)),
        ("sing-box", Rule(4, 9003, Action.TO_TABLE, 2022, incoming="lo")),
        ("strongSwan", Rule(4, 220, Action.TO_TABLE, 220)),
        ("", Rule(4, 100, Action.TO_TABLE, 254)),
        ("", Rule(4, 32766, Action.TO_TABLE, 254)),
    ],
)
def test_a_rule_is_known_by_its_table_priority_or_mark(name: str, rule: Rule) -> None:
    found = clients.of_rule(rule)
    assert (found.name if found is not None else "").startswith(name)
    assert (found is None) == (not name)


def test_a_mark_is_known_exactly() -> None:
    for mark, name in ((51820, "wg-quick"), (MOLE, "Mullvad"), (0x80000, "Tailscale"), (0x1BD00, "NetBird")):
        found = clients.of_mark(mark)
        assert found is not None
        assert found.name == name
    assert clients.of_mark(0) is None
    assert clients.of_mark(MOLE + 1) is None

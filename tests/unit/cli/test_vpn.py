"""cli/vpn.py: which interfaces are the VPN."""

import json
from typing import Any

import pytest

from unit.cli.command import Daemon, Result, Stunwall
from unit.status import STATUS


def test_vpn_lists_every_interface_and_why(stunwall: Stunwall, served: Daemon) -> None:
    result = stunwall("vpn")
    assert result == Result(0, "wg0   VPN: a wireguard interface\neth0  no: a network card\n", "")
    assert json.loads(stunwall("vpn", "--json").out) == STATUS["interfaces"]
    assert served.asked == [{"command": "status"}] * 2


@pytest.mark.parametrize("interfaces", [[], STATUS["interfaces"][1:]])
def test_vpn_says_how_to_name_one_if_none_counts(
    stunwall: Stunwall, daemon: dict[str, Any], interfaces: list[dict[str, Any]]
) -> None:
    daemon["interfaces"] = interfaces
    result = stunwall("vpn")
    assert result.code == 0
    assert 'None counts. If your VPN is up, name its interface: interfaces = ["NAME"]' in result.out

"""cli/vpn.py: which interfaces are the VPN."""

import json
from typing import Any

import pytest

from unit.cli.command import Daemon, Result, Stunwall
from unit.status import STATUS

LOOPBACK = {"interface": "lo", "kind": "", "counts": False, "why": "the loopback interface", "inside": False}


def test_every_interface_is_listed_with_the_reason(stunwall: Stunwall, served: Daemon) -> None:
    served.reply = STATUS | {"interfaces": [LOOPBACK, *STATUS["interfaces"]]}
    result = stunwall("vpn")
    listed = (
        "lo     local: the loopback interface\n"
        "wg0    VPN: a wireguard interface\n"
        "eth0   outside: a network card\n"
        "veth0  inside: a veth interface\n"
        "veth1  inside: a veth interface\n"
    )
    assert result == Result(0, listed, "")
    assert json.loads(stunwall("vpn", "--json").out) == served.reply["interfaces"]
    assert served.asked == [{"command": "status"}] * 2


@pytest.mark.parametrize("interfaces", [[], STATUS["interfaces"][1:]])
def test_if_none_counts_the_user_learns_how_to_name_one(
    stunwall: Stunwall, daemon: dict[str, Any], interfaces: list[dict[str, Any]]
) -> None:
    daemon["interfaces"] = interfaces
    result = stunwall("vpn")
    assert result.code == 0
    assert "No interface counts as the VPN. If yours is up, name its interface" in result.out
    assert 'interfaces = ["NAME"]' in result.out

"""cli/allow.py: `stunwall allow add`, `list` and `remove`."""

import json
from typing import Any

import pytest

from stunwall.wall import state
from stunwall.wall.nft import Nft, NftPermissionError
from stunwall.wall.state import Rule, Wall
from unit.cli.command import Daemon, Result, Stunwall

EXCEPTIONS: list[dict[str, Any]] = [
    {"unit": "tailscaled.service", "why": "Tailscale finds its peers by STUN"},
    {"to": "10.20.0.0/16", "port": 3478, "protocol": "udp", "why": "the office's bridge"},
]
LISTED = (
    "1   unit tailscaled.service: Tailscale finds its peers by STUN\n"
    "2   to 10.20.0.0/16, port 3478, protocol udp: the office's bridge\n"
)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ("--unit a.service", {"unit": "a.service"}),
        ("--to 10.0.0.0/8 --port 1 --protocol udp", {"to": "10.0.0.0/8", "port": 1, "protocol": "udp"}),
        ("--user 1000 --interface eth0", {"user": 1000, "interface": "eth0"}),
        ("--from 172.17.0.2 --source-port 10000", {"from": "172.17.0.2", "source_port": 10000}),
        ("--user alice", {"user": "alice"}),
        ("--port -1", {"port": -1}),
    ],
)
def test_allow_add_sends_the_given_options_and_lists_all_exceptions(
    stunwall: Stunwall, served: Daemon, arguments: str, rule: dict[str, Any]
) -> None:
    served.reply = {"allow": EXCEPTIONS}
    assert stunwall("allow", "add", *arguments.split(), "--why", 'a "test"') == Result(0, LISTED, "")
    assert served.asked == [{"command": "allow-add", "rule": rule | {"why": 'a "test"'}}]


def test_allow_list_and_remove_number_the_exceptions(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "read", _not_permitted)
    served.reply = {"allow": EXCEPTIONS}
    assert stunwall("allow", "list") == Result(0, LISTED, "")
    assert stunwall("allow", "remove", "2") == Result(0, LISTED, "")
    assert served.asked == [{"command": "allow-list"}, {"command": "allow-remove", "number": 2}]
    numbered = {"allow": [{"number": n} | rule for n, rule in enumerate(EXCEPTIONS, 1)]}
    assert json.loads(stunwall("allow", "list", "--json").out) == numbered
    assert json.loads(stunwall("allow", "remove", "2", "--json").out) == numbered
    served.reply = {"allow": []}
    assert stunwall("allow", "list").out == "There are no exceptions.\n"
    assert json.loads(stunwall("allow", "list", "--json").out) == {"allow": []}


def _not_permitted(nft: Nft) -> None:
    raise NftPermissionError("permission denied")


def test_allow_list_counts_packets_if_it_can_read_the_rules(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = (
        Rule("allow_programs", "allow 1", 1, 100),
        Rule("allow_rules", "allow 2", 1234, 9999),
        Rule("may_leave", "allow_lan, IPv4", 7, 7),
    )
    monkeypatch.setattr(state, "read", lambda nft: Wall(rules, {}, {}, None))
    served.reply = {"allow": EXCEPTIONS}
    out = stunwall("allow", "list").out
    assert "by STUN (1 packet allowed) 2 to" in " ".join(out.split())
    assert "bridge (1,234 packets allowed)" in " ".join(out.split())
    packets = [rule["packets"] for rule in json.loads(stunwall("allow", "list", "--json").out)["allow"]]
    assert packets == [1, 1234]
    monkeypatch.setattr(state, "read", lambda nft: None)
    assert stunwall("allow", "list").out == LISTED

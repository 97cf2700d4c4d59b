"""cli/allow.py: `stunwall allow add`, `list` and `remove`."""

import json
import os
import re
from types import SimpleNamespace
from typing import Any

import pytest

from stunwall.cli import allow, options
from stunwall.text import date_time
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
        ("--user alice --app an.App", {"user": "alice", "app": "an.App"}),
    ],
)
def test_allow_add_sends_the_given_options_and_lists_all_exceptions(
    stunwall: Stunwall, served: Daemon, arguments: str, rule: dict[str, Any]
) -> None:
    served.reply = {"allow": EXCEPTIONS}
    assert stunwall("allow", "add", *arguments.split(), "--why", 'a "test"') == Result(0, LISTED, "")
    assert served.asked == [{"command": "allow-add", "rule": rule | {"why": 'a "test"'}}]


@pytest.mark.parametrize(
    ("sudo", "uid", "user"),
    [("1000", 0, 1000), ("", 1000, 1000), ("", 0, None), ("0", 1000, None), ("x", 0, None)],
)
def test_an_application_is_that_of_the_user_who_asks(
    stunwall: Stunwall,
    served: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    sudo: str,
    uid: int,
    user: int | None,
) -> None:
    monkeypatch.setenv("SUDO_UID", sudo)
    monkeypatch.setattr(os, "getuid", lambda: uid)
    served.reply = {"allow": EXCEPTIONS}
    assert stunwall("allow", "add", "--app", "an.App", "--why", "w").code == 0
    rule = {"app": "an.App", "why": "w"} | ({"user": user} if user else {})
    assert served.asked == [{"command": "allow-add", "rule": rule}]


def test_an_exception_that_applies_to_nothing_is_told(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "read", _not_permitted)
    rules = [
        {"unit": "a.service", "why": "w"},
        {"user": 1000, "unit": "a.service", "why": "w"},
        {"unit": "a.slice/b.scope", "why": "w"},
        {"user": 1000, "app": "an.App", "why": "w"},
        {"unit": "b.service", "why": "w"},
        {"port": 1, "why": "w"},
    ]
    cgroups = [[], [], [], [], ["system.slice/b.service"], None]
    served.reply = {"allow": rules, "cgroups": cgroups}
    lines = " ".join(stunwall("allow", "list").out.split())
    assert (
        "w (not found: the system runs no such unit; for a unit of a user, give `user`, too) 2 user" in lines
    )
    assert "w (not found: neither the system nor user 1000 runs such a unit) 3" in lines
    assert "w (not found: there is no such cgroup) 4" in lines
    assert "w (not found: user 1000 runs no application of this ID in a unit of its own) 5" in lines
    assert lines.endswith("5 unit b.service: w 6 port 1: w")
    printed = json.loads(stunwall("allow", "list", "--json").out)["allow"]
    assert [rule.get("cgroups") for rule in printed] == cgroups


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


def test_allow_remove_takes_the_name_of_a_preset(stunwall: Stunwall, served: Daemon) -> None:
    served.reply = {"allow": EXCEPTIONS}
    assert stunwall("allow", "remove", "tailscale") == Result(0, LISTED, "")
    assert served.asked == [{"command": "allow-remove", "preset": "tailscale"}]
    for name in ("Tailscale", "a b", "1x", "٣", ""):
        result = stunwall("allow", "remove", name)
        assert (result.code, result.out) == (2, "")
        assert "expected the number of an exception, or the name of a preset" in " ".join(result.err.split())
    assert len(served.asked) == 1


def test_the_preset_of_an_exception_is_listed(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "read", _not_permitted)
    served.reply = {"allow": [{"port": 1, "unit": "a.service", "preset": "a", "why": "w"}]}
    assert stunwall("allow", "list").out == "1   port 1, unit a.service, preset a: w\n"


def _not_permitted(nft: Nft) -> None:
    raise NftPermissionError("permission denied")


def test_allow_list_counts_packets_if_it_can_read_the_rules(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = (
        Rule("allow_programs", "allow 1", 1, 100),
        Rule("allow_programs", "allow 2", 1000, 9000),
        Rule("allow_programs", "allow 2", 234, 999),
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


def test_an_exception_for_a_time_ends_then(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (allow, options):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 1000.5))
    monkeypatch.setattr(state, "read", _not_permitted)
    rules = [{"port": 1, "until": 1000 + left, "why": "w"} for left in (59, 61, 3660, 0)]
    served.reply = {"allow": rules}
    out = stunwall("allow", "add", "--port", "1", "--why", "w", "--for", "1h").out
    assert served.asked == [{"command": "allow-add", "rule": {"port": 1, "until": 4600, "why": "w"}}]
    lines = " ".join(out.split())
    end = re.escape(date_time(1059))
    assert re.match(rf"1 port 1: w \(ends {end}, less than a minute left\) 2", lines)
    assert re.search(
        r"2 port 1: w \(ends [^,]*, 1 min left\) 3 port 1: w \(ends [^,]*, 1 h 0 min left\)", lines
    )
    assert lines.endswith(f"4 port 1: w (ended {date_time(1000)})")
    printed = json.loads(stunwall("allow", "list", "--json").out)["allow"]
    assert [rule["until"] for rule in printed] == [rule["until"] for rule in rules]


@pytest.mark.parametrize("length", ["1", "h", "-1h", "1d", "1.5h", "", "٣h"])
def test_a_strange_length_is_refused(stunwall: Stunwall, served: Daemon, length: str) -> None:
    result = stunwall("allow", "add", "--port", "1", "--why", "w", "--for", length)
    assert result.code == 2
    assert "90s, 30m or 2h" in result.err
    assert served.asked == []

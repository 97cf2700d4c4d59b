"""cli/status.py: what `stunwall status` prints while a daemon answers on a real socket."""

import ast
import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from stunwall.daemon.proofs import Proofs
from stunwall.doctor import relay
from stunwall.doctor.relay import Relay
from stunwall.record.schema import FILE
from unit.cli.command import AGENT, HOSTILE, Stunwall
from unit.recorded import event, record
from unit.status import STATUS


def test_the_fake_daemon_answers_with_the_keys_of_the_real_one() -> None:
    source = ast.parse((AGENT / "stunwall" / "daemon" / "status.py").read_text())
    functions = (node for node in ast.walk(source) if isinstance(node, ast.FunctionDef))
    answers = [node for node in functions if node.name in ("status", "_wall")]
    keys = {
        key.value
        for answer in answers
        for dictionary in ast.walk(answer)
        if isinstance(dictionary, ast.Dict)
        for key in dictionary.keys
        if isinstance(key, ast.Constant)
    }
    assert keys - {"wall_error", "queued"} | {"proof"} == set(STATUS)
    told = Proofs(lambda: 1).told({}, 0)
    assert told["proof"].keys() == STATUS["proof"].keys()


@pytest.mark.parametrize(
    ("changes", "code", "state"),
    [
        ({}, 0, "protected"),
        ({"state": "sealed", "interfaces": []}, 0, "sealed"),
        ({"state": "degraded", "problems": ["the disk is full"]}, 0, "degraded"),
        ({"state": "leaking"}, 1, "leaking"),
        ({"state": "open", "interfaces": []}, 1, "open"),
        ({"state": "paused", "paused_until": 2e9}, 1, "paused"),
        ({"state": "paused", "paused_until": 2e9, "wall": "down"}, 1, "down"),
        ({"wall": "down"}, 1, "down"),
        ({"wall": "damaged"}, 1, "down"),
        ({"state": "sealed", "wall": "unknown"}, 1, "down"),
    ],
)
def test_the_exit_code_is_0_only_while_no_stun_can_leak(
    stunwall: Stunwall, daemon: dict[str, Any], changes: dict[str, Any], code: int, state: str
) -> None:
    daemon |= changes
    result = stunwall("status")
    assert (result.code, result.err) == (code, "")
    assert result.out.startswith(f"{state.upper()}: ")
    assert all(problem in result.out for problem in daemon["problems"])
    printed = stunwall("status", "--json")
    assert printed.code == code
    values = json.loads(printed.out)
    assert (values["state"], values["leak_possible"]) == (state, bool(code))
    assert [vpn["interface"] for vpn in values["vpn"]] == (["wg0"] if daemon["interfaces"] else [])


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, {"text": "STUN protected", "alt": "protected", "class": "sealed"}),
        ({"state": "paused"}, {"text": "STUN paused", "alt": "paused", "class": "leak"}),
    ],
)
def test_a_status_bar_gets_one_line_and_no_failure(
    folder: Path,
    stunwall: Stunwall,
    daemon: dict[str, Any],
    changes: dict[str, Any],
    shown: dict[str, str],
) -> None:
    record(folder, event())
    daemon |= changes | {"problems": ["<b>&\x1b[2J"]}
    result = stunwall("status", "--waybar")
    assert (result.code, result.err, result.out.count("\n")) == (0, "", 1)
    values = json.loads(result.out)
    tooltip = values.pop("tooltip").splitlines()
    assert values == shown
    assert tooltip[0] in stunwall("status").out
    assert tooltip[1] == "1 flow blocked today"
    assert tooltip[2] == "Proved: 12 minutes ago, 14 of 14 tests sealed"
    assert tooltip[-1] == "Problem: &lt;b&gt;&amp;?[2J"


def test_without_a_vpn_it_says_why_an_interface_of_such_a_kind_does_not_count(
    stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    clat = {"interface": "clat", "kind": "tun", "counts": False, "why": "as a CLAT has it", "inside": False}
    tap = {"interface": "vnet0", "kind": "tun", "counts": False, "why": "a tap device", "inside": True}
    assert "Not counted" not in stunwall("status").out
    daemon |= {"state": "sealed", "interfaces": [clat, tap]}
    assert re.findall("^Not counted +(.*)$", stunwall("status").out, re.M) == ["clat: as a CLAT has it"]
    daemon["interfaces"] = [clat, clat | {"interface": "wg0", "kind": "wireguard", "counts": True}]
    assert "Not counted" not in stunwall("status").out


def test_interfaces_to_machines_behind_this_one_are_listed_by_their_reason(
    stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    assert re.search("^Inside +veth0, veth1: a veth interface$", stunwall("status").out, re.M)
    values = json.loads(stunwall("status", "--json").out)
    assert values["inside"] == [{"interface": name, "why": "a veth interface"} for name in ("veth0", "veth1")]
    old = ("interface", "kind", "counts", "why")  # what a daemon of version 0.1.0 answers
    daemon["interfaces"] = [{key: entry[key] for key in old} for entry in daemon["interfaces"]]
    assert "Inside" not in stunwall("status").out


def test_an_exception_that_applies_to_nothing_is_told(stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    daemon["allow"] = [
        {"port": 1, "why": "w"},
        {"unit": "a.service", "why": "w"},
        {"unit": "b.service", "why": "w"},
    ]
    daemon["cgroups"] = [None, [], ["system.slice/b.service"]]
    (line,) = re.findall("^Exception +(.*)", stunwall("status").out, re.M)
    assert line.startswith("2 applies to nothing now (not found: the system runs no such unit")
    assert stunwall("status").code == 0


def test_a_vpn_that_a_blocked_program_relays_is_a_problem(
    stunwall: Stunwall, daemon: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Relay("127.0.0.1:9000", "vk-turn-proxy", 812, 0, "system.slice/vk-turn.service")
    monkeypatch.setattr(relay, "find", lambda daemon, state_dir: [found])
    assert "vk-turn" not in stunwall("status").out
    monkeypatch.setattr(
        relay, "find", lambda daemon, state_dir: [replace(found, blocked=("203.0.113.7:3478",))]
    )
    problem = json.loads(stunwall("status", "--json").out)["problems"][0]
    assert "STUN to 203.0.113.7:3478. To allow it: sudo stunwall allow add --unit vk-turn.service" in problem


def test_flows_of_today_are_counted(folder: Path, stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    before = event(3, seen=midnight - 1)
    record(folder, event(1), event(1), event(2), before, replace(event(4), verdict="accepted"))
    record(folder, replace(event(5), verdict="redirected", reason="redirected"))
    shown = stunwall("status").out
    assert "2 flows (3 packets) today" in shown
    assert re.search("^Redirected +1 flow into the VPN today$", shown, re.M)
    assert json.loads(stunwall("status", "--json").out)["blocked_today"] == {
        "flows": 2,
        "packets": 3,
        "redirected": 1,
        "lost": 0,
    }


@pytest.mark.parametrize(("versions", "said"), [([4], "IPv6"), ([6], "IPv4"), ([4, 6], "")])
def test_an_ip_version_that_the_system_lacks_is_a_note(
    stunwall: Stunwall, daemon: dict[str, Any], versions: list[int], said: str
) -> None:
    daemon["ip_versions"] = versions
    found = re.findall(r"^Note +(IPv\d) is not available on this system", stunwall("status").out, re.M)
    assert found == ([said] if said else [])


def test_exposures_are_shown_with_the_server_and_the_address(
    stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    time = datetime(2026, 1, 2, 3, 4, 5).timestamp()
    daemon["exposures"] = [
        {"time": time, "address": "203.0.113.9", "server": "198.51.100.3"},
        {"time": time, "address": "", "server": "2001:db8::1"},
    ]
    result = stunwall("status")
    assert result.code == 0  # nothing can leak that is known
    said = re.sub(r"\s+", " ", result.out)
    assert re.search(
        r"Exposed 2026-01-02 03:04:05 \S+: the server 198.51.100.3 has seen 203.0.113.9 in", said
    )
    assert "the server 2001:db8::1 has seen this machine's address in" in said


def test_gaps_are_shown_with_the_program_and_the_duration(stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    start = datetime(2026, 1, 2, 3, 4, 5).timestamp()
    daemon["gaps"] = [
        {"start": start, "end": start + 0.0314, "who": "nft (pid 812)", "what": ["chain decide"]},
        {"start": start, "end": start + 2, "who": ""},
        {"start": start, "end": start + 3, "who": "nft (pid 9)", "second_lock_held": True},
    ]
    result = stunwall("status")
    assert result.code == 0  # it is intact again
    gaps = re.sub(r"\s+", " ", result.out)
    known = r"Gap 2026-01-02 03:04:05 \S+, for 0.031 s: nft \(pid 812\) changed the wall \(chain decide\)"
    assert re.search(known, gaps)
    assert "for 2.000 s: an unknown program changed the wall Gap" in gaps
    assert "for 3.000 s: nft (pid 9) changed the wall; the second lock held" in gaps


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"state": "up", "interfaces": ["eth0", "wlan0"], "dropped": 0, "why": ""}, "up on eth0, wlan0"),
        ({"state": "up", "interfaces": [], "dropped": 1, "why": ""}, "up on no interface, dropped 1 packet"),
        ({"state": "up", "interfaces": ["eth0"], "dropped": 0, "why": "not all"}, "up on eth0; not all"),
        ({"state": "missing", "interfaces": [], "dropped": 0, "why": "it is owned"}, "missing: it is owned"),
        ({}, None),
    ],
    ids=["up", "dropped", "in part", "missing", "an older daemon"],
)
def test_the_second_lock_is_shown_and_does_not_change_the_state(
    stunwall: Stunwall, daemon: dict[str, Any], said: dict[str, Any], line: str | None
) -> None:
    daemon["second_lock"] = said
    result = stunwall("status")
    assert result.code == 0
    found = re.search("^Second lock  (.*)$", result.out, re.M)
    assert (found[1] if found else None) == line
    assert json.loads(stunwall("status", "--json").out)["second_lock"] == (line or "")


def test_a_damaged_record_is_a_problem(folder: Path, stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    (folder / FILE).write_bytes(b"garbage" * 999)
    values = json.loads(stunwall("status", "--json").out)
    assert values["blocked_today"] is None
    assert "file is not a database" in values["problems"][0]


def test_no_name_of_an_interface_can_control_the_terminal(stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    daemon["problems"] = [HOSTILE]
    daemon["interfaces"] = [{"interface": HOSTILE, "kind": HOSTILE, "counts": True, "why": HOSTILE}]
    for arguments in (["status"], ["status", "--json"]):
        result = stunwall(*arguments)
        assert (result.code, result.err) == (0, "")
        assert "owned" in result.out
        assert all(line.isprintable() for line in result.out.split("\n"))


def test_a_daemon_that_answers_with_an_error_is_not_an_all_clear(
    stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    daemon.clear()
    daemon["error"] = "something"
    result = stunwall("status")
    assert result.code == 4
    assert result.out.startswith("UNKNOWN: ")


def test_a_pause_is_shown_with_its_end_and_how_to_end_it_early(
    stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    daemon |= {"state": "paused", "paused_until": datetime(2026, 1, 2, 3, 4, 5).timestamp()}
    result = stunwall("status")
    assert re.search(r"^Paused +until 2026-01-02 03:04:05 ", result.out, re.M)
    assert "`sudo stunwall resume`" in result.out
    daemon |= {"state": "protected", "paused_until": None}
    assert "Paused" not in stunwall("status").out

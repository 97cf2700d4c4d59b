"""cli/surroundings.py and cli/finding.py: what is found of others, and what programs print of them."""

from pathlib import Path
from typing import Any

import pytest

from stunwall.cli import finding
from stunwall.config import Config
from stunwall.firewall import FirewallError
from unit.made import NOBODY, NOTE, OK, OURS, PROBLEM, UNKNOWN, WARNING, Made, status
from vectors.rulesets import RULESETS

# queue


def queued(number: Any, table: str = "other") -> dict[str, Any]:
    expression = {"queue": {"num": number}}
    return {"rule": {"family": "inet", "table": table, "chain": "c", "expr": [expression]}}


@pytest.mark.parametrize(("port", "who"), [(OURS, "(pid {})"), (NOBODY, "the netlink port {}")])
@pytest.mark.parametrize("daemon", [None, status(pid=NOBODY - 1)], ids=["no daemon", "daemon"])
def test_another_reader_of_the_queue_is_a_problem(made: Made, daemon: Any, port: int, who: str) -> None:
    made.daemon, made.listeners = daemon, {4780: port}
    problem = made.one("queue", PROBLEM)
    assert problem.what.startswith("queue 4780 is read by ")
    assert problem.what.endswith(who.format(port))


@pytest.mark.parametrize("number", [4780, {"range": [4000, 5000]}])
def test_a_rule_of_another_that_uses_the_queue_is_a_problem(made: Made, number: Any) -> None:
    made.ruleset = [queued(number)]
    assert made.one("queue", PROBLEM).what == "table inet other, chain c sends packets to queue 4780 too"


@pytest.mark.parametrize("daemon", [None, status()], ids=["no daemon", "daemon"])
def test_other_queues_of_others_are_told_beside(made: Made, daemon: Any) -> None:
    made.daemon, made.listeners = daemon, {4780: OURS} if daemon else {}
    made.ruleset = [queued(1), queued(0), queued(4780, "stunwall")]
    assert made.one("queue", OK).what == "4780 is stunwall's alone; others use 0, 1"


def test_a_reader_is_told_though_the_rules_cannot_be_read(made: Made) -> None:
    made.listeners, made.ruleset = {4780: NOBODY}, FirewallError("nft failed")
    found = made.find("queue")
    assert found.keys() == {PROBLEM, UNKNOWN}


# marks


def marking(value: int) -> dict[str, Any]:
    expression = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": value}}
    return {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [expression]}}


def test_who_uses_the_bits_in_rules_and_in_routing_is_warned_of_once_each(made: Made) -> None:
    made.ruleset = [marking(0x10000000), marking(0x10000000), marking(0xCA6C)]
    made.printed["ip -6 -j rule"] = '[{"priority": 7, "fwmark": "0x80000000", "table": "9"}]'
    found = made.find("marks")
    assert found.keys() == {WARNING}
    assert [each.what for each in found[WARNING]] == [
        "table ip t, chain c uses mark 0x10000000",
        "ip rule, priority 7 uses mark 0x80000000",
    ]


def test_a_program_that_is_known_by_its_mark_is_named(made: Made) -> None:
    made.ruleset = [marking(0xCA6C)]
    machine = made.machine
    machine.settings = Config(mark_mask=0x4008)
    (warning,) = made.find("marks", machine)[WARNING]
    assert warning.what == "table ip t, chain c uses mark 0xca6c, as wg-quick does"


def test_marks_of_iptables_that_nft_does_not_show_are_a_note(made: Made) -> None:
    expression = {"xt": {"type": "target", "name": "MARK"}}
    rule = {"family": "ip", "table": "mangle", "chain": "OUTPUT", "expr": [expression]}
    made.ruleset = [{"rule": rule}]
    found = made.find("marks")
    assert found.keys() == {NOTE, OK}
    assert found[NOTE][0].what.endswith("in table ip mangle, chain OUTPUT")


@pytest.mark.parametrize("check", ["queue", "marks", "neighbours"])
def test_rules_that_an_old_nft_prints_as_text_are_passed_over(made: Made, check: str) -> None:
    # nft 1.0.2 to 1.0.5, src/json.c, stmt_print_json: what is from xtables is a string; a rule may have no expr.
    place = {"family": "ip", "table": "nat", "chain": "DOCKER"}
    made.ruleset = [{"rule": place | {"expr": ['xt match "queue"', {"accept": None}]}}, {"rule": place}]
    assert UNKNOWN not in made.find(check)


# neighbours


@pytest.mark.parametrize(
    ("ruleset", "interface", "name", "meaning"),
    [
        (RULESETS["docker"], "docker0", "Docker", "never redirected"),
        (RULESETS["firewalld"], "", "firewalld", "its reload leaves stunwall's table alone"),
        (RULESETS["ufw"], "", "ufw", "no rule of it can let out what stunwall drops"),
        ([{"table": {"family": "inet", "name": "opensnitch"}}], "", "OpenSnitch", "blocked all the same"),
        ([], "tailscale0", "Tailscale", "until an [[allow]] lets it"),
    ],
    ids=lambda value: value if isinstance(value, str) and value else "",
)
def test_a_neighbour_is_a_note_that_says_what_it_means(
    made: Made, tmp_path: Path, ruleset: Any, interface: str, name: str, meaning: str
) -> None:
    made.ruleset = ruleset
    if interface:
        (tmp_path / "net" / interface).touch()
    note = made.one("neighbours", NOTE)
    assert note.what.startswith(f"{name} is here (")
    assert meaning in note.why


def test_who_decides_on_another_queue_is_a_note(made: Made) -> None:
    made.listeners = {4780: OURS, 0: NOBODY}
    assert made.one("neighbours", NOTE).what.endswith(f"{NOBODY} decides on the packets in queue 0")


@pytest.mark.parametrize(
    ("text", "enabled", "systemd", "warned"),
    [
        ("#!/usr/sbin/nft -f\n\nflush ruleset\n", "enabled", True, True),
        ("table inet filter {\n}\n  flush  ruleset;\n", "enabled", True, True),
        ("# flush ruleset\nflush table inet filter\n", "enabled", True, False),
        ("flush ruleset\n", "disabled", True, False),
        ("flush ruleset\n", "enabled", False, False),
    ],
)
def test_a_nftables_conf_that_flushes_all_rules_is_a_warning_where_it_is_loaded(
    made: Made, tmp_path: Path, text: str, enabled: str, systemd: bool, warned: bool
) -> None:
    (tmp_path / "nftables.conf").write_text(text)
    made.printed["systemctl is-enabled nftables.service"] = f"{enabled}\n"
    if not systemd:
        made.systemd.rmdir()
    found = made.find("neighbours")
    assert found.keys() == ({WARNING} if warned else set())
    assert not warned or f"{tmp_path}/nftables.conf has `flush ruleset`" in found[WARNING][0].what


def test_programs_are_found_where_the_path_has_only_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "nftables" in finding.output("nft", "--version")


def test_what_a_program_prints_counts_whatever_its_exit_code(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho disabled\nexit 1\n")
    program.chmod(0o755)
    assert finding.output(str(program)) == "disabled\n"
    with pytest.raises(OSError):
        finding.output(str(tmp_path / "missing"))

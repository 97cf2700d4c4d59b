"""doctor/other_programs.py: other programs whose rules, queues or marks concern stunwall."""

from pathlib import Path
from typing import Any

import pytest

from stunwall.config import Config
from stunwall.wall.nft import NftError
from unit.fake_machine import NOBODY, NOTE, OK, OURS, PROBLEM, UNKNOWN, WARNING, FakeMachine, status
from unit.made_root import CHECKOUT
from vectors.rulesets import RULESETS

# queue


def queued(number: Any, table: str = "other") -> dict[str, Any]:
    expression = {"queue": {"num": number}}
    return {"rule": {"family": "inet", "table": table, "chain": "c", "expr": [expression]}}


@pytest.mark.parametrize(("port", "who"), [(OURS, "(pid {})"), (NOBODY, "a program with netlink port {}")])
@pytest.mark.parametrize("daemon", [None, status(pid=NOBODY - 1)], ids=["no daemon", "daemon"])
def test_another_program_that_reads_the_queue_is_a_problem(
    fake: FakeMachine, daemon: Any, port: int, who: str
) -> None:
    fake.daemon, fake.listeners = daemon, {4780: port}
    problem = fake.one("queue", PROBLEM)
    assert problem.what.startswith("queue 4780 is read by ")
    assert problem.what.endswith(who.format(port))


@pytest.mark.parametrize("number", [4780, {"range": [4000, 5000]}])
def test_a_rule_of_another_program_that_uses_the_queue_is_a_problem(fake: FakeMachine, number: Any) -> None:
    fake.ruleset = [queued(number)]
    assert fake.one("queue", PROBLEM).what == "table inet other, chain c also sends packets to queue 4780"


@pytest.mark.parametrize("daemon", [None, status()], ids=["no daemon", "daemon"])
def test_the_queues_of_other_programs_are_listed(fake: FakeMachine, daemon: Any) -> None:
    fake.daemon, fake.listeners = daemon, {4780: OURS} if daemon else {}
    fake.ruleset = [queued(1), queued(0), queued(4780, "stunwall")]
    assert fake.one("queue", OK).what == "only stunwall uses queue 4780; other programs use 0, 1"


@pytest.mark.parametrize("daemon", [None, status(pid=NOBODY)], ids=["no daemon", "another daemon"])
@pytest.mark.parametrize(
    "command", ["/usr/bin/python3\0-I\0/usr/sbin/stunwalld", "python\0-m\0stunwall.daemon"]
)
def test_a_stunwalld_that_does_not_answer_is_not_taken_for_another_program(
    fake: FakeMachine, tmp_path: Path, daemon: Any, command: str
) -> None:
    fake.daemon = daemon
    (tmp_path / "proc" / str(OURS) / "cmdline").write_bytes(command.encode() + b"\0--leave-wall\0")
    problem = fake.one("queue", PROBLEM)
    assert problem.what == f"stunwalld (pid {OURS}) reads queue 4780, but does not answer"
    assert "stop that program" not in problem.next


def test_the_queue_and_marks_in_effect_are_checked_rather_than_the_configured_ones(
    fake: FakeMachine,
) -> None:
    fake.daemon, fake.listeners = status(queue=4781, mark_mask=0x60000000), {4781: OURS}
    fake.ruleset = [queued(4780), marking(0x90000000)]
    assert fake.one("queue", OK).what == "only stunwall uses queue 4781; other programs use 4780"
    assert fake.one("marks", OK).what == "no other program uses bits of 0x60000000"


def test_an_iptables_queue_whose_number_nft_does_not_show_is_a_note(
    fake: FakeMachine,
) -> None:
    expression = {"xt": {"type": "target", "name": "NFQUEUE"}}
    fake.ruleset = [
        {"rule": {"family": "ip", "table": "mangle", "chain": "OUTPUT", "expr": [expression]}},
    ]
    assert "nft does not show: table ip mangle, chain OUTPUT" in fake.one("queue", NOTE).what


def test_a_program_that_reads_the_queue_is_reported_even_if_the_rules_cannot_be_read(
    fake: FakeMachine,
) -> None:
    fake.listeners, fake.ruleset = {4780: NOBODY}, NftError("nft failed")
    found = fake.find("queue")
    assert found.keys() == {PROBLEM, UNKNOWN}


# marks


def marking(value: int) -> dict[str, Any]:
    expression = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": value}}
    return {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [expression]}}


def test_each_use_of_the_mark_bits_in_rules_and_in_routing_is_one_warning(fake: FakeMachine) -> None:
    fake.ruleset = [marking(0x10000000), marking(0x10000000), marking(0xCA6C)]
    fake.printed["ip -6 -j rule"] = '[{"priority": 7, "fwmark": "0x80000000", "table": "9"}]'
    found = fake.find("marks")
    assert found.keys() == {WARNING}
    assert [each.what for each in found[WARNING]] == [
        "table ip t, chain c uses mark 0x10000000",
        "ip rule, priority 7 uses mark 0x80000000",
    ]


def test_a_program_that_is_recognised_by_its_mark_is_named(fake: FakeMachine) -> None:
    fake.ruleset = [marking(0xCA6C)]
    machine = fake.machine
    machine.settings, machine.daemon = Config(mark_mask=0x4008), None
    (warning,) = fake.find("marks", machine)[WARNING]
    assert warning.what == "table ip t, chain c uses mark 0xca6c (probably wg-quick)"


def test_iptables_marks_whose_values_nft_does_not_show_are_a_note(fake: FakeMachine) -> None:
    expression = {"xt": {"type": "target", "name": "MARK"}}
    rule = {"family": "ip", "table": "mangle", "chain": "OUTPUT", "expr": [expression]}
    fake.ruleset = [{"rule": rule}]
    assert fake.one("marks", NOTE).what.endswith("nft does not show: table ip mangle, chain OUTPUT")


@pytest.mark.parametrize("check", ["queue", "marks", "neighbours"])
def test_rules_that_an_old_nft_prints_as_text_are_ignored(fake: FakeMachine, check: str) -> None:
    # nft 1.0.2 to 1.0.5, src/json.c, stmt_print_json: anything from xtables is a string; a rule may have no expr.
    place = {"family": "ip", "table": "nat", "chain": "DOCKER"}
    fake.ruleset = [{"rule": place | {"expr": ['xt match "queue"', {"accept": None}]}}, {"rule": place}]
    assert UNKNOWN not in fake.find(check)


# neighbours


@pytest.mark.parametrize(
    ("ruleset", "interface", "name", "meaning"),
    [
        (RULESETS["docker"], "docker0", "Docker", "never redirected"),
        (RULESETS["firewalld"], "", "firewalld", "reloading it leaves stunwall's table alone"),
        (RULESETS["ufw"], "", "ufw", "none of its rules can let out what stunwall drops"),
        (RULESETS["opensnitch"], "", "OpenSnitch", "stunwall still blocks it"),
        ([], "tailscale0", "Tailscale", "unless an exception allows it"),
    ],
    ids=lambda value: value if isinstance(value, str) and value else "",
)
def test_another_program_is_a_note_that_says_what_it_means(
    fake: FakeMachine, tmp_path: Path, ruleset: Any, interface: str, name: str, meaning: str
) -> None:
    fake.ruleset = ruleset
    if interface:
        (tmp_path / "net" / interface).touch()
    note = fake.one("neighbours", NOTE)
    assert note.what.startswith(f"found {name} (")
    assert meaning in note.why
    assert note.next


def test_a_program_that_reads_another_queue_is_a_note(fake: FakeMachine) -> None:
    fake.listeners = {4780: OURS, 0: NOBODY}
    assert fake.one("neighbours", NOTE).what.endswith(f"{NOBODY} decides on packets in queue 0")


def test_opensnitch_is_recognised_by_the_name_of_its_daemon(fake: FakeMachine, tmp_path: Path) -> None:
    (tmp_path / "proc" / "77").mkdir(parents=True)
    (tmp_path / "proc" / "77" / "comm").write_text("opensnitchd\n")
    fake.listeners = {4780: OURS, 0: 77}
    note = fake.one("neighbours", NOTE)
    assert note.what == "opensnitchd (pid 77) decides on packets in queue 0"
    assert "asks you about a connection" in note.why
    assert "stunwall allow add" in note.next


@pytest.mark.parametrize(("content", "noted"), [("nat\nfilter\n", True), ("", False)])
def test_rules_of_iptables_legacy_are_a_note(
    fake: FakeMachine, tmp_path: Path, content: str, noted: bool
) -> None:
    (tmp_path / "proc" / "net").mkdir(parents=True)
    (tmp_path / "proc" / "net" / "ip6_tables_names").write_text(content)
    assert (NOTE in fake.find("neighbours")) == noted


DEBIAN = "ExecStart=/usr/sbin/nft -f /etc/nftables.conf\nExecStop=/usr/sbin/nft flush ruleset\n"
DROP_IN = (CHECKOUT / "systemd" / "nftables-drop-in.conf").read_text()
PLAIN = "# no flush ruleset\nExecStart=/usr/sbin/nft -f /etc/nftables.conf\n"


@pytest.mark.parametrize(
    ("text", "unit", "enabled", "systemd", "where"),
    [
        ("#!/usr/sbin/nft -f\n\nflush ruleset\n", PLAIN, "enabled", True, "{}/nftables.conf"),
        ("table inet filter {\n}\n  flush  ruleset;\n", PLAIN, "enabled", True, "{}/nftables.conf"),
        ("flush ruleset\n", DEBIAN, "enabled", True, "{}/nftables.conf and nftables.service"),
        ("# flush ruleset\nflush table inet filter\n", DEBIAN, "enabled", True, "nftables.service"),
        ("# flush ruleset\nflush table inet filter\n", PLAIN, "enabled", True, ""),
        ("flush ruleset\n", DEBIAN, "disabled", True, ""),
        ("flush ruleset\n", DEBIAN, "enabled", False, ""),
    ],
)
def test_an_enabled_nftables_service_that_flushes_all_rules_is_a_warning(
    fake: FakeMachine, tmp_path: Path, text: str, unit: str, enabled: str, systemd: bool, where: str
) -> None:
    (tmp_path / "nftables.conf").write_text(text)
    fake.printed["systemctl is-enabled nftables.service"] = f"{enabled}\n"
    fake.printed["systemctl cat nftables.service"] = unit
    if not systemd:
        fake.systemd.rmdir()
    found = fake.find("neighbours")
    assert found.keys() == ({WARNING} if where else set())
    if where:
        what = f"nftables.service is enabled and flushes all rules: `flush ruleset` is in {where.format(tmp_path)}"
        assert found[WARNING][0].what == what


def test_an_nftables_service_that_loads_the_wall_again_is_a_note(fake: FakeMachine) -> None:
    fake.printed["systemctl is-enabled nftables.service"] = "enabled\n"
    fake.printed["systemctl cat nftables.service"] = DEBIAN + DROP_IN
    assert "flushes all rules: `flush ruleset` is in nftables.service" in fake.one("neighbours", NOTE).what


def test_the_drop_in_by_itself_flushes_nothing(fake: FakeMachine) -> None:
    fake.printed["systemctl is-enabled nftables.service"] = "enabled\n"
    fake.printed["systemctl cat nftables.service"] = PLAIN + DROP_IN
    assert not fake.find("neighbours")

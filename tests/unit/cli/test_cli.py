"""cli/: what people and scripts type and read, against a real record and a real control socket."""

import ast
import json
import os
import pty
import re
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stunwall import __version__
from stunwall.cli import main
from stunwall.config import Allow, Retention
from stunwall.control.protocol import FILE as SOCKET
from stunwall.control.server import Control, Peer
from stunwall.model import Event
from stunwall.record.schema import FILE
from stunwall.record.writer import RecordWriter
from stunwall.wall import state
from stunwall.wall.nft import NftPermissionError
from stunwall.wall.state import Rule, Wall
from unit.build import packet
from unit.record import test_events
from unit.record.test_events import event, sql
from vectors.programs import SAMPLES, attribute, message

AGENT = Path(__file__).resolve().parents[3] / "agent"


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Stunwall = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state and run folder, with a configuration that names it."""
    test_events.NOW = time.time()
    (tmp_path / "c.toml").write_text(f'state_dir = "{tmp_path}"\nrun_dir = "{tmp_path}"\n')
    return tmp_path


@pytest.fixture
def stunwall(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Stunwall:
    """The command, run in this process as the console script runs it."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: str, config: Path | None = None) -> Result:
        monkeypatch.setattr(
            sys, "argv", ["stunwall", "--config", str(config or folder / "c.toml"), *arguments]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, out, err)

    return run


def command(folder: Path, *arguments: str) -> list[str]:
    """The same as a program of its own."""
    return [sys.executable, "-m", "stunwall.cli", "--config", str(folder / "c.toml"), *arguments]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(AGENT), "COLUMNS": "80", "TERM": "dumb"}


def record(folder: Path, *events: Event) -> None:
    recorder = RecordWriter(folder, Retention(), lambda event: None, lambda text: None)
    for each in events:
        recorder.record(each)
    recorder.close()


LONG = replace(
    event(2),
    destination="2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    family=6,
    interface="enp0s31f6",
    protocol="classic-stun",
    method="SharedSecret",
    verdict="accepted",
    reason="allowed",
)


# stunwall log


def test_the_log_is_a_table_with_the_newest_last(folder: Path, stunwall: Stunwall) -> None:
    record(folder, event(1), replace(event(2), protocol="turn", method="Allocate", destination_port=19302))
    result = stunwall("log")
    assert (result.code, result.err) == (0, "")
    head, first, second = result.out.splitlines()
    assert head.split() == ["ID", "TIME", "VERDICT", "N", "WHAT", "TO", "INTERFACE"]
    clock = r"\d\d[:-]\d\d[:-]\d\d"
    assert re.fullmatch(rf"    1 {clock} blocked +1 stun Binding +203\.0\.113\.7:3478 +eth0", first)
    assert re.fullmatch(rf"    2 {clock} blocked +1 turn Allocate +203\.0\.113\.7:19302 +eth0", second)


def _on_a_terminal(arguments: list[str], columns: int) -> list[str]:
    reader, writer = pty.openpty()
    environment = {**ENVIRONMENT, "COLUMNS": str(columns)}
    with subprocess.Popen(arguments, stdout=writer, stderr=writer, env=environment) as running:
        os.close(writer)
        text = b""
        try:
            while piece := os.read(reader, 65536):
                text += piece
        except OSError:  # EIO: the other end is closed
            pass
        running.wait()
    os.close(reader)
    return text.decode().splitlines()


@pytest.mark.parametrize(
    "interface",
    [
        "enp0s31f6",
        "enxa0cec8123456",
    ],
)
def test_on_a_terminal_of_80_columns_no_line_is_longer(folder: Path, interface: str) -> None:
    record(folder, event(1), replace(LONG, interface=interface))
    lines = _on_a_terminal(command(folder, "log"), 80)
    assert len(lines) == 3
    assert [line for line in lines if len(line) > 80] == []
    assert "…" in lines[2]


def test_on_a_wide_terminal_and_in_a_pipe_addresses_are_whole(folder: Path, stunwall: Stunwall) -> None:
    record(folder, LONG)
    endpoint = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:3478"
    assert endpoint in stunwall("log").out
    assert any(endpoint in line for line in _on_a_terminal(command(folder, "log"), 120))


def test_the_fields_of_the_json_are_exactly_those_of_the_help(folder: Path, stunwall: Stunwall) -> None:
    record(folder, event(1), LONG)
    lines = [json.loads(line) for line in stunwall("log", "--json").out.splitlines()]
    names = ["id", *(field.name for field in fields(Event) if field.name != "packet")]
    assert [list(line) for line in lines] == [names, names]
    assert lines[1] == {"id": 2} | {name: getattr(LONG, name) for name in names[1:]}
    said = " ".join(stunwall("log", "--help").out.split())
    listed = re.search(r"Fields of --json: (.*?)\.", said)
    assert listed
    assert re.findall(r"[a-z_]+", re.sub(r"\(.*?\)", "", listed[1])) == names


def _since(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize(
    ("since", "seen"),
    [
        ("30s", [3]),
        ("30m", [3]),
        ("2h", [2, 3]),
        ("1d", [2, 3]),
        ("1w", [1, 2, 3]),
        ("999999999w", [1, 2, 3]),
        ("0s", []),
        (_since(datetime.now() - timedelta(hours=3)), [2, 3]),
        ((datetime.now() - timedelta(days=6)).strftime("%Y-%m-%d"), [1, 2, 3]),
        ("2000-01-01", [1, 2, 3]),
        ("2000-01-01T12:30Z", [1, 2, 3]),
        ("9998-12-31", []),
    ],
)
def test_since_takes_ages_days_and_times(
    folder: Path, stunwall: Stunwall, since: str, seen: list[int]
) -> None:
    record(folder, *(event(port, after=-age) for port, age in ((1, 5 * 86400), (2, 3600), (3, 1))))
    result = stunwall("log", "--json", "--since", since)
    assert (result.code, result.err) == (0, "")
    assert [json.loads(line)["source_port"] for line in result.out.splitlines()] == seen


@pytest.mark.parametrize(
    "since",
    ["x", "5", "5y", "-5m", "5 m", "2026-13-01", "yesterday", "1e3s", "10000-01-01", f"{10**30}s"],
)
def test_a_strange_since_is_a_mistake_of_usage_that_names_the_forms(
    folder: Path, stunwall: Stunwall, since: str
) -> None:
    record(folder, event())
    result = stunwall("log", f"--since={since}")
    assert (result.code, result.out) == (2, "")
    assert "as 30m, 2h, 7d, 2026-01-01 or 2026-01-01T12:30" in result.err


def test_limit_takes_the_newest_and_50_unless_told(folder: Path, stunwall: Stunwall) -> None:
    record(folder, *(event(port) for port in range(1, 61)))

    def ids(*arguments: str) -> list[int]:
        return [json.loads(line)["id"] for line in stunwall("log", "--json", *arguments).out.splitlines()]

    assert ids() == list(range(11, 61))
    assert ids("--limit", "2") == [59, 60]
    assert ids("-n", "1000") == list(range(1, 61))
    assert ids("-n", "9" * 30) == list(range(1, 61))


def test_nothing_blocked_says_how_to_see_it_work(folder: Path, stunwall: Stunwall) -> None:
    record(folder)
    assert stunwall("log").out.startswith("Nothing was blocked. To see it work, open a page")
    assert stunwall("log", "--since", "2h").out.startswith("Nothing was blocked since 2h. ")
    assert stunwall("log", "--json").out == ""


def test_follow_goes_on_with_what_is_new_until_ctrl_c(folder: Path) -> None:
    record(folder, event(1))
    with subprocess.Popen(
        command(folder, "log", "--follow", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a background job
    ) as run:
        assert run.stdout is not None
        assert json.loads(run.stdout.readline())["source_port"] == 1
        record(folder, event(2))
        assert json.loads(run.stdout.readline())["source_port"] == 2
        run.send_signal(signal.SIGINT)
        _, err = run.communicate()
    assert (run.returncode, err) == (0, "")


@pytest.mark.parametrize("options", ["", "--json"])
def test_a_reader_that_has_seen_enough_ends_it_without_a_word(folder: Path, options: str) -> None:
    record(folder, event())
    columns = ", ".join(field.name for field in fields(Event))
    for _ in range(12):
        sql(folder, f"INSERT INTO events ({columns}) SELECT {columns} FROM events")
    piped = f"{shlex.join(command(folder, 'log', '-n', '5000'))} {options} | head -1"
    done = subprocess.run(["sh", "-c", piped], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


# stunwall show


def test_show_has_the_whole_entry_and_takes_its_packet_apart(folder: Path) -> None:
    raw = packet("udp", message(0x0003, attribute(0x0019, bytes([17, 0, 0, 0]))))
    record(folder, replace(event(), protocol="turn", method="Allocate", packet=raw))
    done = subprocess.run(command(folder, "show", "1"), capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    shown = dict(re.findall(r"^(\w+) {2,}(.*)$", done.stdout, re.M))
    assert shown["Entry"] == "1"
    assert shown["Verdict"] == "blocked: it would have left outside the VPN"
    assert shown["What"] == "turn Allocate over udp, IPv4"
    assert (shown["From"], shown["To"]) == ("192.0.2.17:1", "203.0.113.7:3478")
    assert "###[ IP ]###" in done.stdout
    assert "###[ UDP ]###" in done.stdout
    assert re.search(r"###\[ STUN \]###.*magic_cookie *= 0x2112a442.*type *= 0x19", done.stdout, re.S)


def test_show_as_json_has_the_packet_in_hexadecimal(folder: Path, stunwall: Stunwall) -> None:
    record(folder, event())
    shown = json.loads(stunwall("show", "1", "--json").out)
    assert list(shown) == ["id", *(field.name for field in fields(Event))]
    assert bytes.fromhex(shown["packet"]) == event().packet


SLOPPY = {
    sample.name + f", IPv{version}": packet(sample.transport, sample.payload, version)
    for sample in SAMPLES
    for version in (4, 6)
    if len(sample.payload) > 8
} | {
    "a mapped address of 1 byte": packet("udp", message(0x0101, attribute(0x0020, b"\0"))),
    "a mapped address of half an IPv6": packet("udp", message(0x0101, attribute(0x0020, b"\0\2" + bytes(6)))),
    "a fingerprint of nothing": packet("udp", message(0x0001, attribute(0x8028, b""))),
    "an attribute that goes on behind the end": packet(
        "udp", message(0x0001, bytes.fromhex("00060010 6162"))
    ),
    "nothing": b"",
}


def test_show_takes_what_programs_really_send_apart_as_far_as_it_goes(
    folder: Path, stunwall: Stunwall
) -> None:
    record(folder, *(replace(event(port), packet=raw) for port, raw in enumerate(SLOPPY.values(), 1)))
    for number, (name, raw) in enumerate(SLOPPY.items(), 1):
        result = stunwall("show", str(number))
        assert (result.code, result.err) == (0, ""), name
        assert not raw or ("###[ IPv6 ]###" if raw[0] >> 4 == 6 else "###[ IP ]###") in result.out


CUT = [
    packet("udp", message(0x0001)[:8]),
    packet("udp", message(0x0001)[:12]),
    packet("udp", message(0x0001))[:10],
    packet("udp", message(0x0001), 6)[:30],
    b"\x45",
    b"\x60\xff",
]


@pytest.mark.parametrize("raw", CUT, ids=lambda raw: f"{len(raw)} bytes")
def test_show_takes_a_packet_that_is_cut_apart_as_far_as_it_goes(
    folder: Path, stunwall: Stunwall, raw: bytes
) -> None:
    record(folder, replace(event(), packet=raw))
    result = stunwall("show", "1")
    assert (result.code, result.err) == (0, "")
    assert "The first packet:" in result.out


@pytest.mark.parametrize("number", ["0", "2", "-1", "9" * 30])
def test_an_entry_that_is_not_there_is_exit_code_1(folder: Path, stunwall: Stunwall, number: str) -> None:
    record(folder, event())
    result = stunwall("show", "--", number)
    assert (result.code, result.out) == (1, "")
    assert result.err == f"stunwall: there is no entry {number}: `stunwall log` shows the numbers\n"


# Hostile records

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\r\n\u202eforged\u2028\0"


def test_no_text_in_the_record_can_drive_the_terminal(folder: Path, stunwall: Stunwall) -> None:
    columns = ("verdict", "reason", "protocol", "method", "transport", "source", "destination", "interface")
    raw = packet("udp", message(0x0001, attribute(0x0006, HOSTILE.encode())))
    record(folder, replace(event(), packet=raw))
    quoted = "CAST(x'" + HOSTILE.encode().hex() + "' AS TEXT)"
    sql(folder, "UPDATE events SET " + ", ".join(f"{column} = {quoted}" for column in columns))
    for arguments in (["log"], ["show", "1"], ["log", "--json"], ["show", "1", "--json"]):
        result = stunwall(*arguments)
        assert (result.code, result.err) == (0, "")
        assert all(line.isprintable() for line in result.out.split("\n"))
        assert "owned" in result.out
    assert len(stunwall("log").out.splitlines()) == 2


@pytest.mark.parametrize("column", [field.name for field in fields(Event)])
@pytest.mark.parametrize("value", ["x'00'", "'text'", "-1", "1e999"])
def test_a_damaged_record_is_told_in_a_line(
    folder: Path, stunwall: Stunwall, column: str, value: str
) -> None:
    record(folder, event())
    sql(folder, f"UPDATE events SET {column} = {value}")
    for arguments in (["log"], ["log", "--json"], ["show", "1", "--json"]):
        result = stunwall(*arguments)
        assert result.code in (0, 1)
        assert (result.code == 0) is (result.err == "")
        if result.code:
            assert result.err == f"stunwall: {folder / FILE}: event 1 is damaged ({column})\n"


@pytest.mark.parametrize("arguments", [["log"], ["show", "1"], ["log", "--follow"]])
@pytest.mark.parametrize("content", [None, b"garbage" * 999, b""])
def test_a_record_that_is_missing_or_broken_is_told_with_exit_code_1(
    folder: Path, stunwall: Stunwall, arguments: list[str], content: bytes | None
) -> None:
    if content is not None:
        (folder / FILE).write_bytes(content)
    result = stunwall(*arguments)
    assert (result.code, result.out) == (1, "")
    assert re.fullmatch(r"stunwall: (there is no record yet|cannot read) .*\n", result.err)


# stunwall config, and mistakes


def test_config_check_shows_the_values_in_force(folder: Path, stunwall: Stunwall) -> None:
    result = stunwall("config", "check")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{folder / 'c.toml'} is fine.\n")
    assert f'  state_dir = "{folder}"\n' in result.out
    values = json.loads(stunwall("config", "check", "--json").out)
    assert values["guard_ports"] == [3478, 5349]
    assert values["log"] == {"keep_days": 90, "keep_rows": 1000000}


def test_config_check_takes_another_file_and_shows_its_exceptions(folder: Path, stunwall: Stunwall) -> None:
    other = folder / "other.toml"
    other.write_text('[[allow]]\nto = "2001:db8::/32"\nprotocol = "udp"\nwhy = "a test"\n')
    values = json.loads(stunwall("config", "check", str(other), "--json").out)
    rule = dict.fromkeys(field.name for field in fields(Allow))
    assert values["allow"] == [rule | {"why": "a test", "to": "2001:db8::/32", "protocol": "udp"}]
    assert (values["mark_mask"], values["allow_lan"], values["status_for_all"]) == (0x90000000, False, False)


@pytest.mark.parametrize(
    "arguments", [["config", "check"], ["log"], ["show", "1"], ["status"], ["status", "--json"]]
)
def test_a_wrong_configuration_is_exit_code_3_and_one_line(
    folder: Path, stunwall: Stunwall, arguments: list[str]
) -> None:
    wrong = folder / "wrong.toml"
    wrong.write_text("\nqueue = -1\n")
    result = stunwall(*arguments, config=wrong)
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith(f"stunwall: {wrong}, line 2: queue: ")
    assert result.err.count("\n") == 1
    missing = stunwall(*arguments, config=folder / "missing.toml")
    assert (missing.code, missing.out) == (3, "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nope"],
        ["log", "--nope"],
        ["log", "extra"],
        ["log", "--limit", "0"],
        ["log", "--limit", "-1"],
        ["log", "--limit", "many"],
        ["log", "--limit"],
        ["show"],
        ["show", "one"],
        ["show", "1.5"],
        ["show", "1", "2"],
        ["config"],
        ["config", "nope"],
        ["vpn", "wg0"],
        ["pause"],
        ["pause", "5d"],
        ["pause", "90"],
        ["pause", "--", "-5m"],
        ["pause", "5 m"],
        ["pause", "1.5h"],
        ["pause", "forever"],
        ["pause", "1234567s"],
        ["pause", ""],
        ["resume", "now"],
        ["allow"],
        ["allow", "nope"],
        ["allow", "add"],
        ["allow", "add", "--port", "1"],
        ["allow", "add", "--port", "many", "--why", "x"],
        ["allow", "remove"],
        ["allow", "remove", "one"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_exit_code_2(stunwall: Stunwall, arguments: list[str]) -> None:
    result = stunwall(*arguments)
    assert result.code == 2
    assert re.search("Usage: stunwall|Error", result.err + result.out)


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            [],
            ["log"],
            ["show"],
            ["status"],
            ["rules"],
            ["vpn"],
            ["pause"],
            ["reload"],
            ["config"],
            ["config", "check"],
        ),
        *(["allow"], ["allow", "add"]),
    ],
)
def test_every_command_has_help_with_an_example_or_its_states(
    stunwall: Stunwall, arguments: list[str]
) -> None:
    result = stunwall(*arguments, "--help")
    assert result.code == 0
    assert "Usage: stunwall" in result.out
    assert arguments in (["config"], ["allow"]) or re.search(r"Examples?:|States:|First steps:", result.out)


def test_the_version_is_told(stunwall: Stunwall) -> None:
    assert stunwall("--version") == Result(0, f"stunwall {__version__}\n", "")


# stunwall status, asked from a real socket

DAEMON: dict[str, Any] = {
    "version": "1",
    "pid": 7,
    "config": "c.toml",
    "started": 1.0,
    "state": "protected",
    "paused_until": None,
    "problems": [],
    "mode": "block",
    "on_block": "answer",
    "when_vpn_down": "block",
    "queue": 4780,
    "mark_mask": 0x90000000,
    "redirects": [],
    "allow": [],
    "unrecorded": 0,
    "ip_versions": [4, 6],
    "unanswered": 0,
    "unreadable": 0,
    "faults": 0,
    "queue_overruns": 0,
    "gaps": [],
    "counters": {"into_vpn": 3, "over_limit": 0, "unattended": 0},
    "interfaces": [
        {"interface": "wg0", "kind": "wireguard", "counts": True, "why": "a wireguard interface"},
        {"interface": "eth0", "kind": "", "counts": False, "why": "a network card"},
    ],
    "wall": "up",
}


def test_the_daemon_in_these_tests_answers_with_the_keys_of_the_real_one() -> None:
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
    assert keys - {"wall_error", "queued"} == set(DAEMON)


@dataclass
class Daemon:
    """What a daemon answers, and what it was asked."""

    reply: dict[str, Any]
    asked: list[dict[str, Any]]


@pytest.fixture
def daemon(served: Daemon) -> dict[str, Any]:
    """What the daemon answers."""
    return served.reply


@pytest.fixture
def served(folder: Path) -> Iterator[Daemon]:
    """A daemon behind a real socket, which answers everything with `reply`."""
    one = Daemon(dict(DAEMON), [])

    def answer(request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        one.asked.append(request)
        return one.reply

    reader, writer = socket.socketpair()
    with selectors.DefaultSelector() as selector, closing(reader), closing(writer):
        control = Control(folder, selector, answer)
        selector.register(reader, selectors.EVENT_READ, None)

        def turn() -> None:
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    key.data()

        thread = threading.Thread(target=turn)
        thread.start()
        yield one
        writer.send(b"x")
        thread.join()
        control.close()


@pytest.mark.parametrize(
    ("changes", "code", "state"),
    [
        ({}, 0, "protected"),
        ({"state": "sealed", "interfaces": []}, 0, "sealed"),
        ({"state": "degraded", "problems": ["the disk is full"]}, 0, "degraded"),
        ({"state": "open", "interfaces": []}, 1, "open"),
        ({"state": "paused", "paused_until": 2e9}, 1, "paused"),
        ({"state": "paused", "paused_until": 2e9, "wall": "down"}, 1, "down"),
        ({"wall": "down"}, 1, "down"),
        ({"wall": "damaged"}, 1, "down"),
        ({"state": "sealed", "wall": "unknown"}, 1, "down"),
    ],
)
def test_status_is_exit_code_0_only_while_no_stun_can_leak(
    stunwall: Stunwall, daemon: dict[str, Any], changes: dict[str, Any], code: int, state: str
) -> None:
    daemon |= changes
    result = stunwall("status")
    assert (result.code, result.err) == (code, "")
    assert result.out.startswith(f"{state.upper()}: ")
    assert all(problem in result.out for problem in daemon["problems"])
    told = stunwall("status", "--json")
    assert told.code == code
    values = json.loads(told.out)
    assert (values["state"], values["leak_possible"]) == (state, bool(code))
    assert [vpn["interface"] for vpn in values["vpn"]] == (["wg0"] if daemon["interfaces"] else [])


def test_status_counts_what_was_blocked_today(
    folder: Path, stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    before = event(3, after=midnight - test_events.NOW - 1)
    record(folder, event(1), event(1), event(2), before, replace(event(4), verdict="accepted"))
    record(folder, replace(event(5), verdict="redirected", reason="redirected"))
    shown = stunwall("status").out
    assert "2 flows of 3 packets today" in shown
    assert re.search("^Redirected +1 flow today, into the VPN$", shown, re.M)
    assert json.loads(stunwall("status", "--json").out)["blocked_today"] == {
        "flows": 2,
        "packets": 3,
        "redirected": 1,
        "lost": 0,
    }


def test_status_shows_the_gaps_in_the_wall(stunwall: Stunwall, daemon: dict[str, Any]) -> None:
    start = datetime(2026, 1, 2, 3, 4, 5).timestamp()
    daemon["gaps"] = [
        {"start": start, "end": start + 0.0314, "who": "nft (pid 812)"},
        {"start": start, "end": start + 2, "who": ""},
    ]
    result = stunwall("status")
    assert result.code == 0  # it is whole again
    gaps = re.sub(r"\s+", " ", result.out)
    assert re.search(
        r"Gap 2026-01-02 03:04:05 \S+, 0.031 s: rules of the wall were changed by nft \(pid 812\)", gaps
    )
    assert "2.000 s: rules of the wall were changed by a program that is not known" in gaps


def test_reload_asks_the_daemon_and_says_what_changed(
    stunwall: Stunwall, served: Daemon, daemon: dict[str, Any]
) -> None:
    daemon["changed"] = ["mode", "allow"]
    assert stunwall("reload").out == "In force now: mode, allow.\n"
    assert json.loads(stunwall("reload", "--json").out) == {"changed": ["mode", "allow"]}
    daemon["changed"] = []
    assert stunwall("reload").out == "Nothing has changed.\n"
    assert served.asked == [{"command": "reload"}] * 3
    daemon["error"] = "nothing is changed, as queue can't be"
    result = stunwall("reload")
    assert (result.code, result.err) == (1, "stunwall: nothing is changed, as queue can't be\n")


def test_status_with_a_broken_record_names_it_as_a_problem(
    folder: Path, stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    (folder / FILE).write_bytes(b"garbage" * 999)
    values = json.loads(stunwall("status", "--json").out)
    assert values["blocked_today"] is None
    assert "file is not a database" in values["problems"][0]


def test_status_shows_no_control_characters_whatever_an_interface_is_called(
    stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    daemon["problems"] = [HOSTILE]
    daemon["interfaces"] = [{"interface": HOSTILE, "kind": HOSTILE, "counts": True, "why": HOSTILE}]
    for arguments in (["status"], ["status", "--json"]):
        result = stunwall(*arguments)
        assert (result.code, result.err) == (0, "")
        assert "owned" in result.out
        assert all(line.isprintable() for line in result.out.split("\n"))


def test_status_of_a_daemon_that_answers_with_an_error_is_no_all_clear(
    stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    daemon.clear()
    daemon["error"] = "something"
    result = stunwall("status")
    assert result.code == 4
    assert result.out.startswith("UNKNOWN: ")


def test_status_says_until_when_a_pause_lasts_and_how_to_end_it(
    stunwall: Stunwall, daemon: dict[str, Any]
) -> None:
    daemon |= {"state": "paused", "paused_until": datetime(2026, 1, 2, 3, 4, 5).timestamp()}
    result = stunwall("status")
    assert re.search(r"^Paused +until 2026-01-02 03:04:05 ", result.out, re.M)
    assert "`sudo stunwall resume`" in result.out
    daemon |= {"state": "protected", "paused_until": None}
    assert "Paused" not in stunwall("status").out


def test_the_log_has_what_is_about_no_packet(folder: Path, stunwall: Stunwall) -> None:
    record(
        folder,
        Event.note(time.time(), "paused", "for 60 s, by user 0"),
        Event.note(time.time(), "resumed", "its time is over"),
    )
    first, second = stunwall("log").out.splitlines()[1:]
    assert re.fullmatch(r" +1 \S+ paused +1 +for 60 s, by user 0", first)
    assert re.fullmatch(r" +2 \S+ resumed +1 +its time is over", second)
    assert "60 s" in json.loads(stunwall("log", "--json", "-n", "2").out.splitlines()[0])["reason"]


# stunwall vpn, pause, resume and allow


def test_vpn_lists_every_interface_and_why(stunwall: Stunwall, served: Daemon) -> None:
    result = stunwall("vpn")
    assert result == Result(0, "wg0   VPN: a wireguard interface\neth0  no: a network card\n", "")
    assert json.loads(stunwall("vpn", "--json").out) == DAEMON["interfaces"]
    assert served.asked == [{"command": "status"}] * 2


@pytest.mark.parametrize("interfaces", [[], DAEMON["interfaces"][1:]])
def test_vpn_says_how_to_name_one_if_none_counts(
    stunwall: Stunwall, daemon: dict[str, Any], interfaces: list[dict[str, Any]]
) -> None:
    daemon["interfaces"] = interfaces
    result = stunwall("vpn")
    assert result.code == 0
    assert 'None counts. If your VPN is up, name its interface: interfaces = ["NAME"]' in result.out


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("024h", 86400),
        ("0s", 0),
        ("999999h", 3599996400),
    ],
)
def test_pause_asks_for_seconds_and_says_until_when(
    stunwall: Stunwall, served: Daemon, duration: str, seconds: int
) -> None:
    served.reply = {"paused_until": datetime(2026, 1, 2, 3, 4, 5).timestamp()}
    result = stunwall("pause", duration)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("All STUN passes until 2026-01-02 03:04:05 ")
    assert "`stunwall resume`" in result.out
    assert json.loads(stunwall("pause", duration, "--json").out) == served.reply
    assert served.asked == [{"command": "pause", "seconds": seconds}] * 2


@pytest.mark.parametrize(
    ("was", "words"), [(True, "STUN outside the VPN is stopped again.\n"), (False, "There was no pause.\n")]
)
def test_resume_says_whether_there_was_a_pause(
    stunwall: Stunwall, served: Daemon, was: bool, words: str
) -> None:
    served.reply = {"was_paused": was}
    assert stunwall("resume") == Result(0, words, "")
    assert json.loads(stunwall("resume", "--json").out) == {"was_paused": was}
    assert served.asked == [{"command": "resume"}] * 2


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
        (["--unit", "a.service"], {"unit": "a.service"}),
        (["--to", "10.0.0.0/8", "--port", "1", "--protocol", "udp"],
         {"to": "10.0.0.0/8", "port": 1, "protocol": "udp"}),
        (["--user", "1000", "--interface", "eth0"], {"user": 1000, "interface": "eth0"}),
        (["--user", "alice"], {"user": "alice"}),
        (["--port", "-1"], {"port": -1}),
    ],
)  # fmt: skip
def test_allow_add_sends_what_is_given_and_shows_all_exceptions(
    stunwall: Stunwall, served: Daemon, arguments: list[str], rule: dict[str, Any]
) -> None:
    served.reply = {"allow": EXCEPTIONS}
    assert stunwall("allow", "add", *arguments, "--why", 'a "test"') == Result(0, LISTED, "")
    assert served.asked == [{"command": "allow-add", "rule": rule | {"why": 'a "test"'}}]


def test_allow_list_and_remove_number_the_exceptions(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "read", _no_rights)
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


def _no_rights() -> None:
    raise NftPermissionError("no rights")


def test_allow_list_counts_what_each_let_pass_where_it_may_look(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = (
        Rule("programs", "allow 1", 1, 100),
        Rule("allowed", "allow 2", 1234, 9999),
        Rule("exceptions", "allow_lan, IPv4", 7, 7),
    )
    monkeypatch.setattr(state, "read", lambda: Wall(rules, {}, {}, None))
    served.reply = {"allow": EXCEPTIONS}
    out = stunwall("allow", "list").out
    assert "by STUN (1 packet let pass) 2 to" in " ".join(out.split())
    assert "bridge (1,234 packets let pass)" in " ".join(out.split())
    packets = [rule["packets"] for rule in json.loads(stunwall("allow", "list", "--json").out)["allow"]]
    assert packets == [1, 1234]
    monkeypatch.setattr(state, "read", lambda: None)
    assert stunwall("allow", "list").out == LISTED


ASKING = [
    ["vpn"],
    ["pause", "5m"],
    ["resume"],
    ["allow", "list"],
    ["allow", "remove", "1"],
    ["allow", "add", "--port", "1", "--why", "x"],
]


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_needs_the_daemon_says_when_it_does_not_run_or_refuses(
    folder: Path, stunwall: Stunwall, served: Daemon, arguments: list[str], options: list[str]
) -> None:
    served.reply = {"error": "not now"}
    assert stunwall(*arguments, *options) == Result(1, "", "stunwall: not now\n")
    (folder / SOCKET).unlink()
    cure = "start it with `sudo systemctl start stunwall`"
    assert stunwall(*arguments, *options) == Result(1, "", f"stunwall: stunwalld does not run: {cure}\n")
    wrong = folder / "wrong.toml"
    wrong.write_text("queue = -1\n")
    result = stunwall(*arguments, *options, config=wrong)
    assert (result.code, result.out) == (3, "")


def test_no_text_in_an_exception_or_of_an_interface_can_drive_the_terminal(
    stunwall: Stunwall, served: Daemon
) -> None:
    served.reply = {
        "allow": [{"unit": HOSTILE, "why": HOSTILE}],
        "interfaces": [{"interface": HOSTILE, "kind": HOSTILE, "counts": True, "why": HOSTILE}],
    }
    for arguments in (["vpn"], ["allow", "remove", "1"], ["allow", "remove", "1", "--json"]):
        result = stunwall(*arguments)
        assert (result.code, result.err) == (0, "")
        assert "owned" in result.out
        assert all(line.isprintable() for line in result.out.split("\n"))

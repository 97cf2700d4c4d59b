"""reader.py and values.py: files to a Config, and errors that say where, what and what was expected."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stunwall import config
from stunwall.config import EXCEPTION_KEYS, Allow, Config, Mode, OnBlock, Retention, WhenVpnDown
from stunwall.configfile import reader
from stunwall.configfile.errors import ConfigError
from stunwall.configfile.reader import load
from stunwall.model import Transport

REPOSITORY = Path(__file__).resolve().parents[3]
WHY = 'why = "a test"\n'


def write(folder: Path, text: str | bytes, name: str = "stunwall.toml") -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def complaint(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.exit_code == 3
    text = str(caught.value)
    assert "\n" not in text
    assert text.replace("…", "").isprintable()
    return text


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, "")) == Config()


def test_the_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    default = Config()
    assert (default.mode, default.on_block, default.when_vpn_down) == ("block", "answer", "block")
    assert (default.interfaces, default.allow, default.queue) == ((), (), 4780)
    assert default.guard_ports == {3478, 5349}
    assert not default.leave_wall_on_stop
    assert not default.allow_lan
    assert not default.status_for_all
    assert default.mark_mask == 0x90000000
    assert (str(default.state_dir), str(default.run_dir)) == ("/var/lib/stunwall", "/run/stunwall")
    assert default.log == Retention(keep_days=90, keep_rows=1_000_000)


def test_the_file_that_is_installed_is_the_defaults_and_its_examples_are_valid(tmp_path: Path) -> None:
    text = (REPOSITORY / "systemd" / "stunwall.toml").read_text()
    assert load(write(tmp_path, text)) == Config()
    shown = re.sub(r"^#(?=[a-z\[])", "", text, flags=re.M)
    table, _, allow = shown.partition("[[allow]]")
    assert load(write(tmp_path, table)) == Config()
    assert {*re.findall(r"^(\w+) =", table, re.M), "log", "allow"} == {
        *(field.name for field in fields(Config)),
        *(field.name for field in fields(Retention)),
    }
    assert len(load(write(tmp_path, "[[allow]]" + allow)).allow) == 4
    keys = set(EXCEPTION_KEYS)
    assert set(re.findall(r"^(\w+) =", allow, re.M)) == keys


WHOLE = """
mode = "redirect"
on_block = "drop"
when_vpn_down = "allow"
interfaces = ["wg0", "tun*"]
inside = ["lan0", "vm?"]
bridged = ["52:54:00:AB:cd:ef"]
guard_ports = [443]
leave_wall_on_stop = true
queue = 1
mark_mask = 0x6
allow_lan = true
status_for_all = true
state_dir = "/s"
run_dir = "/r"
[log]
keep_days = 1
keep_rows = 2
[[allow]]
to = "203.0.113.0/24"
port = 3478
protocol = "tcp"
interface = "eth0"
why = "one"
[[allow]]
to = "2001:db8::7"
why = "two"
[[allow]]
user = 1000
unit = "tailscaled.service"
why = "three"
[[allow]]
user = "root"
unit = "user.slice/user-1000.slice/app\\\\x2da.scope"
why = "four"
[[allow]]
from = "fd88::/64"
source_port = 10000
why = "five"
[[allow]]
unit = "user.slice/user-1000.slice/session-[0-9]*.scope"
why = "six"
[[allow]]
user = 1000
app = "com.discordapp.Discord.desktop"
until = 2026-12-24T18:00:00+01:00
why = "seven"
"""


def test_every_key_is_read_into_its_type(tmp_path: Path) -> None:
    assert load(write(tmp_path, WHOLE)) == Config(
        mode=Mode.REDIRECT,
        on_block=OnBlock.DROP,
        when_vpn_down=WhenVpnDown.ALLOW,
        interfaces=("wg0", "tun*"),
        inside=("lan0", "vm?"),
        bridged=frozenset({"52:54:00:ab:cd:ef"}),
        guard_ports=frozenset({443}),
        leave_wall_on_stop=True,
        queue=1,
        mark_mask=6,
        allow_lan=True,
        status_for_all=True,
        state_dir=Path("/s"),
        run_dir=Path("/r"),
        log=Retention(keep_days=1, keep_rows=2),
        allow=(
            Allow("one", ip_network("203.0.113.0/24"), 3478, Transport.TCP, interface="eth0"),
            Allow("two", ip_network("2001:db8::7/128")),
            Allow("three", user=1000, unit="tailscaled.service"),
            Allow("four", user=0, unit="user.slice/user-1000.slice/app\\x2da.scope"),
            Allow("five", source=ip_network("fd88::/64"), source_port=10000),
            Allow("six", unit="user.slice/user-1000.slice/session-[0-9]*.scope"),
            Allow("seven", user=1000, app="com.discordapp.Discord", until=1798131600),
        ),
    )


WRONG = {
    "mode": ['"Redirect"', '"Block"', '""', "1", "true", '["block"]', "1979-05-27"],
    "on_block": ['"reject"', "0", "{}"],
    "when_vpn_down": ['"open"', "false"],
    "interfaces": [
        '"wg0"',
        "[1]",
        '[""]',
        '["wg 0"]',
        '["wg0\\""]',
        '["wg/0"]',
        '["wg0\\n"]',
        "{}",
        '["\\u202ewg"]',
    ],
    "bridged": ['"52:54:00:12:34:56"', "[1]", '["52:54:00:12:34"]', '["53:54:00:12:34:56"]', '["*"]'],
    "guard_ports": ["3478", "[0]", "[65536]", '["3478"]', "[true]", "[3478.0]", "[[3478]]", "[-1]"],
    "leave_wall_on_stop": ["1", '"yes"', "0.0"],
    "allow_lan": ["1", '"true"', "[]"],
    "bound_tcp": ['"yes"', "true", '"WEBRTC"', "1", '["webrtc"]'],
    "webrtc_programs": ['"firefox"', "[1]", '[""]', '["*"]', '["?*"]', '["/usr/bin/firefox"]', '["a\\n"]'],
    "status_for_all": ["0", '"all"'],
    "mark_mask": ["0", "3", "1", "7", "0x100000001", "0x300000000", "-3", "true", '"0x3"', "3.0", "[3]"],
    "queue": ["-1", "65536", "true", "1.0", '"1"', "nan", "inf", "0x" + "f" * 9000],
    "state_dir": ['"relative"', '""', "1", '"/a\\u0000b"', '"/a\\nb"', '"~/x"'],
    "run_dir": ['"./r"', "[]"],
    "log.keep_days": ["0", "36501", "true", '"1"', "1.5"],
    "log.keep_rows": ["0", "-5", "1000000001", "false"],
    "allow.to": [
        '"10.0.0.1/8"',
        '"example.org"',
        "1",
        '"10.0.0.0/33"',
        '"::1/129"',
        '""',
        '"203.0.113.7:3478"',
        '"fe80::1%eth0"',
        '"fe80::1%eth0 accept #"',
    ],
    "allow.port": ["0", "65536", "true", '"3478"', "[3478]"],
    "allow.from": ['"10.0.0.1/8"', '"box"', "1", '"fe80::1%docker0"', '"172.17.0.2:3478"'],
    "allow.source_port": ["0", "65536", "true", '"3478"', "[3478]", '"3478-3480"'],
    "allow.protocol": ['"sctp"', '"UDP"', "17"],
    "allow.interface": ['"eth*"', '"eth 0"', '""', "0", '"a2345678901234567"', '"eth0\\n"'],
    "allow.user": ['"no such user"', '"1000"', '""', '"a\\u0000"', "-1", "4294967295", "true", "1.5", "[0]"],
    "allow.unit": [
        *('""', "1", "[]", '"/system.slice"', '"a/"', '"a//b"', '"../a"', '"a/../b"', '"a b"', '"a\\n"'),
        *("'a\"b'", '"a;b"', '"a{b}"', '"é.service"', '"' + "a/" * 16 + 'a"'),
        *(
            '"*"',
            '"?*"',
            '"*.service"',
            '"*.s*"',
            '"user.slice/*"',
            '"user.slice/*/a.scope"',
            '"user-*.slice/a"',
        ),
    ],
    "allow.app": ['""', "1", "[]", '"*"', '"a/b"', '"a b"', '".desktop"', '"-a"', "'a\\'", '"é"', "'a\"'"],
    "allow.why": ['""', '"  "', "1", '"two\\nlines"', '"\\u001b[31m"', "true"],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_told_with_file_line_key_and_what_was_expected(
    tmp_path: Path, key: str, value: str
) -> None:
    table, _, name = key.rpartition(".")
    # The line is counted inside [log] and in the second [[allow]], behind decoys of the same name.
    before = {
        "": "# queue = 7\n\n",
        "log": "queue = 7\n# [log]\n\n[log]\n",
        "allow": f"[[allow]]\nport = 1\n{WHY}\n[log]\n[[allow]]\n" + (WHY if name != "why" else ""),
    }[table]
    file = write(tmp_path, f"{before}{name} = {value}\n")
    line = before.count("\n") + 1
    said = complaint(file)
    assert said.startswith(f"{file}, line {line}: {key}: ")
    assert " expected, found " in said
    assert len(said) < len(str(file)) + 250


@pytest.mark.parametrize(
    ("text", "line", "key", "cure"),
    [
        (
            "mod = 1",
            1,
            "mod",
            "Known here: allow_lan, bound_tcp, bridged, check_every_vpn_up, guard_ports, inside",
        ),
        ("\n\nMode = 'block'", 3, "Mode", "mode"),
        ("#mode = 'block'\nMode = 'block'", 2, "Mode", "mode"),
        ("[logs]\nkeep_days = 1", 1, "logs", "Known here"),
        ("[log]\nkeep_day = 1", 2, "log.keep_day", "keep_days, keep_rows"),
        (
            f"[[allow]]\nports = 1\n{WHY}",
            2,
            "allow.ports",
            "from, interface, port, preset, protocol, source_port, to",
        ),
        (f"[[allow]]\nport = 1\n{WHY}[[allow]]\nport = 1\n", 4, "allow", 'needs why = "'),
        (f"queue = 1\n[[allow]]\n{WHY}", 2, "allow", "matches everything"),
        (f"[[allow]]\nuntil = 1\n{WHY}", 1, "allow", "matches everything; give at least one of to, port"),
        (f"[[allow]]\npreset = 'a'\n{WHY}", 1, "allow", "matches everything; give at least one of to, port"),
        (f"[[allow]]\nport = 1\npreset = 'A b'\n{WHY}", 3, "allow.preset", "the name of a preset, as"),
        *(
            (f"[[allow]]\nport = 1\nuntil = {end}\n{WHY}", 3, "allow.until", "a time with its UTC offset")
            for end in (
                *("2026-12-24T18:00:00", "2026-12-24", "18:00:00", "'2026-12-24T18:00:00Z'"),
                *("true", "1.5", "-1", "9223372037", "9999-12-31T00:00:00Z"),
            )
        ),
        (
            "interfaces = ['wg0']\ninside = ['lan0', 'wg0']",
            2,
            "inside",
            "'wg0' in inside and 'wg0' in interfaces",
        ),
        ("interfaces = ['wg*']\ninside = ['wg0']", 2, "inside", "'wg0' in inside and 'wg*' in interfaces"),
        (
            "inside = ['lan?']\n\ninterfaces = ['lan0']",
            1,
            "inside",
            "'lan?' in inside and 'lan0' in interfaces",
        ),
        (
            f"[[allow]]\nto = '::1'\nfrom = '10.0.0.0/8'\n{WHY}",
            3,
            "allow.from",
            "the IP version of to expected, found IPv4 and IPv6",
        ),
        (f"[[allow]]\napp = 'a'\n{WHY}", 2, "allow.app", 'needs user = "…", whose application it is'),
        (f"[[allow]]\n{WHY}app = 'a'\nuser = 0\nunit = 'b.service'\n", 3, "allow.app", "and no unit"),
        ("[allow]\nport = 1", 1, "allow", "tables [[allow]] expected"),
        ("log = 5", 1, "log", "a table [log] expected, found 5"),
        ("\n[[log]]\nkeep_days = 5", 2, "log", "a table [log] expected"),
        ("allow = 5", 1, "allow", "tables [[allow]] expected"),
        ("# \u2028\u0085\nqueue = 'x'", 2, "queue", "a whole number"),
        ("queue = 1\r\nmode = 2\r\n", 2, "mode", '"block" or "redirect" expected, found 2'),
        ('"mode" = 2', 1, "mode", "expected"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_its_cure(
    tmp_path: Path, text: str, line: int, key: str, cure: str
) -> None:
    file = write(tmp_path, text)
    said = complaint(file)
    assert said.startswith(f"{file}, line {line}: {key}: ")
    assert cure in said


def test_a_network_with_host_bits_is_told_which_network_may_be_meant(tmp_path: Path) -> None:
    said = complaint(write(tmp_path, f'[[allow]]\nto = "203.0.113.7/24"\n{WHY}'))
    assert "a network address (\"203.0.113.0/24\" perhaps) expected, found '203.0.113.7/24'" in said


@pytest.mark.parametrize("text", ["log.keep_days = 0", f"allow = [{{ port = 0, {WHY.strip()} }}]"])
def test_inline_tables_are_told_without_a_wrong_line(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, text)
    assert complaint(file).startswith((f"{file}: ", f"{file}, line 1: "))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mode = ", "not valid TOML"),
        ("mode = block", "line 1"),
        ("\n[log\n", "line 2"),
        ("a = 1\na = 2", "not valid TOML"),
        ("queue = " + "9" * 5000, "thousands of digits"),
        ("queue = " + "[" * 20000, "nested too deep"),
        ("mode = 1\r\rqueue = 2", "not valid TOML"),
        ("\ufeffmode = 'block'", "not valid TOML"),
        (b"mode = '\xff'", "is not UTF-8 text (byte 8)"),
        ("mode = 'block'".encode("utf-16"), "is not UTF-8 text (byte 0)"),
        (b"\x7fELF\x02\x01\x01\x00", "not valid TOML"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_no_toml_is_told_as_such(tmp_path: Path, text: str | bytes, words: str) -> None:
    file = write(tmp_path, text)
    said = complaint(file)
    assert said.startswith(f"{file}: ")
    assert words in said


def test_a_hostile_key_cannot_reach_the_terminal(tmp_path: Path) -> None:
    said = complaint(write(tmp_path, '"\\u001b[31mred\\n" = 1'))
    assert said.isprintable()
    assert "unknown key" in said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)))
def test_nothing_but_config_error_comes_out_of_random_files(tmp_path: Path, raw: bytes) -> None:
    try:
        load(write(tmp_path, raw))
    except ConfigError:
        return
    assert b"\xff" not in raw


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(WHOLE.splitlines()), st.sampled_from("\0\n\"'[]{}=.,#0a\\\u2028"), st.integers(0, 30))
def test_nothing_but_config_error_comes_out_of_a_damaged_file(
    tmp_path: Path, line: str, character: str, at: int
) -> None:
    damaged = WHOLE.replace(line, line[:at] + character + line[at + 1 :], 1)
    try:
        loaded = load(write(tmp_path, damaged))
    except ConfigError:
        return
    assert loaded.queue in range(65536)


def test_drop_ins_are_merged_in_the_order_of_their_names_and_later_wins(tmp_path: Path) -> None:
    file = write(tmp_path, f"queue = 1\non_block = 'drop'\n[log]\nkeep_days = 1\n[[allow]]\nport = 1\n{WHY}")
    write(tmp_path, "queue = 3\n", "conf.d/20-b.toml")
    write(tmp_path, f"queue = 2\n[log]\nkeep_rows = 2\n[[allow]]\nport = 2\n{WHY}", "conf.d/10-a.toml")
    for ignored in ("30-c.toml.dpkg-old", "README", "40.conf", ".50-d.toml", "60.toml~"):
        write(tmp_path, "queue = 9\nbroken", f"conf.d/{ignored}")
    loaded = load(file)
    assert (loaded.queue, loaded.on_block, loaded.log) == (3, OnBlock.DROP, Retention(1, 2))
    assert [rule.port for rule in loaded.allow] == [1, 2]


def test_exceptions_of_all_files_are_at_most_a_thousand(tmp_path: Path) -> None:
    file = write(tmp_path, f"[[allow]]\nport = 1\n{WHY}" * 999)
    drop_in = write(tmp_path, f"[[allow]]\nport = 2\n{WHY}", "conf.d/a.toml")
    assert len(load(file).allow) == 1000
    write(tmp_path, f"[[allow]]\nport = 2\n{WHY}" * 2, "conf.d/a.toml")
    assert complaint(file).startswith(
        f"{drop_in}: allow: at most 1000 exceptions expected, found 1001 up to here."
    )


def test_a_mistake_in_a_drop_in_names_the_drop_in(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    drop_in = write(tmp_path, "\nqueue = -1", "conf.d/a.toml")
    assert complaint(file).startswith(f"{drop_in}, line 2: queue: ")


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    said = complaint(tmp_path / "none.toml")
    assert "cannot be read: No such file or directory. Name another with --config" in said


def test_the_default_file_may_be_missing_and_its_drop_ins_still_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "DEFAULT_FILE", tmp_path / "stunwall.toml")
    assert load(reader.DEFAULT_FILE) == Config()
    write(tmp_path, "queue = 5", "conf.d/a.toml")
    assert load(reader.DEFAULT_FILE).queue == 5


@pytest.mark.parametrize("name", ["folder", "x" * 300, "file.toml/x.toml"])
def test_what_is_no_readable_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path, "", "file.toml")
    assert "cannot be read: " in complaint(tmp_path / name)


def test_a_folder_or_a_dangling_link_as_drop_in_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").symlink_to("nowhere")
    assert "a.toml: cannot be read: No such file" in complaint(file)
    (tmp_path / "conf.d" / "a.toml").unlink()
    (tmp_path / "conf.d" / "a.toml").mkdir()
    assert "a.toml: cannot be read: Is a directory" in complaint(file)


def test_a_file_in_conf_ds_place_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    write(tmp_path, "queue = 1", "conf.d")
    assert f"{tmp_path}/conf.d: cannot be read: Not a directory" in complaint(file)


@pytest.mark.parametrize("locked", ["stunwall.toml", "conf.d", "conf.d/a.toml", "."])
def test_what_may_not_be_read_is_told_and_not_passed_over(tmp_path: Path, locked: str) -> None:
    # Root may read everything, so another user reads.
    file = write(tmp_path / "etc", "")
    write(tmp_path / "etc", "queue = 1", "conf.d/a.toml")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        if os.geteuid() == 0:
            folder.chmod(folder.stat().st_mode | 0o755)
    (file.parent / locked).chmod(0)
    script = (
        "import os, sys, pathlib\n"
        "from stunwall.configfile import errors, reader\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        f"reader.DEFAULT_FILE = pathlib.Path({str(file)!r})\n"
        "try: reader.load(reader.DEFAULT_FILE)\n"
        "except errors.ConfigError as error: print(error, error.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=_environment())
    (file.parent / locked).chmod(0o755)
    assert "cannot be read: Permission denied. Try with sudo 4\n" in done.stdout, done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY / "agent")}


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("wg0", True),
        ("eth0.100", True),
        ("br-lan", True),
        ("wlp3s0@if2", True),
        ("a" * 15, True),
        ("a" * 16, False),
        ("", False),
        ("us+ny=", True),
        ("wg*0", True),
        ("wgé", True),
        ("é" * 8, False),
        ("wg*", False),
        ("wg 0", False),
        ("wg0\n", False),
        ("\u202ewg", False),
        ('"', False),
    ],
)
def test_an_interface_name_has_up_to_15_bytes_that_nft_and_terminals_can_take(name: str, fits: bool) -> None:
    assert config.is_interface(name) is fits

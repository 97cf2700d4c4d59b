"""commands.py: requests against a real configuration folder; the kernel's part is a stub."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stunwall.config import Allow
from stunwall.configfile import reader
from stunwall.configfile.drop_in import NAME as DROP_IN
from stunwall.configfile.errors import ConfigError
from stunwall.control.prompts import Authorize
from stunwall.daemon import commands
from stunwall.model import Event
from stunwall.polkit import ALLOW
from stunwall.wall import table
from stunwall.wall.nft import Nft, NftError
from stunwall.wall.pause import LONGEST
from unit.daemon.commands import GUEST, MEMBER, PORT, ROOT, Served

# Who may


@pytest.mark.parametrize(
    "command",
    [
        "pause",
        "resume",
        "reload",
        "allow-add",
        "allow-preset",
        "allow-remove",
        "allow-list",
        "nonsense",
        "",
        None,
        1,
        [],
        {},
    ],
)
def test_a_peer_without_rights_may_do_nothing(served: Served, paused: list[int], command: Any) -> None:
    before = served.files()
    reply = served.ask(command, GUEST, seconds=60, rule=PORT, number=1)
    assert reply == {"error": "only root and the group stunwall may change anything", "refused": True}
    assert (served.files(), served.configured, served.recorded, paused) == (before, [], [], [])


@pytest.mark.parametrize("for_all", [False, True])
def test_status_is_for_those_with_rights_and_for_all_if_the_user_says_so(
    tmp_path: Path, for_all: bool
) -> None:
    (tmp_path / "stunwall.toml").write_text(f"status_for_all = {str(for_all).lower()}\n")
    served = Served(tmp_path)
    assert served.ask("status", ROOT)["state"] == "protected"
    told = served.ask("status", GUEST)
    assert told["state"] == "protected" if for_all else "status_for_all = false" in told["error"]
    assert "error" in served.ask("allow-list", GUEST)


def test_what_each_exception_applies_to_is_told(served: Served) -> None:
    served.cgroups = [["system.slice/a.service"], None]
    for reply in (served.add(unit="a.service", why="w"), served.ask("allow-list")):
        assert reply["cgroups"] == [["system.slice/a.service"], None]


def test_those_without_rights_share_a_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stunwall.toml").write_text("status_for_all = true\n")
    served = Served(tmp_path)
    clock = 1000.0
    monkeypatch.setattr(commands, "time", SimpleNamespace(monotonic=lambda: clock))
    for _ in range(1000):
        assert served.ask("status", GUEST)["state"] == "protected"
    assert served.asked == 1
    clock += 1
    assert served.ask("status", GUEST)["state"] == "protected"
    assert served.asked == 2
    for _ in range(3):
        served.ask("status", ROOT)
    assert served.asked == 5, "root gets it as it is now"


@pytest.mark.parametrize("command", ["nonsense", "", None, 1, [], {}, "Status", "allow"])
def test_an_unknown_command_is_told_the_known_ones(served: Served, command: Any) -> None:
    assert (
        "Known commands: status, events, subscribe, check, check-begin, check-done, pause, resume, reload, "
        "check-every-vpn-up, allow-list" in served.ask(command)["error"]
    )
    assert "unknown command" in str(served.commands.answer({}, ROOT))


# Pause


def test_pause_and_resume_tell_the_kernel_and_the_record(served: Served, paused: list[int]) -> None:
    until = served.ask("pause", seconds=60)["paused_until"]
    assert isinstance(until, int | float)
    assert served.ask("resume") == {"was_paused": True}
    assert served.ask("resume") == {"was_paused": False}
    assert paused == [60, 0, 0]
    assert served.recorded == [
        ("paused", "for 60 s, by user 0 (root), who needs no permission"),
        ("resumed", "by user 0 (root), who needs no permission"),
    ]
    assert served.authors == [(0, "root")] * 2


@pytest.mark.parametrize(
    "seconds", [0, -1, LONGEST + 1, 10**30, True, False, 1.5, "60", None, [60], {}, float("nan")]
)
def test_a_strange_pause_is_refused_and_changes_nothing(
    served: Served, paused: list[int], seconds: Any
) -> None:
    assert "a pause " in served.ask("pause", seconds=seconds)["error"]
    assert "a pause " in served.ask("pause")["error"]
    assert (paused, served.recorded) == ([], [])


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_pause_that_the_kernel_refuses_is_no_pause_and_is_not_recorded(
    served: Served, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def refuse(nft: Nft, seconds: int, now: int) -> None:
        raise NftError("no")

    monkeypatch.setattr(table, "pause", refuse)
    assert served.ask(command, seconds=60) == {"error": "no"}
    assert served.recorded == []


# Exceptions


def test_what_is_added_is_in_force_and_stands_in_the_drop_in(served: Served) -> None:
    unit = {"unit": "a\\x2db.service", "why": "one"}
    assert served.add(**unit)["allow"] == [unit]
    assert served.add(**PORT)["allow"] == [unit, PORT]
    assert served.ask("allow-list")["allow"] == [unit, PORT]
    wanted = (Allow("one", unit="a\\x2db.service"), Allow("a test", port=3478))
    assert served.configured[-1].allow == reader.load(served.file).allow == wanted
    assert served.files().keys() == {"stunwall.toml", f"conf.d/{DROP_IN}"}
    served.restart()
    assert served.ask("allow-list")["allow"] == [unit, PORT]


@pytest.mark.parametrize(
    "rule",
    [
        {"to": "203.0.113.7/32"},
        {"to": "2001:db8::/32", "port": 1, "protocol": "tcp"},
        {"user": 1000, "interface": "eth0.7"},
        {"port": 1, "until": 9223372036},
        {"unit": "user.slice/user-1000.slice"},
        {"port": 65535, "protocol": "udp", "user": 0, "unit": "x.service", "interface": "a@b"},
    ],
)
def test_every_key_comes_back_as_it_was_given(served: Served, rule: dict[str, Any]) -> None:
    assert served.add(**rule, why="w")["allow"] == [rule | {"why": "w"}]
    served.restart()
    assert served.ask("allow-list")["allow"][0] == rule | {"why": "w"}


@pytest.mark.parametrize(
    "why",
    [
        'says "hello"',
        "back\\slash",
        "\\",
        "\\\\",
        '\\"',
        "'''",
        '"""',
        '"\\u0041"',
        "\\u0041\\n",
        "# no comment",
        "[[allow]]",
        "= 1",
        "{}",
        "a, b",
        "é",
        "接口",
        "🦊",
        "e\u0301",
        "…",
        "${HOME}",
        "%s %n",
        "x" * 3000,
    ],
)
def test_a_hostile_reason_comes_back_letter_by_letter(served: Served, why: str) -> None:
    served.add(port=1, why="before")
    assert served.add(port=2, why=why)["allow"][1] == {"port": 2, "why": why}
    served.add(port=3, why="after")
    assert [rule.why for rule in reader.load(served.file).allow] == ["before", why, "after"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_comes_back_or_is_refused_with_the_disk_as_it_was(
    served: Served, why: str, unit: str
) -> None:
    served.drop_in.unlink(missing_ok=True)
    served.restart()
    before = served.files()
    reply = served.add(port=1, why=why, unit=unit)
    if "error" in reply:
        assert served.files() == before
        assert "\n" not in reply["error"]
    else:
        (rule,) = reader.load(served.file).allow
        assert (rule.why, rule.unit) == (why, unit)


WRONG: list[dict[str, Any]] = [
    {},
    {"why": "alone"},
    {"port": 1},
    {"port": 1, "why": ""},
    {"port": 1, "why": "   "},
    *({"port": 1, "why": f"a{c}b"} for c in "\n\r\0\x1b\x7f\x85\u2028\u202e\ud800\udc41"),
    {"port": 1, "why": "a\ud83d"},
    {"port": 1, "why": 1},
    {"port": 1, "why": True},
    {"port": 1, "why": None},
    {"port": 1, "why": ["x"]},
    {"port": 1, "why": {"x": 1}},
    {"port": True, "why": "x"},
    {"port": 1.0, "why": "x"},
    {"port": "1", "why": "x"},
    {"port": 0, "why": "x"},
    {"port": 10**4000, "why": "x"},
    {"to": "fe80::1%eth0", "why": "x"},
    {"to": "0.0.0.0/0 accept", "why": "x"},
    {"interface": "eth*", "why": "x"},
    {"interface": 'eth0" accept', "why": "x"},
    {"unit": "../..", "why": "x"},
    {"unit": 'a" accept; add table x', "why": "x"},
    {"user": "no such user", "why": "x"},
    {"user": -1, "why": "x"},
    {"until": 1, "why": "x"},
    {"port": 1, "until": True, "why": "x"},
    {"port": 1, "until": "2026-12-24T18:00:00Z", "why": "x"},
    {"protocol": "sctp", "why": "x"},
    {"ports": 1, "why": "x"},
    {"mode": "block", "port": 1, "why": "x"},
    {"": 1, "port": 1, "why": "x"},
    {"port": 1, "why": "x", "[log]\nkeep_rows": 1},
    {"port": 1, "why": "x", "port = 2\n[[allow]]\nport": 1},
    {"why = 'y'\nport": 1},
]


@pytest.mark.parametrize("rule", WRONG, ids=lambda rule: ascii(rule)[:60])
def test_a_wrong_exception_is_refused_with_the_disk_as_it_was(served: Served, rule: dict[str, Any]) -> None:
    served.add(**PORT)
    before, configured = served.files(), len(served.configured)
    said = served.add(**rule)["error"]
    assert said
    assert "\n" not in said
    json.dumps(said).encode()  # as control.py sends it
    assert str(served.file.parent) not in said
    assert (served.files(), len(served.configured)) == (before, configured)
    assert served.ask("allow-list")["allow"] == [PORT]


@pytest.mark.parametrize("rule", [None, [], "x", 1, [["port", 1]]])
def test_what_is_no_object_is_refused(served: Served, rule: Any) -> None:
    assert "an object as in [[allow]]" in served.ask("allow-add", rule=rule)["error"]
    assert "an object as in [[allow]]" in served.ask("allow-add")["error"]
    assert served.files().keys() == {"stunwall.toml"}


def test_there_is_a_limit_to_exceptions(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_ALLOW_MAX", 3)
    served.also("10-mine.toml", 1)
    assert [("error" in served.add(**PORT)) for _ in range(3)] == [False, False, True]
    assert "there are already 3 exceptions" in served.add(**PORT)["error"]
    served.ask("allow-remove", number=3)
    assert "allow" in served.add(**PORT)


def test_what_was_added_can_be_removed_by_its_number(served: Served) -> None:
    served.also("10-mine.toml", 10, 11)
    served.also("95-mine.toml", 95)
    for port in (1, 2, 3):
        served.add(port=port, why="w")
    ports = [rule["port"] for rule in served.ask("allow-list")["allow"]]
    assert ports == [10, 11, 1, 2, 3, 95]
    reply = served.ask("allow-remove", number=4)
    assert [rule["port"] for rule in reply["allow"]] == [10, 11, 1, 3, 95]
    assert [rule.port for rule in served.configured[-1].allow] == [10, 11, 1, 3, 95]
    assert [rule.port for rule in reader.load(served.file).allow] == [10, 11, 1, 3, 95]
    served.ask("allow-remove", number=3)
    reply = served.ask("allow-remove", number=3)
    assert [rule["port"] for rule in reply["allow"]] == [10, 11, 95]


@pytest.mark.parametrize(("number", "file"), [(1, "stunwall.toml"), (2, "10-mine.toml"), (4, "95-mine.toml")])
def test_what_stands_in_a_file_of_the_users_is_not_removed_and_the_file_is_named(
    tmp_path: Path, number: int, file: str
) -> None:
    (tmp_path / "stunwall.toml").write_text('[[allow]]\nport = 3478\nwhy = "a test"\n')  # the same as PORT
    served = Served(tmp_path)
    served.also("10-mine.toml", 10)
    served.also("95-mine.toml", 95)
    served.add(**PORT)
    before = served.files()
    said = served.ask("allow-remove", number=number)["error"]
    assert said.startswith(f"exception {number} is in ")
    assert said.endswith(f"{file}: remove it there")
    assert served.files() == before


@pytest.mark.parametrize("number", [0, -1, 2, 10**30, True, False, None, "1", 1.0, [1]])
def test_a_number_that_is_none_removes_nothing(served: Served, number: Any) -> None:
    served.add(**PORT)
    before = served.files()
    assert "no exception with that number" in served.ask("allow-remove", number=number)["error"]
    assert "no exception with that number" in served.ask("allow-remove")["error"]
    assert served.files() == before


def test_numbers_of_files_that_changed_since_are_not_trusted(served: Served) -> None:
    served.add(**PORT)
    (served.drop_in.parent / "10-mine.toml").write_text('[[allow]]\nport = 1\nwhy = "x"\n')
    before = served.files()
    assert "has changed: `stunwall reload` first" in served.ask("allow-remove", number=1)["error"]
    assert served.files() == before


def test_adding_takes_over_what_the_user_wrote_meanwhile(served: Served) -> None:
    (served.file).write_text('mode = "redirect"\n[[allow]]\nport = 1\nwhy = "x"\n')
    served.add(**PORT)
    assert [rule.port for rule in served.configured[-1].allow] == [1, 3478]
    assert served.configured[-1].mode == "block"  # that needs a restart


def test_a_mistake_in_a_file_of_the_users_is_told_with_its_place_and_nothing_is_written(
    served: Served,
) -> None:
    served.file.write_text("\nqueue = -1\n")
    before = served.files()
    said = served.add(**PORT)["error"]
    assert said.startswith(f"{served.file}, line 2: queue: ")
    assert served.files() == before


def test_a_drop_in_that_somebody_broke_is_told_and_not_overwritten(served: Served) -> None:
    served.drop_in.parent.mkdir()
    served.drop_in.write_text("broken")
    assert str(served.drop_in) in served.add(**PORT)["error"]
    assert served.drop_in.read_text() == "broken"


def test_what_the_kernel_refuses_is_not_in_force_after_the_next_start_either(served: Served) -> None:
    served.refusal = NftError("the kernel says no")
    assert served.add(**PORT) == {"error": "the kernel says no"}
    assert reader.load(served.file).allow == ()
    served.refusal = None
    served.add(**PORT)
    served.refusal = NftError("the kernel says no")
    assert served.add(port=1, why="x") == {"error": "the kernel says no"}
    assert served.ask("allow-list")["allow"] == [PORT]
    assert [rule.port for rule in reader.load(served.file).allow] == [3478]
    assert served.files().keys() == {"stunwall.toml", f"conf.d/{DROP_IN}"}


@pytest.mark.parametrize("obstacle", ["conf.d", "conf.d/90-allow.new/x"])
def test_a_folder_that_cannot_be_written_is_told(served: Served, obstacle: str) -> None:
    """Root may write everywhere, so something stands in the way."""
    inside = served.file.parent / obstacle
    inside.parent.mkdir(exist_ok=True, parents=True)
    inside.touch()
    before = served.files()
    said = served.add(**PORT)["error"]
    assert "cannot " in said
    assert (served.files(), served.configured) == (before, [])


def test_plain_leaves_out_what_is_not_given_and_can_be_json() -> None:
    rule = Allow("w", port=1, user=0).plain()
    assert rule == {"port": 1, "user": 0, "why": "w"}
    assert json.loads(json.dumps(rule)) == rule


def test_a_note_is_an_event_that_the_record_takes() -> None:
    event = Event.note(time.time(), "paused", "for 60 s")
    assert (event.verdict, event.reason, event.count) == ("paused", "for 60 s", 1)
    assert event.time == event.last_time > 0


# Exceptions that end


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that the commands see: `clock.now` in Unix seconds."""
    clock = SimpleNamespace(now=1000.0, monotonic=time.monotonic)
    clock.time = lambda: clock.now
    monkeypatch.setattr(commands, "time", clock)
    return clock


def test_an_exception_that_has_ended_is_removed_from_the_drop_in(
    served: Served, clock: SimpleNamespace
) -> None:
    assert served.commands.due is None
    served.add(port=1, until=1060, why="a minute")
    served.add(port=2, until=1090, why="longer")
    served.add(**PORT)
    assert served.commands.due == 60
    clock.now = 1059.9
    served.commands.remove_ended()
    assert len(served.ask("allow-list")["allow"]) == 3
    clock.now = 1060
    assert served.commands.due == 0
    served.commands.remove_ended()
    kept = [{"port": 2, "until": 1090, "why": "longer"}, PORT]
    assert served.ask("allow-list")["allow"] == kept
    assert [rule.plain() for rule in served.configured[-1].allow] == kept
    assert served.commands.due == 30
    clock.now = 5000  # it ends while no daemon runs
    served.restart()
    served.commands.remove_ended()
    assert served.ask("allow-list")["allow"] == [PORT]
    assert reader.load(served.file).allow == served.configured[-1].allow
    assert served.commands.due is None


def test_one_that_a_user_wrote_stays_in_its_file_and_is_not_looked_at_again(
    served: Served, clock: SimpleNamespace
) -> None:
    served.also("50-mine.toml", 1)
    file = served.drop_in.parent / "50-mine.toml"
    file.write_text(file.read_text() + "until = 1060\n")
    served.restart()
    before = served.files()
    clock.now = 2000
    assert served.commands.due == 0
    served.commands.remove_ended()
    assert (served.files(), served.configured) == (before, [])
    assert served.commands.due is None


def test_removing_does_not_put_a_file_into_force_that_is_being_edited(
    served: Served, clock: SimpleNamespace
) -> None:
    served.add(port=1, until=1060, why="w")
    file = served.drop_in.parent / "50-mine.toml"
    file.write_text('[[allow]]\nport = 2\nwhy = "not reloaded yet"\n')
    clock.now = 2000
    served.commands.remove_ended()
    assert served.configured[-1].allow == ()


def test_one_that_cannot_be_removed_is_told_once(served: Served, clock: SimpleNamespace) -> None:
    served.add(port=1, until=1060, why="w")
    served.file.write_text("mode = 1")
    clock.now = 2000
    with pytest.raises(ConfigError):
        served.commands.remove_ended()
    assert served.commands.due is None


# Reload


def test_a_reload_puts_the_files_into_force_and_names_what_changed(served: Served) -> None:
    served.file.write_text('mode = "redirect"\nguard_ports = [443]\n')
    assert served.ask("reload") == {"changed": ["mode", "guard_ports"]}
    (configured,) = served.configured
    assert configured == reader.load(served.file)
    assert served.ask("reload") == {"changed": []}


@pytest.mark.parametrize(
    "text",
    ["queue = 1", "mark_mask = 6", 'state_dir = "/x"', 'run_dir = "/x"', 'queue = 1\nmode = "redirect"'],
)
def test_a_reload_refuses_what_needs_a_restart_and_changes_nothing(served: Served, text: str) -> None:
    served.file.write_text(text)
    error = served.ask("reload")["error"]
    assert error.startswith(f"nothing was changed: {text.split()[0]} cannot change")
    assert "systemctl restart stunwall" in error
    assert served.configured == []


def test_a_reload_of_a_wrong_file_names_line_and_key_and_changes_nothing(served: Served) -> None:
    served.file.write_text('mode = "off"')
    assert "line 1: mode" in served.ask("reload")["error"]
    assert served.configured == []


def test_a_reload_that_the_kernel_refuses_changes_nothing(served: Served) -> None:
    served.file.write_text('mode = "redirect"')
    served.refusal = NftError("the kernel says no")
    assert served.ask("reload") == {"error": "the kernel says no"}
    served.refusal = None
    assert served.ask("reload") == {"changed": ["mode"]}


# Presets

PRESET = [
    {"port": 3478, "unit": "a.service", "preset": "a", "why": "one"},
    {"port": 19302, "unit": "a.service", "preset": "a", "why": "one"},
]


def test_a_preset_is_written_at_once_and_again_changes_nothing(served: Served) -> None:
    served.add(**PORT)
    assert served.ask("allow-preset", rules=PRESET)["allow"] == [PORT, *PRESET]
    assert reader.load(served.file).allow == served.configured[-1].allow
    assert len(served.configured) == 2
    by = "by user 0 (root), who needs no permission"
    assert served.recorded[1:] == [
        ("allowed", f"port 3478, unit a.service: one; {by}"),
        ("allowed", f"port 19302, unit a.service: one; {by}"),
    ]
    before, recorded = served.files(), list(served.recorded)
    assert served.ask("allow-preset", rules=PRESET)["allow"] == [PORT, *PRESET]
    assert (served.files(), served.recorded, len(served.configured)) == (before, recorded, 2)


def test_a_preset_of_another_version_replaces_the_one_before(served: Served) -> None:
    served.ask("allow-preset", rules=PRESET)
    other = [PRESET[0] | {"port": 5}]
    assert served.ask("allow-preset", rules=other)["allow"] == other


def test_a_preset_is_removed_by_its_name_with_all_of_its_exceptions(served: Served) -> None:
    served.ask("allow-preset", rules=PRESET)
    served.add(**PORT)
    assert served.ask("allow-remove", preset="a")["allow"] == [PORT]
    assert reader.load(served.file).allow == served.configured[-1].allow
    assert [verdict for verdict, _ in served.recorded] == ["allowed"] * 3 + ["revoked"] * 2
    before = served.files()
    told = f"there is no exception of a preset 'a' in {served.drop_in}"
    assert told in served.ask("allow-remove", preset="a")["error"]
    assert served.files() == before


@pytest.mark.parametrize(
    "rules",
    [
        *(None, [], {}, "x", [1], [[]], [PORT], [{}], [*PRESET, PORT]),
        [*PRESET, PRESET[0] | {"preset": "b"}],
        PRESET * 17,
        [PRESET[0] | {"preset": "A b"}],
        [PRESET[0] | {"preset": ""}],
        [PRESET[0] | {"preset": 1}],
        [{"preset": "a", "why": "for everything"}],
        [PRESET[0] | {"port": 0}],
        [{key: value for key, value in PRESET[0].items() if key != "why"}],
    ],
    ids=lambda rules: ascii(rules)[:40],
)
def test_a_wrong_preset_is_refused_with_the_disk_as_it_was(served: Served, rules: Any) -> None:
    served.add(**PORT)
    before = served.files()
    assert served.ask("allow-preset", rules=rules)["error"]
    assert (served.files(), len(served.configured)) == (before, 1)


def test_a_preset_needs_the_permission_for_an_exception_and_names_all_of_it(served: Served) -> None:
    asked = served.commands.answer({"command": "allow-preset", "rules": PRESET, "interactive": True}, MEMBER)
    assert isinstance(asked, Authorize)
    assert (asked.action, asked.interactive) == (ALLOW, True)
    assert asked.what.endswith("(port 3478, unit a.service; port 19302, unit a.service)"), "not its name"
    assert served.configured == []
    served.ask("allow-preset", rules=PRESET)
    again = served.commands.answer({"command": "allow-preset", "rules": PRESET}, MEMBER)
    assert isinstance(again, dict), "nothing changes, so nobody is asked"
    assert "allow" in again

"""cli/checks.py: each check by itself, on a machine that is made up."""

import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stunwall import __version__, config
from stunwall.config import Allow, Config, Mode
from stunwall.configfile import reader
from stunwall.configfile.errors import ConfigPermissionError
from stunwall.control.protocol import ControlError, ControlPermissionError
from stunwall.doctor import checks
from stunwall.doctor.findings import Machine, Result
from stunwall.record.schema import FILE
from stunwall.record.writer import RecordWriter
from stunwall.wall.nft import NftError, NftPermissionError
from stunwall.wall.state import Wall
from unit.made import NOTE, OK, PROBLEM, UNKNOWN, WARNING, Made, status, unit, wall
from unit.record.test_events import event, sql


def test_of_a_machine_that_is_well_every_check_says_so(made: Made) -> None:
    record(made)
    found = checks.examine(made.machine.file)
    assert {each.result for each in found} == {OK}
    # Of neighbours there is nothing to say.
    assert {each.check for each in found} == checks._CHECKS.keys() - {"neighbours"}


# configuration


def test_a_configuration_that_is_named_and_missing_is_a_problem_and_the_defaults_are_looked_at(
    made: Made,
) -> None:
    machine = Machine(made.folder / "other.toml")
    (problem,) = made.find("configuration", machine)[PROBLEM]
    assert f"{made.folder}/other.toml: cannot be read: No such file" in problem.what
    assert "stunwall config check" in problem.next
    assert machine.settings == Config()


def test_a_configuration_that_the_caller_may_not_read_is_no_wrong_one(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(file: Path) -> Config:
        raise ConfigPermissionError("cannot be read: Permission denied. Try with sudo", file)

    monkeypatch.setattr(reader, "load", load)
    machine = made.machine
    (unknown,) = made.find("configuration", machine)[UNKNOWN]
    assert "Permission denied. Try with sudo" in unknown.what
    assert not machine.readable


def test_the_default_configuration_may_be_missing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.machine.file.unlink()
    monkeypatch.setattr(reader, "DEFAULT_FILE", made.machine.file)
    assert made.one("configuration", OK).what.endswith("is not there: the defaults are in force")


@pytest.mark.parametrize(
    ("rule", "whose"),
    [
        ("port = 3478", "every destination"),
        ('interface = "eth0"', "every destination"),
        ('to = "0.0.0.0/0"', "every destination"),
        ('to = "::/0"\nport = 3478', "every destination"),
        ('to = "0.0.0.0/1"', "every destination"),
        ('to = "192.0.2.0/24"', ""),
        ("user = 1000", "every program of a user, browsers too"),
        ('to = "0.0.0.0/0"\nuser = 1000', "every program of a user, browsers too"),
        ('to = "192.0.2.0/24"\nuser = 1000', ""),
        ("user = 999", ""),
        ('unit = "tailscaled.service"', ""),
        ('unit = "user.slice"', "every program of who is logged in"),
        ('unit = "user.slice/user-1000.slice"', "every program of who is logged in"),
        ('unit = "user.slice/user-1000.slice/user@1000.service/app.slice/call.service"', ""),
    ],
)
def test_an_exception_that_a_web_page_could_use_is_warned_of(made: Made, rule: str, whose: str) -> None:
    made.machine.file.write_text(f'[[allow]]\nwhy = "a test"\n{rule}\n')
    warned = [each.what for each in made.find("configuration").get(WARNING, [])]
    assert warned == ([f"exception 1 (a test) holds for {whose}"] if whose else [])


# kernel


def test_a_missing_kernel_piece_is_a_problem(made: Made) -> None:
    made.missing = "the kernel lacks something. Load it"
    assert made.one("kernel", PROBLEM).what == made.missing


def test_a_kernel_without_queue_in_nftables_is_fine_with_a_note(made: Made) -> None:
    made.queues = False
    found = made.find("kernel")
    assert found.keys() == {OK, NOTE}
    assert "NFQUEUE takes its place" in found[NOTE][0].what


@pytest.mark.parametrize("stands", [None, wall(queue=None)], ids=["no wall", "door shut"])
def test_that_the_other_way_to_queue_works_is_not_claimed_before_it_was_used(made: Made, stands: Any) -> None:
    made.queues, made.wall = False, stands
    found = made.find("kernel")
    assert found.keys() == {OK, WARNING}
    assert "seen when stunwalld starts" in found[WARNING][0].why


@pytest.mark.parametrize("said", [None, "the kernel lacks nftables. Try modprobe"])
def test_what_keeps_nft_from_answering_is_a_problem_and_not_a_matter_of_rights(
    made: Made, said: str | None
) -> None:
    made.wall, made.missing = NftError("the program nft is missing: install the package nftables"), said
    del made.printed["nft --version"]
    assert (said or "install the package nftables") in made.one("kernel", PROBLEM).what


def test_too_few_rights_for_the_kernels_rules_are_no_judgement_on_the_kernel(made: Made) -> None:
    made.wall = NftPermissionError("try with sudo")
    assert made.one("kernel", UNKNOWN).what == "could not be checked: try with sudo"


# daemon


@pytest.mark.parametrize(
    ("said", "result", "what", "cure"),
    [
        (None, PROBLEM, "it does not run", "systemctl start stunwall"),
        (ControlError("stunwalld does not answer"), PROBLEM, "stunwalld does not answer", "restart stunwall"),
        (
            ControlPermissionError("the socket is for root: try with sudo"),
            UNKNOWN,
            "could not be checked: the socket is for root: try with sudo",
            "",
        ),
        ({"error": "status is for root"}, UNKNOWN, "status is for root", ""),
    ],
)
def test_a_daemon_that_says_nothing_is_told_from_one_that_may_not(
    made: Made, said: Any, result: Result, what: str, cure: str
) -> None:
    made.daemon = said
    machine = Machine(made.machine.file, made.machine.settings)
    (told_,) = made.find("daemon", machine)[result]
    assert told_.what == what
    assert cure in told_.next
    assert machine.daemon is None
    assert made.find("vpn", machine) == {}


@pytest.mark.parametrize("state", ["protected", "sealed"])
def test_a_daemon_that_is_well_is_told_with_its_state(made: Made, state: str) -> None:
    made.daemon = status(state=state, pid=812)
    assert made.one("daemon", OK).what == f"runs as process 812, {state}"


@pytest.mark.parametrize(
    ("state", "cure"), [("open", 'when_vpn_down = "block"'), ("paused", "stunwall resume")]
)
def test_a_state_in_which_stun_leaves_is_a_problem_with_its_way_out(
    made: Made, state: str, cure: str
) -> None:
    made.daemon = status(state=state)
    (problem,) = made.find("daemon")[PROBLEM]
    assert problem.what == f"its state is {state}"
    assert cure in problem.next


def test_what_the_daemon_complains_of_are_problems(made: Made) -> None:
    made.daemon = status(state="degraded", problems=["the disk is full", "links cannot be read"])
    found = made.find("daemon")
    assert [each.what for each in found[PROBLEM]] == ["the disk is full", "links cannot be read"]
    assert OK not in found


def test_a_daemon_of_another_version_is_a_warning(made: Made) -> None:
    made.daemon = status(version="0.0.1")
    (warning,) = made.find("daemon")[WARNING]
    assert warning.what == f"version 0.0.1 runs, {__version__} is installed"
    assert "restart" in warning.next


def test_of_a_daemon_that_says_less_than_this_one_the_version_is_told_all_the_same(made: Made) -> None:
    made.daemon = {"version": "0.0.1", "pid": 1, "problems": []}
    found = made.find("daemon")
    assert "0.0.1 runs" in found[WARNING][0].what
    assert "an answer was not understood (KeyError('state'))" in found[UNKNOWN][0].what


def test_where_the_configuration_is_wrong_a_daemon_that_is_not_found_may_be_elsewhere(made: Made) -> None:
    made.daemon = None
    machine = Machine(made.machine.file, made.machine.settings, readable=False)
    (unknown,) = made.find("daemon", machine)[UNKNOWN]
    assert "may name another folder" in unknown.what


@pytest.mark.parametrize(
    ("changed", "what", "cure"),
    [
        ({"mode": "redirect"}, "mode", "sudo stunwall reload"),
        ({"when_vpn_down": "allow", "on_block": "drop"}, "on_block, when_vpn_down", "sudo stunwall reload"),
        ({"queue": 4781}, "queue", "restart stunwall"),
        ({"mark_mask": 3, "mode": "redirect"}, "mode, mark_mask", "restart stunwall"),
        ({"allow": [{"port": 3478, "why": "a test"}]}, "allow", "sudo stunwall reload"),
    ],
)
def test_what_the_daemon_does_otherwise_than_the_configuration_says_is_a_warning(
    made: Made, changed: dict[str, Any], what: str, cure: str
) -> None:
    made.daemon = status(**changed)
    (warning,) = made.find("daemon")[WARNING]
    assert warning.what == f"not in force yet: {what} as the configuration has it"
    assert cure in warning.next


def test_an_exception_in_force_is_the_one_of_the_configuration(made: Made) -> None:
    made.daemon = status(allow=[{"port": 3478, "why": "a test"}])
    machine = made.machine
    machine.settings = replace(machine.settings, allow=(Allow("a test", port=3478),))
    assert made.find("daemon", machine).keys() == {OK}


def test_packets_that_were_too_many_are_a_warning(made: Made) -> None:
    made.daemon = status(queue_overruns=7)
    assert made.find("daemon")[WARNING][0].what.startswith("7 packets were more than it could take")


def test_where_systemd_does_not_run_the_advice_is_to_start_it_by_hand(made: Made) -> None:
    made.systemd.rmdir()
    made.daemon = None
    assert made.one("daemon", PROBLEM).next == "sudo stunwalld"


# wall


@pytest.mark.parametrize(
    ("stands", "daemon", "what"),
    [
        (None, None, "there is none"),
        (wall(whole=False), status(), "rules of it are gone, or others are between them"),
        (wall(queue=None), status(), "its door is shut though the daemon runs"),
    ],
    ids=["none", "damaged", "shut"],
)
def test_a_wall_that_does_not_stand_as_it_should_is_a_problem(
    made: Made, stands: Wall | None, daemon: Any, what: str
) -> None:
    made.wall, made.daemon = stands, daemon
    problem = made.one("wall", PROBLEM)
    assert problem.what == what
    assert "systemctl restart" in problem.next


def test_a_pause_that_no_daemon_will_end_is_a_problem(made: Made) -> None:
    made.wall, made.daemon = wall(paused=90), None
    problem = made.one("wall", PROBLEM)
    assert problem.what == "it is paused for 90 s more, though no daemon runs"
    assert "resume" in problem.next


def test_a_shut_door_is_right_while_no_daemon_runs(made: Made) -> None:
    made.wall, made.daemon = wall(queue=None), None
    assert made.one("wall", OK).what == "stands, and is whole"


@pytest.mark.parametrize(("who", "named"), [("nft (pid 7)", "nft (pid 7)"), ("", "a program that is not")])
def test_each_gap_is_a_warning_that_names_who_made_it_and_how_long_it_was(
    made: Made, who: str, named: str
) -> None:
    made.daemon = status(gaps=[{"who": who, "start": 1.8e9, "end": 1.8e9 + 0.03125}])
    (warning,) = made.find("wall")[WARNING]
    assert warning.what.startswith(named)
    assert warning.what.endswith("for 0.031 s")
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1.8e9)) in warning.what


# service


def test_where_systemd_does_not_run_a_note_says_that_nothing_starts_it(made: Made) -> None:
    made.systemd.rmdir()
    made.printed.clear()  # nobody asks systemctl
    assert "nothing starts stunwall at boot" in made.one("service", NOTE).what


@pytest.mark.parametrize("name", checks._UNITS)
@pytest.mark.parametrize(
    ("shown", "result", "what", "cure"),
    [
        ({"LoadState": "not-found"}, PROBLEM, "{} is not installed", "install stunwall"),
        ({"UnitFileState": "disabled"}, PROBLEM, "{} is disabled", "sudo systemctl enable {}"),
        ({"UnitFileState": "enabled-runtime"}, PROBLEM, "{} is enabled-runtime", "sudo systemctl enable {}"),
        (
            {"LoadState": "masked", "UnitFileState": "masked"},
            PROBLEM,
            "{} is masked",
            "sudo systemctl unmask {}; sudo systemctl enable {}",
        ),
        (
            {"ActiveState": "failed", "Result": "watchdog"},
            PROBLEM,
            "{} is failed (watchdog)",
            "journalctl -u {}",
        ),
        ({"ActiveState": "inactive"}, PROBLEM, "{} is inactive (success)", "sudo systemctl restart {}"),
        ({"NeedDaemonReload": "yes"}, WARNING, "{} has changed on disk", "sudo systemctl daemon-reload"),
        ({"NRestarts": "3"}, WARNING, "{} was restarted 3 times", "journalctl -u {} -p warning"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_a_unit_that_is_not_well_is_told_with_the_way_to_mend_it(
    made: Made, name: str, shown: dict[str, str], result: Result, what: str, cure: str
) -> None:
    made.printed[f"systemctl show {name}"] = unit(**shown)
    (told_,) = made.find("service")[result]
    assert told_.what.startswith(what.format(name))
    assert cure.format(name, name) in told_.next


def test_a_unit_may_have_several_faults(made: Made) -> None:
    name = checks._UNITS[0]
    made.printed[f"systemctl show {name}"] = unit(
        UnitFileState="disabled", ActiveState="failed", NRestarts="2"
    )
    found = made.find("service")
    assert len(found[PROBLEM]) == 2
    assert len(found[WARNING]) == 1
    assert [each.what for each in found[OK]] == [f"{checks._UNITS[1]} is active"]


def test_a_systemd_that_does_not_answer_is_no_judgement_on_the_units(made: Made) -> None:
    made.printed |= {f"systemctl show {name}": "" for name in checks._UNITS}
    assert made.find("service").keys() == {UNKNOWN}


# clock, disk


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    clock = SimpleNamespace(
        time=lambda: seconds, strftime=lambda form: time.strftime(form, (2000,) + (1,) * 8)
    )
    monkeypatch.setattr(checks, "time", clock)


def test_a_clock_before_this_release_is_a_problem(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, checks._RELEASED - 1)
    assert made.one("clock", PROBLEM).what == "it shows 2000-01-01, before this stunwall was made"


@pytest.mark.parametrize(
    ("synchronized", "systemd", "result"),
    [("yes", True, OK), ("no", True, NOTE), ("", True, OK), ("no", False, OK)],
)
def test_a_clock_that_nobody_sets_is_a_note(
    made: Made, monkeypatch: pytest.MonkeyPatch, synchronized: str, systemd: bool, result: Result
) -> None:
    set_clock(monkeypatch, checks._RELEASED)
    made.printed["timedatectl show -P NTPSynchronized"] = f"{synchronized}\n"
    if not systemd:
        made.systemd.rmdir()
    made.one("clock", result)


@pytest.mark.parametrize(
    ("free", "flags", "result", "what"),
    [
        (100 << 20, 0, OK, "100 MiB are left for the record"),
        ((100 << 20) - 4096, 0, WARNING, "99 MiB are left for "),
        (4 << 20, 0, WARNING, "4 MiB are left for "),
        ((4 << 20) - 4096, 0, PROBLEM, "3 MiB are left for "),
        (100 << 20, os.ST_RDONLY, PROBLEM, "on a disk that is read-only"),
    ],
)
def test_the_less_room_for_the_record_the_worse(
    made: Made, monkeypatch: pytest.MonkeyPatch, free: int, flags: int, result: Result, what: str
) -> None:
    answer = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_flag=flags)
    monkeypatch.setattr(os, "statvfs", lambda folder: answer)
    assert what in made.one("disk", result).what


# record


def record(made: Made) -> None:
    """A record of one entry."""
    with closing(
        RecordWriter(made.folder / "state", config.Retention(), lambda event: None, lambda text: None)
    ) as new:
        new.record(event())


def test_a_record_that_is_whole_is_told_with_its_size(made: Made) -> None:
    record(made)
    assert made.one("record", OK).what.startswith("can be read: 1 entries so far, ")


def test_packets_that_were_not_recorded_are_a_warning(made: Made) -> None:
    record(made)
    sql(made.folder / "state", "INSERT INTO lost (time, count) VALUES (1, 5)")
    found = made.find("record")
    assert found.keys() == {WARNING, OK}
    assert found[WARNING][0].what == "5 packets were blocked and not recorded"


@pytest.mark.parametrize("content", [None, b"garbage" * 999, b""])
def test_a_record_that_is_missing_or_damaged_is_a_warning(made: Made, content: bytes | None) -> None:
    if content is not None:
        (made.folder / "state" / FILE).write_bytes(content)
    assert str(made.folder / "state" / FILE) in made.one("record", WARNING).what


def test_a_record_that_was_moved_aside_is_a_warning_also_while_there_is_no_other(made: Made) -> None:
    broken = made.folder / "state" / f"{FILE}.20270101.broken"
    broken.touch()
    assert f"moved aside to {broken}" in made.find("record")[WARNING][1].what


# vpn


def test_every_interface_that_counts_is_told_and_none_is_a_warning(made: Made) -> None:
    eth0 = {"interface": "eth0", "counts": False, "why": "an Ethernet card"}
    assert made.one("vpn", OK).what == "wg0: a wireguard interface"
    made.daemon = status(interfaces=[eth0])
    assert made.one("vpn", WARNING).what == "no interface counts as the VPN"


def test_a_network_card_that_counts_as_the_vpn_is_a_warning(made: Made, tmp_path: Path) -> None:
    (tmp_path / "net" / "eth0" / "device").mkdir(parents=True)
    made.daemon = status(interfaces=[{"interface": "eth0", "counts": True, "why": "named in interfaces"}])
    assert made.one("vpn", WARNING).what.startswith("eth0 counts as the VPN, but is a network card")


@pytest.mark.parametrize(
    ("mode", "families", "warned"),
    [(Mode.REDIRECT, [], True), (Mode.REDIRECT, [4], False), (Mode.BLOCK, [], False)],
)
def test_a_vpn_that_nothing_can_be_redirected_into_is_a_warning_where_that_is_wanted(
    made: Made, mode: Mode, families: list[int], warned: bool
) -> None:
    made.daemon = status(redirects=families)
    machine = made.machine
    machine.settings = Config(mode=mode)
    assert (WARNING in made.find("vpn", machine)) == warned

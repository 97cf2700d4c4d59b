"""`stunwall doctor` on a client that something is wrong with, and on one that is well."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.agent import PACKAGE, Agent
from lab.deadline import until
from lab.process import Process
from lab.topology import Lab

READER = """
import time
from netfilterqueue import NetfilterQueue
queue = NetfilterQueue()
queue.bind({number}, lambda packet: packet.accept())
print("listens", flush=True)
queue.run()
"""


@pytest.fixture(autouse=True)
def vpn(lab: Lab) -> None:
    lab.vpn.up(ipv6=True)


Findings = dict[str, list[str]]


def findings(agent: Agent, *wanted: str) -> tuple[int, Findings]:
    """The exit code, and what was found of the results `wanted`, by check."""
    done = agent.cli("doctor", "--json")
    assert done.stderr == ""
    found: Findings = {}
    for each in json.loads(done.stdout):
        assert each.keys() == {"check", "result", "what", "why", "next"}
        if each["result"] in wanted:
            found.setdefault(each["check"], []).append(each["what"])
    return done.returncode, found


def test_all_is_well(lab: Lab) -> None:
    with Agent(lab) as agent:
        code, found = findings(agent, "problem", "unknown", "warning")
        assert (code, found) == (0, {})
        checked = set(findings(agent, "ok")[1])
        assert checked >= {
            "configuration",
            "rights",
            "kernel",
            "daemon",
            "wall",
            "queue",
            "marks",
            "disk",
            "record",
            "vpn",
        }
        said = agent.cli("doctor").stdout
        assert "0 problems and 0 warnings" in said
        assert "\x1b" not in said


def test_no_daemon_and_no_wall_are_problems(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.stop()
        code, found = findings(agent, "problem")
        assert code == 1
        assert found == {"daemon": ["it does not run"], "wall": ["there is none"]}
        said = agent.cli("doctor").stdout
        assert said.startswith("PROBLEM  daemon: it does not run\n")
        assert "next  sudo stunwalld\n" in said  # no systemd runs here


def test_damaged_wall_is_a_problem(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.kill()
        lab.client.nft("flush chain inet stunwall door")
        assert "rules of it are gone" in findings(agent, "problem")[1]["wall"][0]


@contextmanager
def reader(lab: Lab, number: int) -> Iterator[Process]:
    process = Process(lab.client, sys.executable, "-c", READER.format(number=number))
    try:
        process.wait_line("listens", 10)
        yield process
    finally:
        process.kill()


def test_reader_of_the_queue_is_named(lab: Lab) -> None:
    agent = Agent(lab)
    try:
        with reader(lab, 4780) as process:
            (what,) = findings(agent, "problem")[1]["queue"]
            assert what == f"queue 4780 is read by {Path(sys.executable).name} (pid {process.pid})"
        assert "queue" not in findings(agent, "problem")[1]
    finally:
        agent.close()


def test_reader_of_another_queue_is_a_neighbour(lab: Lab) -> None:
    with Agent(lab) as agent, reader(lab, 0) as process:
        code, found = findings(agent, "note")
        assert code == 0
        assert (
            f"{Path(sys.executable).name} (pid {process.pid}) decides on the packets in queue 0"
            in found["neighbours"]
        )


def test_bits_of_the_mark_that_others_use_are_found_in_rules_and_routing(lab: Lab) -> None:
    with Agent(lab) as agent:
        lab.client.nft(
            "table inet lab_marks { chain c { type filter hook output priority 0; meta mark set 0x10000000; }; }"
        )
        lab.client.ip("rule add fwmark 0x80000000/0x80000000 lookup main pref 99")
        try:
            warned = findings(agent, "warning")[1]["marks"]
        finally:
            lab.client.ip("rule del pref 99")
            lab.client.nft("delete table inet lab_marks")
        assert warned == [
            "table inet lab_marks, chain c uses mark 0x10000000",
            "ip rule, priority 99 uses mark 0x80000000",
        ]
        assert "marks" not in findings(agent, "warning")[1]


def test_gap_is_a_warning(lab: Lab) -> None:
    with Agent(lab) as agent:
        lab.client.nft("delete table inet stunwall")
        agent.wait_line("the wall was not whole")
        code, found = findings(agent, "warning")
        assert code == 0
        assert found["wall"][0].startswith("nft (pid ")


def test_wrong_configuration_is_told_with_its_line_and_the_rest_is_still_looked_at(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.set(mode="off")
        code, found = findings(agent, "problem", "ok")
        assert code == 1
        assert "line 3: mode:" in found["configuration"][0]
        assert {"kernel", "wall", "queue", "clock"} <= found.keys()


def test_wide_exceptions_and_what_opens_the_wall_are_warned_of(lab: Lab) -> None:
    agent = Agent(lab, when_vpn_down="allow")
    (agent.folder / "conf.d").mkdir()
    (agent.folder / "conf.d" / "1.toml").write_text('[[allow]]\nport = 3478\nwhy = "all servers"\n')
    with agent:
        assert findings(agent, "warning")[1]["configuration"] == [
            'when_vpn_down = "allow"',
            "exception 1 (all servers) holds for every destination",
        ]
        lab.vpn.down()
        until(lambda: findings(agent, "problem")[0] == 1, 5, "a problem")
        assert findings(agent, "problem")[1]["daemon"] == ["its state is open"]


def test_files_that_everybody_can_change_are_a_problem(lab: Lab) -> None:
    with Agent(lab) as agent:
        (agent.folder / "stunwall.toml").chmod(0o666)
        (agent.folder / "state").chmod(0o777)
        assert len(findings(agent, "problem")[1]["rights"]) == 2


def test_full_and_missing_disk(lab: Lab, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(state)], check=True)
    try:
        with Agent(lab, state_dir=str(state)) as agent:
            assert findings(agent, "problem")[1]["disk"][0].startswith("0 MiB are left") or findings(
                agent, "problem"
            )[1]["disk"][0].startswith("1 MiB")
    finally:
        subprocess.run(["umount", str(state)], check=True)


def test_without_rights_what_cannot_be_told_is_unknown_and_the_exit_code_says_so(lab: Lab) -> None:
    with Agent(lab, status_for_all=True) as agent:
        for folder in (agent.folder, agent.folder / "state", agent.folder / "run"):
            folder.chmod(0o755)
        done = lab.client.run(
            "env", f"PYTHONPATH={PACKAGE}", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--",
            *agent.command("stunwall.cli"), "doctor", "--json",
        )  # fmt: skip
        unknown = {each["check"] for each in json.loads(done.stdout) if each["result"] == "unknown"}
        assert done.returncode == 4, done.stdout
        assert {"kernel", "wall", "queue", "marks"} <= unknown
        assert "Traceback" not in done.stderr

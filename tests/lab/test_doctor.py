"""`stunwall doctor` on a client with something wrong, and on a healthy one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lab.addresses import NOBODY
from lab.agent import CLI, PACKAGE, QUEUE, RULES_PUT_BACK, Agent
from lab.deadline import until
from lab.process import Process
from lab.topology import Lab

READER = """
from netfilterqueue import NetfilterQueue
queue = NetfilterQueue()
queue.bind({number}, lambda packet: packet.accept())
print("listening", flush=True)
queue.run()
"""

pytestmark = pytest.mark.usefixtures("vpn")

# What each check found.
Findings = dict[str, list[str]]


def findings(agent: Agent, *wanted: str) -> tuple[int, Findings]:
    """The exit code, and the findings with one of the results `wanted`."""
    done = agent.cli("doctor", "--json")
    assert done.stderr == ""
    found: Findings = {}
    for each in json.loads(done.stdout):
        assert each.keys() == {"check", "result", "what", "why", "next"}
        if each["result"] in wanted:
            found.setdefault(each["check"], []).append(each["what"])
    return done.returncode, found


def test_healthy_client_has_no_findings(lab: Lab) -> None:
    with Agent(lab) as agent:
        code, found = findings(agent, "problem", "unknown", "warning")
        assert (code, found) == (0, {})
        checked = "configuration rights kernel daemon wall queue marks disk record vpn"
        assert findings(agent, "ok")[1].keys() >= set(checked.split())
        said = agent.cli("doctor").stdout
        assert "0 problems and 0 warnings" in said
        assert "\x1b" not in said


def test_stopped_daemon_and_missing_wall_are_problems(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.stop()
        code, found = findings(agent, "problem")
        assert code == 1
        assert found == {"daemon": ["not running"], "wall": ["not loaded"]}
        said = agent.cli("doctor").stdout
        assert said.startswith("PROBLEM  daemon: not running\n")
        assert "next  sudo stunwalld\n" in said  # no systemd runs here


def test_damaged_wall_is_a_problem(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.kill()
        lab.client.nft("flush chain inet stunwall postrouting")
        assert (
            "damaged: it is not as stunwall left it: chain postrouting"
            in findings(agent, "problem")[1]["wall"][0]
        )


@contextmanager
def reader(lab: Lab, number: int) -> Iterator[Process]:
    """Another program that reads the queue `number`."""
    process = Process(lab.client, sys.executable, "-c", READER.format(number=number))
    try:
        process.wait_line("listening", 10)
        yield process
    finally:
        process.kill()


def test_program_that_reads_stunwalls_queue_is_named(lab: Lab) -> None:
    with closing(Agent(lab)) as agent:
        with reader(lab, QUEUE) as process:
            (what,) = findings(agent, "problem")[1]["queue"]
            assert what == f"queue {QUEUE} is read by {Path(sys.executable).name} (pid {process.pid})"
        assert "queue" not in findings(agent, "problem")[1]


def test_program_that_reads_another_queue_is_a_note(lab: Lab) -> None:
    with Agent(lab) as agent, reader(lab, 0) as process:
        code, found = findings(agent, "note")
        assert code == 0
        program = f"{Path(sys.executable).name} (pid {process.pid})"
        assert f"{program} decides on packets in queue 0" in found["neighbours"]


def test_other_uses_of_the_mark_bits_are_found_in_rules_and_routing(lab: Lab) -> None:
    chain = "chain c { type filter hook output priority 0; meta mark set 0x10000000; }"
    with Agent(lab) as agent:
        with (
            lab.client.table("inet lab_marks", chain),
            lab.client.rule("fwmark 0x80000000/0x80000000 lookup main pref 99"),
        ):
            warned = findings(agent, "warning")[1]["marks"]
        assert warned == [
            "table inet lab_marks, chain c uses mark 0x10000000",
            "ip rule, priority 99 uses mark 0x80000000",
        ]
        assert "marks" not in findings(agent, "warning")[1]


def test_past_gap_is_a_warning(lab: Lab) -> None:
    with Agent(lab) as agent:
        lab.client.nft("delete table inet stunwall")
        agent.wait_line(RULES_PUT_BACK)
        code, found = findings(agent, "warning")
        assert code == 0
        assert found["wall"][0].startswith("nft (pid ")


def test_wrong_configuration_is_a_problem_with_its_line_and_the_other_checks_still_run(lab: Lab) -> None:
    with Agent(lab) as agent:
        agent.set(mode="off")
        code, found = findings(agent, "problem", "ok")
        assert code == 1
        assert "line 3: mode:" in found["configuration"][0]
        assert {"kernel", "wall", "queue", "clock"} <= found.keys()


def test_broad_exceptions_and_settings_that_let_stun_out_are_warnings(lab: Lab) -> None:
    agent = Agent(lab, when_vpn_down="allow")
    agent.drop_in("1.toml", '[[allow]]\nport = 3478\nwhy = "all servers"\n')
    with agent:
        assert findings(agent, "warning")[1]["configuration"] == [
            'when_vpn_down = "allow"',
            "exception 1 (all servers) applies to every destination",
        ]
        lab.vpn.down()
        until(lambda: findings(agent, "problem")[0] == 1, 5, "a problem")
        assert findings(agent, "problem")[1]["daemon"] == ["its state is open"]


def test_files_that_every_user_can_change_are_a_problem(lab: Lab) -> None:
    with Agent(lab) as agent:
        (agent.folder / "stunwall.toml").chmod(0o666)
        (agent.folder / "state").chmod(0o777)
        assert len(findings(agent, "problem")[1]["rights"]) == 2


def test_full_disk_is_a_problem(lab: Lab, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(state)], check=True)
    try:
        with Agent(lab, state_dir=str(state)) as agent:
            (what,) = findings(agent, "problem")[1]["disk"]
            assert what.startswith(("only 0 MiB", "only 1 MiB"))
    finally:
        subprocess.run(["umount", str(state)], check=True)


def test_checks_that_need_more_rights_are_unknown_and_the_exit_code_shows_it(lab: Lab) -> None:
    unprivileged = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
    with Agent(lab, status_for_all=True) as agent:
        for folder in (agent.folder, agent.folder / "state", agent.folder / "run"):
            folder.chmod(0o755)
        doctor = (*agent.command(CLI), "doctor", "--json")
        done = lab.client.run("env", f"PYTHONPATH={PACKAGE}", *unprivileged, *doctor)
        unknown = {each["check"] for each in json.loads(done.stdout) if each["result"] == "unknown"}
        assert done.returncode == 4, done.stdout
        assert {"kernel", "wall", "queue", "marks"} <= unknown
        assert "Traceback" not in done.stderr

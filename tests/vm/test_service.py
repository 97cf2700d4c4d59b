"""The service under systemd: whatever happens to it, no STUN leaves the machine."""

import json
import re

import pytest

from lab.deadline import until
from stunwall.reasons import EXPLANATIONS
from vm.apparmor import PROFILE, confined
from vm.early import SLOW, under_traffic
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import (
    UNIT,
    configure,
    daemon_status,
    drop_in,
    journal,
    ready,
    redirect_into,
    shown,
    status,
    systemctl,
    table_exists,
    wait_event,
    wait_state,
)

EXPOSURE = 1.5  # of 10, as systemd-analyze counts


def test_service_works_locked_down(machine: Machine) -> None:
    assert machine.run("cat", "/sys/module/apparmor/parameters/enabled") == "Y\n"
    assert machine.attempt("systemctl", "is-active", "apparmor.service").code == 0
    said = machine.run("systemd-analyze", "security", "--no-pager", UNIT)
    print(said.strip().splitlines()[-1])
    exposure = re.search(r"Overall exposure level for stunwall.service: ([0-9.]+)", said)
    assert exposure is not None
    assert float(exposure[1]) <= EXPOSURE
    assert shown(machine, "ActiveState") == "active"
    assert confined(machine) == f"{PROFILE} (enforce)"
    process = machine.run("cat", f"/proc/{shown(machine, 'MainPID')}/status")
    assert re.search(r"^CapEff:\s0000000000003000$", process, re.M), process  # CAP_NET_ADMIN, CAP_NET_RAW
    assert re.search(r"^NoNewPrivs:\s1$", process, re.M)
    assert re.search(r"^Seccomp:\s2$", process, re.M)
    user = machine.run("id", "-u", "stunwall").strip()
    assert re.search(rf"^Uid:\s{user}\s{user}\s", process, re.M)


def test_blocked_packets_are_answered_and_recorded_by_the_locked_down_service(
    lab: MachineLab, machine: Machine
) -> None:
    with under_traffic(lab, machine):
        wait_event(machine, "blocked")


def test_the_journal_has_the_fields_of_what_was_blocked_and_explains_it(
    lab: MachineLab, machine: Machine
) -> None:
    with under_traffic(lab, machine):
        seen = wait_event(machine, "blocked")
    select = ("journalctl", "-u", UNIT, "--no-pager", f"STUNWALL_REASON={seen['reason']}")

    def entries() -> list[dict[str, str]]:
        return [json.loads(line) for line in machine.run(*select, "-o", "json").splitlines()]

    until(entries, SLOW, "the journal's entry")
    entry = entries()[0]
    assert entry["STUNWALL_DESTINATION"] == seen["destination"]
    assert entry["STUNWALL_INTERFACE"] == seen["interface"]
    explained = next(each for each in EXPLANATIONS if each.code == seen["reason"])
    assert entry["MESSAGE_ID"] == explained.message_id
    assert explained.meaning in " ".join(machine.run(*select, "-x").replace("\u2591", " ").split())


@pytest.mark.any_kernel
def test_the_locked_down_timer_writes_what_prometheus_reads(lab: MachineLab, machine: Machine) -> None:
    file, service = "/var/lib/prometheus/node-exporter/stunwall.prom", "stunwall-metrics.service"

    def figures() -> dict[str, float]:
        lines = [line for line in machine.run("cat", file).splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    with under_traffic(lab, machine):
        seen = wait_event(machine, "blocked")
    said = machine.attempt("systemctl", "start", service, seconds=SLOW)
    assert said.code != 0, "there is no such folder yet"
    assert f"cannot write {file}" in machine.run("journalctl", "-u", service, "-o", "cat", "--no-pager")
    machine.run("install", "-d", "/var/lib/prometheus/node-exporter")
    machine.run("systemctl", "enable", "--now", "stunwall-metrics.timer")
    until(lambda: machine.attempt("test", "-e", file).code == 0, SLOW, "the timer")
    found = figures()
    print(found)
    assert found["stunwall_up"] == 1
    assert found['stunwall_state{state="sealed"}'] == 1
    assert found[f'stunwall_packets_total{{verdict="blocked",reason="{seen["reason"]}"}}'] >= 1
    assert found["stunwall_queue_waiting_packets"] == 0
    assert found['stunwall_exposure_seconds_total{kind="sealed"}'] > 0
    assert machine.run("stat", "-c", "%a %U", file) == "644 root\n"
    drop_in(machine, UNIT, "ExecStartPre=/bin/false\n")
    machine.run("systemctl", "kill", "--signal=KILL", UNIT)
    until(lambda: daemon_status(machine) is None, SLOW, "the end of the daemon")
    machine.run("systemctl", "start", service, seconds=SLOW)
    found = figures()
    assert (found["stunwall_up"], found['stunwall_state{state="wall-only"}']) == (0, 1)
    analyzed = machine.run("systemd-analyze", "security", "--no-pager", service).strip().splitlines()[-1]
    print(analyzed)
    exposure = re.search(r"level for \S+: ([0-9.]+)", analyzed)
    assert exposure is not None
    assert float(exposure[1]) <= EXPOSURE


@pytest.mark.older
def test_daemon_killed_again_and_again(
    lab: MachineLab, machine: Machine, request: pytest.FixtureRequest
) -> None:
    kills = request.config.getoption("--kills")
    drop_in(machine, UNIT, "RestartSec=100ms\n")
    with under_traffic(lab, machine):
        killed = machine.channel.call("vm.inside:kill_daemon", kills, seconds=900)
        ready(machine)
        print(f"killed: {killed}")
        assert int(shown(machine, "NRestarts")) >= kills


@pytest.mark.any_kernel
def test_daemon_that_hangs_is_replaced_by_the_watchdog(lab: MachineLab, machine: Machine) -> None:
    with under_traffic(lab, machine):
        pid = shown(machine, "MainPID")
        machine.run("kill", "-STOP", pid)
        until(lambda: shown(machine, "MainPID") not in (pid, "0"), SLOW, "another daemon")
        ready(machine)
        assert "watchdog" in journal(machine).lower()


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_restart(lab: MachineLab, machine: Machine) -> None:
    with under_traffic(lab, machine):
        for _ in range(3):
            systemctl(machine, "restart")
            systemctl(machine, "restart", "stunwall-wall.service")
        ready(machine)


@pytest.mark.any_kernel
def test_reload_takes_a_good_configuration_and_refuses_a_bad_one(lab: MachineLab, machine: Machine) -> None:
    with under_traffic(lab, machine):
        configure(machine, 'mode = "redirect"\n')
        systemctl(machine, "reload")
        assert status(machine)["daemon"]["mode"] == "redirect"
        configure(machine, 'mode = "open"\n')
        assert machine.attempt("systemctl", "reload", UNIT, seconds=SLOW).code != 0
        said = journal(machine)
        assert "10-test.toml, line 1: mode:" in said
        configure(machine, "")
        assert status(machine)["daemon"]["mode"] == "redirect"


@pytest.mark.any_kernel
def test_flushed_rules_are_restored_and_the_gap_is_reported(lab: MachineLab, machine: Machine) -> None:
    with under_traffic(lab, machine):
        machine.run("true")
    machine.run("nft", "flush", "ruleset")
    until(lambda: (daemon_status(machine) or {}).get("gaps"), SLOW, "the gap to be reported")
    (gap,) = status(machine)["daemon"]["gaps"]
    print(f"the gap lasted {(gap['end'] - gap['start']) * 1000:.0f} ms here, by {gap['who']}")
    assert gap["who"].startswith("nft (pid ")
    assert table_exists(machine)
    with under_traffic(lab, machine):
        assert status(machine)["state"] == "sealed"


@pytest.mark.any_kernel
def test_full_disk_stops_no_blocking_and_loses_nothing(lab: MachineLab, machine: Machine) -> None:
    with under_traffic(lab, machine):
        free = machine.run("df", "--output=avail", "-B1", "/var").split()[1]
        machine.attempt("fallocate", "-l", free, "/var/full")
        machine.attempt("dd", "if=/dev/zero", "of=/var/fuller", "bs=4k")
        wait_state(machine, "degraded")
        problems = status(machine)["problems"]
        print(problems)
        assert any("Make room on the disk" in problem for problem in problems), problems
        machine.run("rm", "/var/full", "/var/fuller")
        wait_state(machine, "sealed")
        assert status(machine)["blocked_today"]["lost"] == 0


def test_stop_takes_the_wall_down_unless_told_otherwise(lab: MachineLab, machine: Machine) -> None:
    systemctl(machine, "stop")
    assert not table_exists(machine)
    configure(machine, "leave_wall_on_stop = true\n")
    systemctl(machine, "start")
    with under_traffic(lab, machine):
        systemctl(machine, "stop")
        assert table_exists(machine)


@pytest.mark.thorough
@pytest.mark.any_kernel
def test_failed_start_after_a_stop_puts_the_wall_up(lab: MachineLab, machine: Machine) -> None:
    systemctl(machine, "stop")
    assert not table_exists(machine)
    configure(machine, 'mode = "open"\n')
    machine.attempt("systemctl", "start", UNIT, seconds=SLOW)
    assert table_exists(machine)
    with under_traffic(lab, machine):
        assert daemon_status(machine) is None
        configure(machine, "")
        ready(machine)  # systemd keeps trying to start it


def test_rescue_system_keeps_the_wall(lab: MachineLab, machine: Machine) -> None:
    # Without root's password its shell would end at once, and systemd go back to where it came from.
    drop_in(machine, "rescue.service", "ExecStart=\nExecStart=/bin/sleep infinity\n")
    with under_traffic(lab, machine):
        machine.run("systemctl", "isolate", "rescue.target", seconds=SLOW)
        until(lambda: shown(machine, "ActiveState") in ("inactive", "failed"), SLOW, "the end of the daemon")
        # A daemon that STUN keeps from stopping would be killed: "failed", by "timeout".
        assert (shown(machine, "ActiveState"), shown(machine, "Result")) == ("inactive", "success")
        assert table_exists(machine)


def test_locked_down_daemon_sets_up_the_route_for_redirected_packets(machine: Machine) -> None:
    for scope in ("all", "default"):
        machine.run("sysctl", f"net.ipv4.conf.{scope}.rp_filter=1")
    redirect_into(machine, "wg0")
    seen = ("sysctl", "-n", "net.ipv4.conf.wg0.src_valid_mark")
    assert machine.run(*seen) == "1\n"
    systemctl(machine, "stop")
    assert machine.run(*seen) == "0\n"
    assert "4780" not in machine.run("ip", "rule")

"""`stunwall notify` in a real session: a real bus, a real notification service, and the user's choice carried out."""

import json
import os
import sys
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from socket import AF_INET
from typing import Any

import pytest

from lab.addresses import NOBODY, STUN_SERVER
from lab.agent import CLI, Agent
from lab.cgroups import Cgroups
from lab.deadline import until
from lab.desktop import Desktop
from lab.leaks import SOURCE_RULE
from lab.observe import NO_LEAK, NOTICED, RECORDED, events, json_of
from lab.process import Process
from lab.programs import STUN_CLIENT
from lab.test_allow_programs import APP, MANAGER, SCOPE, is_served
from lab.test_control import GROUP_ID, ask, ask_as, group_exists, let_others_in, line
from lab.topology import Lab
from lab.wire import Wire
from stunwall.daemon.user_agents import SAID
from stunwall.record.schema import FILE

pytestmark = pytest.mark.usefixtures("vpn")

LENGTH = 15  # seconds that the exception lasts
ALLOW = f"Allow for {LENGTH} seconds"
LATE = 1  # seconds, times lab.deadline.PATIENCE: more than jeepney waits by itself after Python's start
RECONNECTED = 10  # seconds until a daemon is found that was started; it is looked for every 5 s
EVENTS = line(command="events")
MEMBER = (f"--regid={NOBODY}", f"--groups={GROUP_ID}")
# Of the user's own group, too: another one may not be looked at (ptrace(2), access mode checking).
CLIENT = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *STUN_CLIENT)
PROGRAM = f"{MANAGER}/app.slice/{SCOPE.format(7)}"


def test_a_blocked_attempt_is_shown_and_its_user_lets_it_through_for_a_while(
    lab: Lab, cgroups: Cgroups
) -> None:
    with SOURCE_RULE.made(lab, AF_INET), group_exists(), Desktop(lab, GROUP_ID) as desktop:
        for user in (NOBODY, 0):
            until(partial(is_served, cgroups, PROGRAM, user), NOTICED, f"an answer outside: {NO_LEAK}")
        with Agent(lab) as agent:
            let_others_in(agent)
            desktop.show_notifications()
            notify = desktop.notify(agent, "--for", f"{LENGTH}s")
            notify.wait_line("ready", RECORDED)
            with Wire(lab) as wire:
                assert not is_served(cgroups, "system.slice/another.service", 0)
                assert not is_served(cgroups, PROGRAM, NOBODY)
                assert not wire.stun()
            body = desktop.wait_shown(f"stunwall blocked {APP}", RECORDED)
            assert f"lets the application {APP} use STUN outside the VPN" in body
            desktop.choose("Details")
            assert f"Application: {APP}" in desktop.wait_shown(f"Entry 2: {APP}", NOTICED)
            assert not is_served(cgroups, PROGRAM, NOBODY)

            desktop.choose(ALLOW)
            until(partial(is_served, cgroups, PROGRAM, NOBODY), NOTICED, "the exception")
            (rule,) = json_of(agent, "allow", "list")["allow"]
            assert (rule["app"], rule["user"]) == (APP, NOBODY)
            assert any(summary.startswith("Allowed until") for summary, _ in desktop.shown)
            assert not is_served(cgroups, PROGRAM, 0), "it is for this user"

            until(lambda: not is_served(cgroups, PROGRAM, NOBODY), LENGTH, "the end of the exception")
            until(lambda: not json_of(agent, "allow", "list")["allow"], NOTICED, "it to be removed")
            assert not [
                summary for summary, _ in desktop.shown if "blocked" in summary and APP not in summary
            ]
            assert notify.running


def test_it_waits_for_the_daemon_and_serves_again_after_a_restart(lab: Lab, cgroups: Cgroups) -> None:
    with SOURCE_RULE.made(lab, AF_INET), group_exists(), Desktop(lab, GROUP_ID) as desktop:
        desktop.show_notifications()
        agent = Agent(lab)
        let_others_in(agent)
        notify = desktop.notify(agent)
        notify.wait_line("waiting for stunwalld", RECORDED)
        try:
            agent.start()
            notify.wait_line("ready", RECONNECTED)
            agent.kill()
            until(lambda: count(notify, "waiting") == 2, NOTICED, "notice of the end")
            agent.start()
            until(lambda: count(notify, "ready") == 2, RECONNECTED, "a new subscription")
            assert not is_served(cgroups, PROGRAM, NOBODY)
            desktop.wait_shown(f"stunwall blocked {APP}", RECORDED)
        finally:
            agent.close()


def count(process: Process, word: str) -> int:
    """How many lines of its output begin with a word."""
    return sum(line.startswith(word) for line in process.lines)


def test_it_waits_for_a_session_bus_that_starts_late(lab: Lab) -> None:
    """At a login, systemd takes connections for the bus before it runs."""
    with group_exists(), Desktop(lab, GROUP_ID) as desktop, Agent(lab) as agent:
        let_others_in(agent)
        desktop.show_notifications()
        os.kill(desktop.bus.pid, SIGSTOP)
        notify = desktop.notify(agent)
        with pytest.raises(TimeoutError):
            notify.ended(LATE)
        os.kill(desktop.bus.pid, SIGCONT)
        notify.wait_line("ready", RECORDED)


def test_only_the_notification_service_says_what_the_user_has_chosen(lab: Lab, cgroups: Cgroups) -> None:
    with (
        SOURCE_RULE.made(lab, AF_INET),
        group_exists(),
        Desktop(lab, GROUP_ID) as desktop,
        Agent(lab) as agent,
    ):
        let_others_in(agent)
        desktop.show_notifications()
        desktop.notify(agent).wait_line("ready", RECORDED)
        assert not is_served(cgroups, PROGRAM, NOBODY)
        desktop.wait_shown(f"stunwall blocked {APP}", RECORDED)
        for number in range(1, 10):
            desktop.emit("ActionInvoked", f"uint32:{number}", "string:allow")
        desktop.choose("Details")
        desktop.wait_shown(f"Entry 1: {APP}", NOTICED)
        assert not json_of(agent, "allow", "list")["allow"]
        desktop.choose("Allow for an hour")
        until(lambda: json_of(agent, "allow", "list")["allow"], NOTICED, "the user's own choice")


def test_what_is_missing_is_told(lab: Lab) -> None:
    with group_exists(), Desktop(lab) as desktop, Agent(lab) as agent:
        let_others_in(agent)
        nothing_shows = desktop.notify(agent)
        assert nothing_shows.ended(RECORDED) == 1
        assert "no program on the session bus shows notifications" in nothing_shows.output
        desktop.show_notifications()
        no_member = desktop.notify(agent)
        assert no_member.ended(RECORDED) == 4
        assert "only root and the group stunwall can connect" in no_member.output
        desktop.environment["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/nonexistent"
        no_bus = desktop.notify(agent)
        assert no_bus.ended(RECORDED) == 1
        assert "there is no session bus" in no_bus.output


def test_with_own_only_a_member_of_the_group_sees_no_other_users_events(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET), group_exists(), Desktop(lab, GROUP_ID) as desktop:
        agent = Agent(lab)
        agent.drop_in("50-lab.toml", "[log]\nown_only = true\n")
        with agent:
            let_others_in(agent)
            for user in (0, NOBODY):
                lab.client.printed("setpriv", f"--reuid={user}", "--clear-groups", *STUN_CLIENT)
            until(lambda: users(ask(agent, EVENTS)) == [0, NOBODY], RECORDED, "both in the record")
            assert users(ask_as(lab, agent, EVENTS, *MEMBER)) == [NOBODY]
            file = agent.folder / "state" / FILE
            read = ("setpriv", f"--reuid={NOBODY}", *MEMBER, "cat", str(file))
            assert "Permission denied" in lab.client.printed(*read)
            log = desktop.run(sys.executable, *agent.command(CLI)[1:], "log", "--json").stdout
            assert [json.loads(line)["uid"] for line in log.splitlines()] == [NOBODY]
            agent.drop_in("50-lab.toml", "")
            assert agent.cli("reload").returncode == 0
            assert users(ask_as(lab, agent, EVENTS, *MEMBER)) == [0, NOBODY]


def users(reply: dict[str, Any]) -> list[int]:
    """Whose the events in a reply are, in their order."""
    return [event["uid"] for event in reply["events"]]


def test_the_users_own_agent_says_which_process_it_was_where_the_daemon_may_not_look(
    lab: Lab, cgroups: Cgroups
) -> None:
    """As the service: without CAP_SYS_PTRACE it cannot see which of two processes in a cgroup has a socket."""
    with SOURCE_RULE.made(lab, AF_INET), group_exists(), Desktop(lab, GROUP_ID) as desktop:
        # So that the client waits, as a browser does: timeout(1) and the client itself are then in the cgroup.
        agent = Agent(lab, on_block="drop")
        agent.launcher = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
        with agent:
            let_others_in(agent)
            cgroups.printed(PROGRAM, *CLIENT)
            until(lambda: events(agent), RECORDED, "an entry")
            assert "one of 2 processes" in events(agent)[0]["who"]
            desktop.show_notifications()
            desktop.notify(agent).wait_line("ready", RECORDED)
            cgroups.printed(PROGRAM, *CLIENT)
            until(lambda: len(events(agent)) == 2, RECORDED, "another entry")
            entry = events(agent)[1]
            assert (entry["who"], Path(entry["executable"]).name) == (SAID, "stun")
            assert STUN_SERVER[AF_INET] in entry["command"]

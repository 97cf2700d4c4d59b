"""Who may change: what a real polkitd, on a system bus of its own, allows members of the group and what it does not."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socket import AF_INET

import pytest

from lab.addresses import NOBODY
from lab.agent import CLI, PACKAGE, Agent
from lab.cgroups import Cgroups
from lab.deadline import until
from lab.desktop import Desktop
from lab.leaks import SOURCE_RULE
from lab.observe import NOTICED, RECORDED, events, json_of
from lab.polkit import POLICY, SystemBus
from lab.process import Process
from lab.test_allow_programs import APP, is_served
from lab.test_control import GROUP_ID, STATUS, account_exists, ask, group_exists, let_others_in, path
from lab.test_notify import MEMBER, PROGRAM
from lab.topology import Lab

RULE = """
polkit.addRule(function(action, subject) {
    if (action.id == "org.stunwall.pause" && subject.user == "nobody") return polkit.Result.YES;
    if (action.id == "org.stunwall.allow") return polkit.Result.NO;
});
"""
ALLOWS = """
polkit.addRule(function(action, subject) { if (subject.user == "nobody") return polkit.Result.YES; });
"""
ADD = ("allow", "add", "--port", "7", "--why", "w")


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    """A copy of the package that other users can read."""
    folder = Path("/run/package")
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    yield folder
    shutil.rmtree(folder)


def as_member(lab: Lab, package: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A Python program of a member of the group, finished."""
    environment = ("env", f"PYTHONPATH={package}", "PYTHONDONTWRITEBYTECODE=1", "PYTHONPYCACHEPREFIX=")
    return lab.client.run(*environment, "setpriv", f"--reuid={NOBODY}", *MEMBER, sys.executable, *command)


def stunwall(lab: Lab, package: Path, agent: Agent, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The finished command, run by a member of the group."""
    return as_member(lab, package, *agent.command(CLI)[1:], *arguments)


# Asks for a pause, is polkit's agent for its own process, and hangs up when the prompt comes.
PROMPTED = """
import os, socket, sys
from jeepney import DBusAddress, HeaderFields, new_method_call
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection("SYSTEM")
address = DBusAddress("/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1",
                      "org.freedesktop.PolicyKit1.Authority")
started = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
subject = ("unix-process", {"pid": ("u", os.getpid()), "start-time": ("t", started), "uid": ("i", os.getuid())})
register = new_method_call(address, "RegisterAuthenticationAgent", "(sa{sv})ss", (subject, "C", "/agent"))
assert bus.send_and_get_reply(register, timeout=5).header.message_type.name == "method_return"
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(sys.argv[2].encode())
def called():
    while True:
        message = bus.receive(timeout=5)
        if message.header.message_type.name == "method_call":
            return message.header.fields[HeaderFields.member], message.body
print(called())
client.close()
print(called())
"""
# As stunwalld's own user, not as root, asks about a process of another user.
OWNER = """
import os, sys
from stunwall.polkit import PAUSE, Question
pid, uid = map(int, sys.argv[1:])
print(Question((os.pidfd_open(pid), pid, uid), PAUSE, "pause", False).ask())
"""
STUNWALL_ID = 64781
USER = f"stunwall:x:{STUNWALL_ID}:{STUNWALL_ID}::/:/bin/sh"
DAEMON_ID = 1  # a user of Debian's; the bus lets none in that does not exist


def test_the_prompt_comes_to_its_user_and_goes_away_with_the_client(lab: Lab, package: Path) -> None:
    with group_exists(), SystemBus(lab, ""), Agent(lab) as agent:
        let_others_in(agent)
        request = '{"command": "pause", "seconds": 60, "interactive": true}\n'
        done = as_member(lab, package, "-c", PROMPTED, path(agent), request)
        assert done.returncode == 0, done.stderr
        prompt, cancelled = done.stdout.splitlines()
        assert "BeginAuthentication" in prompt
        assert "Authentication is required to pause stunwall for 60 s, so" in prompt
        assert "CancelAuthentication" in cancelled
        assert ask(agent, STATUS)["state"] != "paused"
        assert "Traceback" not in "\n".join(agent.lines)


@pytest.mark.parametrize(("user", "answer"), [(STUNWALL_ID, "allowed"), (DAEMON_ID, "Only trusted callers")])
def test_the_policy_lets_stunwalls_own_user_ask_about_others(
    lab: Lab, package: Path, user: int, answer: str
) -> None:
    rule = "polkit.addRule(function(action, subject) { return polkit.Result.YES; });"
    with account_exists("passwd", USER), SystemBus(lab, rule):
        waiting = Process(lab.client, "setpriv", f"--reuid={NOBODY}", *MEMBER, "sleep", "60")
        try:
            rights = (f"--reuid={user}", f"--regid={user}", "--clear-groups")
            program = (sys.executable, "-c", OWNER, str(waiting.pid), str(NOBODY))
            said = lab.client.printed("env", f"PYTHONPATH={package}", "setpriv", *rights, *program)
            assert answer in said
        finally:
            waiting.kill()


def test_over_ssh_the_password_is_asked_for_on_the_terminal(lab: Lab, package: Path) -> None:
    with group_exists(), SystemBus(lab, ""), Agent(lab) as agent:
        let_others_in(agent)
        controller, terminal = pty.openpty()
        # Without a desktop, and on a terminal of its own.
        environment = ("env", "-u", "DISPLAY", "-u", "WAYLAND_DISPLAY", f"PYTHONPATH={package}")
        user = ("setpriv", f"--reuid={NOBODY}", *MEMBER, "setsid", "--ctty")
        command = lab.client.command(*environment, *user, *agent.command(CLI), "pause", "1m")
        child = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        os.set_blocking(controller, False)
        shown = bytearray()

        def asked() -> bool:
            with suppress(BlockingIOError):
                shown.extend(os.read(controller, 4096))
            return b"Password:" in shown

        try:
            until(asked, NOTICED, "polkit's question")
        finally:
            child.kill()
            child.wait()
            os.close(controller)
        assert b"to pause stunwall for 60 s" in shown
        assert ask(agent, STATUS)["state"] != "paused"


def test_doctor_says_that_polkit_decides(lab: Lab) -> None:
    def found(agent: Agent) -> dict[str, str]:
        (one,) = (
            each for each in json.loads(agent.cli("doctor", "--json").stdout) if each["check"] == "changes"
        )
        return dict(one)

    with SystemBus(lab, ""), Agent(lab) as agent:
        assert "polkit decides" in found(agent)["what"]
        (SystemBus.FOLDER / "actions" / POLICY.name).unlink()
        until(lambda: found(agent)["result"] == "problem", RECORDED, "polkit to notice it")


def test_without_a_rule_members_read_but_change_nothing(lab: Lab, package: Path) -> None:
    with group_exists(), SystemBus(lab, ""), Agent(lab) as agent:
        let_others_in(agent)
        assert stunwall(lab, package, agent, "allow", "list").returncode == 0
        changes = (("pause", "1h"), ADD, ("reload",))
        for change in changes:
            refused = stunwall(lab, package, agent, *change)
            assert refused.returncode == 4, refused
            assert (
                "nothing was changed: polkit did not allow it (it needs an administrator's" in refused.stderr
            )
        assert ask(agent, STATUS)["state"] != "paused"
        assert json_of(agent, "allow", "list") == {"allow": []}
        for change in changes:
            assert agent.cli(*change).returncode == 0, "root is not asked"


def test_with_a_rule_a_member_may_do_what_it_allows_and_nothing_else(lab: Lab, package: Path) -> None:
    with group_exists(), SystemBus(lab, RULE), Agent(lab) as agent:
        let_others_in(agent)
        assert stunwall(lab, package, agent, "pause", "1h").returncode == 0
        assert ask(agent, STATUS)["state"] == "paused"
        refused = stunwall(lab, package, agent, *ADD)
        assert (refused.returncode, "its rules forbid it" in refused.stderr) == (4, True), refused


def test_the_record_says_who_changed_what_and_by_what_right(lab: Lab, package: Path) -> None:
    with group_exists(), SystemBus(lab, ALLOWS), Agent(lab) as agent:
        let_others_in(agent)
        agent.drop_in("50-lab.toml", "allow_lan = true\n")
        changes = (("pause", "1h"), ADD, ("allow", "remove", "1"), ("reload",))
        for change in changes:
            done = stunwall(lab, package, agent, *change)
            assert done.returncode == 0, done
        agent.drop_in("50-lab.toml", "")
        assert agent.cli("reload").returncode == 0
        until(lambda: len(events(agent)) == len(changes) + 1, RECORDED, "all in the record")
        by_polkit = f"by user {NOBODY} (nobody), allowed by polkit"
        said = [(each["verdict"], each["reason"], each["uid"], each["user"]) for each in events(agent)]
        assert said == [
            ("paused", f"for 3600 s, {by_polkit}", NOBODY, "nobody"),
            ("allowed", f"port 7: w; {by_polkit}", NOBODY, "nobody"),
            ("revoked", f"port 7: w; by user {NOBODY}, a member of the group stunwall", NOBODY, ""),
            ("reloaded", f"allow_lan; {by_polkit}", NOBODY, "nobody"),
            ("reloaded", "allow_lan; by user 0 (root), who needs no permission", 0, "root"),
        ]


def test_where_no_polkit_runs_members_may_change_as_root(lab: Lab, package: Path) -> None:
    with group_exists(), SystemBus(lab), Agent(lab) as agent:
        let_others_in(agent)
        assert stunwall(lab, package, agent, "pause", "1h").returncode == 0
        until(lambda: len(events(agent)) == 1, RECORDED, "it in the record")
        assert "a member of the group stunwall; there is no polkit" in events(agent)[0]["reason"]


def test_what_a_notification_offers_goes_the_same_way(lab: Lab, vpn: None, cgroups: Cgroups) -> None:
    with (
        SOURCE_RULE.made(lab, AF_INET),
        group_exists(),
        SystemBus(lab, RULE),
        Desktop(lab, GROUP_ID) as desktop,
        Agent(lab) as agent,
    ):
        let_others_in(agent)
        desktop.show_notifications()
        desktop.notify(agent).wait_line("ready", RECORDED)
        assert not is_served(cgroups, PROGRAM, NOBODY)
        desktop.wait_shown(f"stunwall blocked {APP}", RECORDED)
        desktop.choose("Allow for an hour")
        assert "its rules forbid it for you" in desktop.wait_shown("stunwall still blocks it", NOTICED)
        assert json_of(agent, "allow", "list") == {"allow": []}

"""What several users of one machine get: `stunwall notify` as a service of a user's own manager, and the record."""

import json
from functools import partial
from itertools import count
from socket import AF_INET

import pytest

from lab.addresses import STUN_PORT, STUN_SERVER
from lab.deadline import until
from stunwall.daemon.user_agents import SAID
from vm.early import SLOW
from vm.machine import Machine
from vm.notifications import NAME
from vm.service import configure, log, ready, systemctl
from vm.user import User

pytestmark = pytest.mark.any_kernel

SERVER = (STUN_SERVER[AF_INET], STUN_PORT)
UNIT, BUS = "stunwall-notify.service", "dbus.service"
FOLDER = "/var/lib/stunwall"
TESTS = "/run/checkout/tests/vm"
APP = "org.stunwall.Lab"
SESSION = """
[Unit]
BindsTo=graphical-session.target
Before=graphical-session.target
"""
# In the service's place: a program that ends once it has tried what the unit forbids.
TRY = f"""
[Service]
Type=oneshot
Restart=no
ExecStart=
ExecStart=/usr/bin/python3 {TESTS}/limits.py %h/limits
"""
FORBIDDEN = {
    "UMask": "600",
    "RestrictAddressFamilies": "EAFNOSUPPORT",
    "RestrictSUIDSGID": "EPERM",
    "LockPersonality": "EPERM",
    "SystemCallFilter": "EPERM",
    "RestrictNamespaces": "EPERM",
    "NoNewPrivileges": "1",
}


@pytest.fixture
def anna(machine: Machine) -> User:
    """A member of the group stunwall, logged in."""
    user = User.add(machine, "anna", "--groups", "stunwall")
    user.log_in()
    return user


def in_app(number: int) -> tuple[str, ...]:
    """Starts a program as a desktop does, in a scope of its application, and with a shell beside it."""
    scope = f"--unit=app-{APP}{number}-1.scope"
    return ("systemd-run", "--user", "--scope", "--quiet", "--collect", scope, "sh", "-c", '"$@"; true', "sh")


def said(user: User, *units: str) -> str:
    """What the service, or these units, and the user's manager said of them."""
    fields = [
        field for unit in units or (UNIT,) for field in (f"_SYSTEMD_USER_UNIT={unit}", f"USER_UNIT={unit}")
    ]
    return user.machine.run("journalctl", "--no-pager", "-o", "cat", *" + ".join(fields).split())


def wait_said(user: User, text: str, times: int) -> None:
    """Returns once the service has said it that often."""
    until(lambda: said(user).count(text) == times, SLOW, f"'{text}', {times} times")


def shown(user: User) -> dict[str, str]:
    """The bodies of the notifications so far, by their summaries."""
    lines = user.machine.attempt("cat", f"{user.home}/shown").output.splitlines()
    return dict(json.loads(line) for line in lines)


def wait_shown(user: User, app: str) -> str:
    """The body of the notification about an application, once it is there."""
    summary = f"stunwall blocked {app}"
    until(lambda: summary in shown(user), SLOW, f"'{summary}'")
    return shown(user)[summary]


def has_said_who(machine: Machine, user: User, number: int) -> bool:
    """Whether the user's agent has said which program was blocked, once one more is."""
    with user.refused(SERVER, *in_app(number)):
        wait_shown(user, f"{APP}{number}")
    return SAID in {event["who"] for event in log(machine) if event["uid"] == user.uid}


def start_session(user: User) -> None:
    """As a desktop starts: its notification service first."""
    user.run(
        *(
            "systemd-run",
            "--user",
            "--quiet",
            "--collect",
            "--property=Type=dbus",
            f"--property=BusName={NAME}",
        ),
        *(
            "--setenv=PYTHONPATH=/usr/lib/stunwall/lib",
            "python3",
            f"{TESTS}/notifications.py",
            f"{user.home}/shown",
        ),
    )
    user.run("mkdir", "-p", f"{user.home}/.config/systemd/user")
    user.run("tee", f"{user.home}/.config/systemd/user/lab-session.target", text=SESSION)
    user.systemctl("start", "lab-session.target")


def test_a_user_is_notified_by_the_service_of_their_own_manager(machine: Machine, anna: User) -> None:
    start_session(anna)
    anna.systemctl("enable", "--now", "stunwall-notify")
    wait_said(anna, "ready: ", 1)
    with anna.refused(SERVER, *in_app(1)):
        body = wait_shown(anna, f"{APP}1")
    assert f"lets the application {APP}1 use STUN outside the VPN" in body

    pid = anna.systemctl("show", "-P", "MainPID", UNIT)
    systemctl(machine, "restart")
    wait_said(anna, "ready: ", 2)
    # The daemon waits 0.3 s for the agent's word, which a busy machine may miss.
    numbers = count(2)
    until(lambda: has_said_who(machine, anna, next(numbers)), SLOW, "the agent's word")
    assert anna.systemctl("show", "-P", "MainPID", UNIT) == pid

    anna.systemctl("stop", "lab-session.target")
    assert anna.systemctl("show", "-P", "ActiveState", UNIT) == "inactive\n", "it is of the session"
    anna.systemctl("start", "lab-session.target")
    assert anna.systemctl("show", "-P", "ActiveState", UNIT) == "active\n"
    systemctl(machine, "stop", anna.manager)
    ends = said(anna, UNIT, BUS)
    assert ends.rindex(f"Stopped {UNIT}") < ends.rindex(f"Stopping {BUS}"), ends
    assert "Failed with result" not in said(anna)


def test_the_users_own_manager_enforces_the_limits_of_the_service(machine: Machine, anna: User) -> None:
    file = f"{anna.home}/limits"
    anna.run("systemd-run", "--user", "--quiet", "--wait", "python3", f"{TESTS}/limits.py", file)
    free = json.loads(machine.run("cat", file))
    assert free.pop("UMask") != FORBIDDEN["UMask"]
    assert set(free.values()) == {"0", ""}, free
    machine.run("rm", file)
    folder = f"{anna.home}/.config/systemd/user/{UNIT}.d"
    anna.run("mkdir", "-p", folder)
    anna.run("tee", f"{folder}/try.conf", text=TRY)
    anna.systemctl("daemon-reload")
    anna.systemctl("start", UNIT)
    tried = json.loads(machine.run("cat", file))
    # By the kernel itself since Linux 6.3 (PR_SET_MDWE), before by seccomp.
    assert tried.pop("MemoryDenyWriteExecute") in ("EACCES", "EPERM")
    assert tried == FORBIDDEN


def test_with_own_only_no_user_sees_what_is_blocked_of_another(machine: Machine) -> None:
    anna = User.add(machine, "anna", "--groups", "stunwall")
    ben, carl = User.add(machine, "ben"), User.add(machine, "carl")
    configure(machine, "status_for_all = true\n")
    systemctl(machine, "reload")
    for user in (anna, ben):
        with user.refused(SERVER):
            until(partial(is_recorded, user), SLOW, f"an event of {user.name}'s")
    assert {anna.uid, ben.uid} <= seen(anna), "as usual"
    assert set(modes(machine).values()) == {"640", "750"}

    configure(machine, "status_for_all = true\n[log]\nown_only = true\n")
    systemctl(machine, "restart")
    ready(machine)
    assert [seen(user) for user in (anna, ben, carl)] == [{anna.uid}, {ben.uid}, set()]
    found = modes(machine)
    assert (found.pop(FOLDER), found[f"{FOLDER}/events.db"]) == ("700", "600")
    assert set(found.values()) == {"600"}, found
    for user in (anna, ben):
        assert "Permission denied" in user.attempt("cat", f"{FOLDER}/events.db").errors


def is_recorded(user: User) -> bool:
    """Whether something was blocked of a user."""
    return user.uid in user.machine.channel.call("vm.inside:users")


def seen(user: User) -> set[int]:
    """Whose events `stunwall log` shows to a user."""
    return {json.loads(line)["uid"] for line in user.run("stunwall", "log", "--json").splitlines()}


def modes(machine: Machine) -> dict[str, str]:
    """The permissions of the record's folder, and of each file in it."""
    lines = machine.run("find", FOLDER, "-printf", "%p %m\\n").splitlines()
    return {name: mode for name, _, mode in (line.partition(" ") for line in lines)}

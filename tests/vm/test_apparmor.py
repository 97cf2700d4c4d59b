"""stunwalld under its AppArmor profile. That other tests meet no denial either, the fixture `machine` asserts."""

import json
from socket import AF_INET

import pytest

from lab.addresses import CLIENT
from lab.deadline import until
from vm.apparmor import PROFILE, confined, denials
from vm.early import SLOW, under_traffic
from vm.machine import Machine
from vm.outside import MachineLab
from vm.service import configure, daemon_status, redirect_into, status, systemctl, wait_event, wait_state
from vm.wireguard import configured

pytestmark = pytest.mark.any_kernel

# Each is tried by root, first without the profile. It prints what it could do.
FORBIDDEN = """
import ctypes, json, os, signal, socket
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
ways = {
    "a shell": lambda: os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", ":"]) and os.execv("/bin/sh", ["sh", "-c", ":"]),
    "passwords": lambda: Path("/etc/shadow").read_bytes(),
    "a home folder": lambda: Path("~root/secret").expanduser().read_bytes(),
    "another's home folder": lambda: os.listdir("/home/somebody"),
    "a temporary file": lambda: Path("/tmp/made").touch(),
    "its own program": lambda: Path("/usr/lib/stunwall/made").touch(),
    "its configuration": lambda: Path("/etc/stunwall/stunwall.toml").open("a"),
    "its own profile": lambda: Path("/etc/apparmor.d/stunwalld").open("a"),
    "another setting of the kernel": lambda: Path("/proc/sys/net/ipv4/ip_forward").open("w"),
    "a mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "another host name": lambda: call("sethostname", b"machine", 7),
    "frames": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "TCP": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "another's process": lambda: call("ptrace", 0x4206, 1, 0, 0),
    "a signal": lambda: os.kill(1, signal.SIGCONT),
}
done = []
for name, way in ways.items():
    try:
        way()
    except PermissionError:
        continue
    done.append(name)
print(json.dumps(done))
"""
WAYS = FORBIDDEN.count(": lambda:")
TRY = ("/usr/bin/python3", "-I", "-c", FORBIDDEN)


@pytest.mark.thorough  # the fixture asserts the same of what other tests have the daemon do
def test_all_of_the_daemon_works_under_it(lab: MachineLab, machine: Machine) -> None:
    assert confined(machine) == f"{PROFILE} (enforce)"
    with under_traffic(lab, machine):
        wait_event(machine, "blocked")
        # Exceptions, which it writes, by unit and by address; another user's processes and cgroups.
        for what in (("--unit", "dbus.service"), ("--from", CLIENT[AF_INET]), ("--user", "nobody")):
            machine.run("stunwall", "allow", "add", *what, "--port", "7", "--why", "a test", seconds=SLOW)
        machine.run("stunwall", "allow", "remove", "1", seconds=SLOW)
        configure(machine, 'on_block = "drop"\n')
        systemctl(machine, "reload")
        assert status(machine)["daemon"]["on_block"] == "drop"
    machine.run("nft", "flush", "ruleset")
    until(lambda: (daemon_status(machine) or {}).get("gaps"), SLOW, "the gap to be reported")
    machine.run("stunwall", "pause", "1h", seconds=SLOW)
    machine.run("stunwall", "resume", seconds=SLOW)
    redirect_into(machine, "wg9")
    machine.run("ip", "link", "delete", "wg9")
    with configured(machine) as wireguard:
        wireguard.up()
        wait_state(machine, "protected")
        print(machine.attempt("stunwall", "check", seconds=SLOW).output)
        assert (daemon_status(machine) or {})["proof"]["verdict"]
        wireguard.down()
    systemctl(machine, "restart")
    assert confined(machine) == f"{PROFILE} (enforce)"
    assert not denials(machine)


def test_what_it_need_not_do_it_may_not(machine: Machine) -> None:
    machine.run("sh", "-c", "cat >~root/secret", text="secret")
    machine.run("mkdir", "/home/somebody")
    may = json.loads(machine.run(*TRY))
    assert len(may) == WAYS, may
    machine.run("rm", "/tmp/made", "/usr/lib/stunwall/made")
    assert json.loads(machine.run("aa-exec", "-p", PROFILE, "--", *TRY)) == []
    denied = denials(machine)
    print("\n".join(denied))
    assert denied
    machine.run("dmesg", "--clear")  # for the fixture's own look

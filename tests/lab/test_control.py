"""The daemon's control socket: who may ask for what, and that no request disturbs the packets."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from socket import AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM
from typing import Any

import pytest

from lab.addresses import NOBODY
from lab.agent import Agent
from lab.leaks import DEVICE
from lab.messages import REFUSED, binding_request, error_code
from lab.topology import Lab
from lab.wire import Wire

GROUP, GROUP_ID = "stunwall", 64780
MANY = 200  # connections; the daemon keeps fewer


def path(agent: Agent) -> str:
    return f"{agent.folder}/run/control.sock"


def connected(agent: Agent) -> socket.socket:
    client = socket.socket(AF_UNIX, SOCK_STREAM)
    client.connect(path(agent))  # without a time-out, so that it waits while the daemon has many connections
    client.settimeout(30)
    return client


def ask(agent: Agent, request: bytes) -> dict[str, Any]:
    """The daemon's reply to these bytes."""
    with connected(agent) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as stream:
            return dict(json.loads(stream.readline()))


def assert_guards(lab: Lab, agent: Agent) -> None:
    """The daemon replies, and packets are blocked as before."""
    assert ask(agent, STATUS)["wall"] == "up"
    with Wire(lab) as wire:
        assert error_code(DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request())) == REFUSED
        assert not wire.stun()


# Requests


def line(**request: Any) -> bytes:
    return json.dumps(request).encode() + b"\n"


def pause(length: str) -> bytes:
    """A request with `length` as it is: Python's json would not write some of them."""
    return f'{{"command": "pause", "seconds": {length}}}\n'.encode()


def allow_add(**rule: Any) -> bytes:
    return line(command="allow-add", rule=rule)


def allow_remove(number: str) -> bytes:
    return f'{{"command": "allow-remove", "number": {number}}}\n'.encode()


STATUS, PAUSE, RESUME = line(command="status"), pause("60"), line(command="resume")


# Rights


@contextmanager
def account_exists(database: str, line: str) -> Iterator[None]:
    """/etc/passwd or /etc/group has one more line, for the tests' own mount namespace only."""
    file = Path("/run/netns") / database  # on the run's own tmpfs
    file.write_text(f"{Path('/etc', database).read_text()}{line}\n")
    subprocess.run(["mount", "--bind", str(file), f"/etc/{database}"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", f"/etc/{database}"], check=True)
        file.unlink()


def group_exists() -> AbstractContextManager[None]:
    """The group `stunwall` exists."""
    return account_exists("group", f"{GROUP}:x:{GROUP_ID}:")


CLIENT = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(5)
try:
    client.connect(sys.argv[1])
    client.sendall(sys.argv[2].encode())
    print(client.makefile().readline())
except PermissionError:
    print('{"refused": true}')
"""


def ask_as(lab: Lab, agent: Agent, request: bytes, *rights: str) -> dict[str, Any]:
    """The reply to another user's request; `rights` are options of setpriv."""
    program = (sys.executable, "-c", CLIENT, path(agent), request.decode())
    done = lab.client.run("setpriv", f"--reuid={NOBODY}", *rights, *program)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


NOT_MEMBER = (f"--regid={NOBODY}", "--clear-groups")
MEMBERS = [
    pytest.param((f"--regid={NOBODY}", f"--groups={GROUP_ID}"), id="supplementary_group"),
    pytest.param((f"--regid={GROUP_ID}", "--clear-groups"), id="primary_group"),
]


def let_others_in(agent: Agent) -> None:
    """Opens the test's own folder to other users, as /run/stunwall is."""
    agent.folder.chmod(0o755)


@pytest.mark.parametrize("for_all", [False, True], ids=["default", "status_for_all"])
def test_other_users_can_read_status_only_with_status_for_all_and_change_nothing(
    lab: Lab, for_all: bool
) -> None:
    changes = (PAUSE, RESUME, allow_add(why="x", port=1), allow_remove("1"))
    with group_exists(), Agent(lab, status_for_all=for_all) as agent:
        let_others_in(agent)
        reply = ask_as(lab, agent, STATUS, *NOT_MEMBER)
        assert ("state" in reply) == for_all
        for change in changes:
            reply = ask_as(lab, agent, change, *NOT_MEMBER)
            assert set(reply) <= {"error", "refused"}, reply
            assert reply
        assert ask(agent, STATUS)["state"] != "paused"
        assert_guards(lab, agent)


@pytest.mark.parametrize("rights", MEMBERS)
def test_members_of_the_group_can_change_things(lab: Lab, rights: tuple[str, ...]) -> None:
    with group_exists(), Agent(lab) as agent:
        let_others_in(agent)
        assert "state" in ask_as(lab, agent, STATUS, *rights)
        assert "error" not in ask_as(lab, agent, PAUSE, *rights)
        assert ask(agent, STATUS)["state"] == "paused"
        assert "error" not in ask_as(lab, agent, RESUME, *rights)
        assert_guards(lab, agent)


# Invalid requests. From here on the module's agent runs.

INVALID = {
    "empty": b"\n",
    "not_json": b"status\n",
    "list": b"[]\n",
    "null": b"null\n",
    "string": b'"status"\n',
    "no_command": line(),
    "unknown_command": line(command="reboot"),
    "command_is_a_list": line(command=["status"]),
    "command_is_an_object": line(command={"a": 1}),
    "not_utf8": b"\xff\xfe\x00\x80\n",
    "lone_surrogate": line(command="\ud800"),
    "deeply_nested": b"[" * 4000 + b"\n",
    "pause_without_length": line(command="pause"),
    "pause_of_a_string": pause('"60"'),
    "pause_of_true": pause("true"),
    "negative_pause": pause("-1"),
    "infinite_pause": pause("1e400"),
    "pause_of_nan": pause("NaN"),
    "pause_of_4000_digits": pause("9" * 4000),
    "no_rule": line(command="allow-add"),
    "rule_for_everything": allow_add(why="x"),
    "port_true": allow_add(why="x", port=True),
    "newline_in_why": allow_add(why="x\n[[allow]]", port=1),
    "newline_in_key": allow_add(**{"a]\nb": "x", "port": 1, "why": "x"}),
    "table_in_key": allow_add(**{'why = "x"\nport = 7\n[log]\nkeep_days': 5}),
    "surrogate_in_why": allow_add(why="\ud800", port=1),
    "syntax_in_interface": allow_add(why="x", interface='a"; }'),
    "syntax_in_user": allow_add(why="x", user='a"; }'),
    "syntax_in_unit": allow_add(why="x", unit='a"; }'),
    "remove_nothing": line(command="allow-remove"),
    "remove_a_string": allow_remove('"1"'),
    "remove_a_negative_number": allow_remove("-1"),
    "remove_infinity": allow_remove("1e400"),
    "too_long": line(command="status", x="y" * 100_000),
}


@pytest.mark.parametrize("request_bytes", INVALID.values(), ids=INVALID)
def test_invalid_request_gets_a_clear_error_and_changes_nothing(
    lab: Lab, agent: Agent, request_bytes: bytes
) -> None:
    with suppress(ConnectionError):  # the daemon may close before it has read a request that is too long
        reply = ask(agent, request_bytes)
        assert list(reply) == ["error"]
        assert len(reply["error"]) > 10
    assert_guards(lab, agent)
    status = ask(agent, STATUS)
    assert (status["state"], status["faults"], status["problems"]) == ("protected", 0, [])
    assert "Traceback" not in "\n".join(agent.lines)


def test_random_bytes_never_disturb_the_daemon(lab: Lab, agent: Agent) -> None:
    for length in (1, 7, 100, 4095, 4096, 4097, 65536):
        with connected(agent) as client, suppress(OSError):
            client.sendall(os.urandom(length))
    assert_guards(lab, agent)


def test_client_that_sends_byte_by_byte_is_served(lab: Lab, agent: Agent) -> None:
    with connected(agent) as client:
        for byte in STATUS:
            client.send(bytes([byte]))
        with client.makefile("rb") as stream:
            assert json.loads(stream.readline())["wall"] == "up"


def test_clients_that_send_nothing_or_never_read_do_not_keep_others_out(lab: Lab, agent: Agent) -> None:
    silent: list[socket.socket] = []
    try:
        for number in range(MANY):
            client = connected(agent)
            silent.append(client)
            if number % 2:
                with suppress(OSError):
                    client.send(STATUS)
        assert_guards(lab, agent)
    finally:
        for client in silent:
            client.close()
    assert_guards(lab, agent)

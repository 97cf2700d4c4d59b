"""The daemon's socket: who may ask for what, and that nothing sent to it disturbs the packets."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM
from typing import Any

import pytest

from lab.agent import Agent
from lab.leaks import DEVICE
from lab.messages import binding_request, error_code
from lab.topology import Lab
from lab.wire import Wire

NOBODY = 65534
GROUP, GROUP_ID = "stunwall", 64780
MANY = 200  # connections; the daemon keeps fewer


def path(agent: Agent) -> str:
    return f"{agent.folder}/run/control.sock"


def connected(agent: Agent) -> socket.socket:
    client = socket.socket(AF_UNIX, SOCK_STREAM)
    client.connect(path(agent))  # without a time-out, so that it waits where many do
    client.settimeout(5)
    return client


def ask(agent: Agent, request: bytes) -> dict[str, Any]:
    """The daemon's reply to these bytes."""
    with connected(agent) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as stream:
            return dict(json.loads(stream.readline()))


def assert_guards(lab: Lab, agent: Agent) -> None:
    """The daemon answers, and packets are judged as ever."""
    assert ask(agent, b'{"command": "status"}\n')["wall"] == "up"
    with Wire(lab) as wire:
        assert error_code(DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request())) == 403
        assert not wire.stun()


# Rights


@contextmanager
def with_group(lab: Lab) -> Iterator[None]:
    """The group `stunwall` exists, in the tests' own mounts."""
    file = Path("/run/netns/group")  # the run's own tmpfs
    file.write_text(f"{Path('/etc/group').read_text()}{GROUP}:x:{GROUP_ID}:\n")
    subprocess.run(["mount", "--bind", str(file), "/etc/group"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "/etc/group"], check=True)
        file.unlink()


CLIENT = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(5)
try:
    client.connect(sys.argv[1])
    client.sendall(sys.argv[2].encode() + b"\\n")
    print(client.makefile().readline())
except PermissionError:
    print('{"refused": true}')
"""


def ask_as(lab: Lab, agent: Agent, request: str, *rights: str) -> dict[str, Any]:
    """The reply to another user's request: `rights` are setpriv's options."""
    program = (sys.executable, "-c", CLIENT, path(agent), request)
    done = lab.client.run("setpriv", f"--reuid={NOBODY}", *rights, *program)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


STATUS, PAUSE = '{"command": "status"}', '{"command": "pause", "seconds": 60}'
STRANGER = ("--regid=65534", "--clear-groups")
MEMBERS = [
    pytest.param(("--regid=65534", f"--groups={GROUP_ID}"), id="member"),
    pytest.param((f"--regid={GROUP_ID}", "--clear-groups"), id="primary_group"),
]


def opened(agent: Agent) -> None:
    """Lets other users into the test's own folder."""
    agent.folder.chmod(0o755)


@pytest.mark.parametrize("for_all", [False, True], ids=["default", "status_for_all"])
def test_stranger_reads_status_only_where_the_configuration_says_so_and_changes_nothing(
    lab: Lab, for_all: bool
) -> None:
    with with_group(lab), Agent(lab, status_for_all=for_all) as agent:
        opened(agent)
        reply = ask_as(lab, agent, STATUS, *STRANGER)
        assert ("state" in reply) == for_all
        for change in (
            PAUSE,
            '{"command": "resume"}',
            '{"command": "allow-add", "rule": {"why": "x", "port": 1}}',
            '{"command": "allow-remove", "number": 1}',
        ):
            reply = ask_as(lab, agent, change, *STRANGER)
            assert set(reply) <= {"error", "refused"}, reply
            assert reply
        assert ask(agent, STATUS.encode() + b"\n")["state"] != "paused"
        assert_guards(lab, agent)


@pytest.mark.parametrize("rights", MEMBERS)
def test_member_of_the_group_may_change(lab: Lab, rights: tuple[str, ...]) -> None:
    with with_group(lab), Agent(lab) as agent:
        opened(agent)
        assert "state" in ask_as(lab, agent, STATUS, *rights)
        assert "error" not in ask_as(lab, agent, PAUSE, *rights)
        assert ask(agent, STATUS.encode() + b"\n")["state"] == "paused"
        assert "error" not in ask_as(lab, agent, '{"command": "resume"}', *rights)
        assert_guards(lab, agent)


# Requests. The module's agent runs from here on: what starts its own stands above.


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Iterator[Agent]:
    lab.vpn.up(ipv6=True)
    with Agent(lab) as agent:
        yield agent


BAD = [
    pytest.param(b"\n", id="empty"),
    pytest.param(b"status\n", id="no_json"),
    pytest.param(b"[]\n", id="list"),
    pytest.param(b"null\n", id="null"),
    pytest.param(b'"status"\n', id="string"),
    pytest.param(b"{}\n", id="no_command"),
    pytest.param(b'{"command": "reboot"}\n', id="unknown_command"),
    pytest.param(b'{"command": ["status"]}\n', id="command_is_a_list"),
    pytest.param(b'{"command": {"a": 1}}\n', id="command_is_an_object"),
    pytest.param(b"\xff\xfe\x00\x80\n", id="no_utf8"),
    pytest.param(b'{"command": "\\ud800"}\n', id="lone_surrogate"),
    pytest.param(b"[" * 4000 + b"\n", id="deep"),
    pytest.param(b'{"command": "pause"}\n', id="pause_without_length"),
    pytest.param(b'{"command": "pause", "seconds": "60"}\n', id="pause_of_a_string"),
    pytest.param(b'{"command": "pause", "seconds": true}\n', id="pause_of_true"),
    pytest.param(b'{"command": "pause", "seconds": -1}\n', id="negative_pause"),
    pytest.param(b'{"command": "pause", "seconds": 1e400}\n', id="infinite_pause"),
    pytest.param(b'{"command": "pause", "seconds": NaN}\n', id="pause_of_nan"),
    pytest.param(b'{"command": "pause", "seconds": ' + b"9" * 4000 + b"}\n", id="endless_pause"),
    pytest.param(b'{"command": "allow-add"}\n', id="no_rule"),
    pytest.param(b'{"command": "allow-add", "rule": {"why": "x"}}\n', id="rule_for_everything"),
    pytest.param(b'{"command": "allow-add", "rule": {"why": "x", "port": true}}\n', id="port_true"),
    pytest.param(b'{"command": "allow-add", "rule": {"why": "x\\n[[allow]]", "port": 1}}\n', id="newline_in_why"),
    pytest.param(b'{"command": "allow-add", "rule": {"a]\\nb": "x", "port": 1, "why": "x"}}\n', id="newline_in_key"),
    pytest.param(
        b'{"command": "allow-add", "rule": {"why = \\"x\\"\\nport = 7\\n[log]\\nkeep_days": 5}}\n', id="table_in_key"
    ),
    pytest.param(b'{"command": "allow-add", "rule": {"why": "\\ud800", "port": 1}}\n', id="surrogate_in_why"),
    pytest.param(b'{"command": "allow-add", "rule": {"why": "x", "interface": "a\\"; }"}}\n', id="syntax_in_name"),
    pytest.param(b'{"command": "allow-add", "rule": {"why": "x", "user": "a\\"; }"}}\n', id="syntax_in_user"),
    pytest.param(b'{"command": "allow-add", "rule": {"why": "x", "unit": "a\\"; }"}}\n', id="syntax_in_unit"),
    pytest.param(b'{"command": "allow-remove"}\n', id="remove_nothing"),
    pytest.param(b'{"command": "allow-remove", "number": "1"}\n', id="remove_a_string"),
    pytest.param(b'{"command": "allow-remove", "number": -1}\n', id="remove_a_negative"),
    pytest.param(b'{"command": "allow-remove", "number": 1e400}\n', id="remove_infinity"),
    pytest.param(b'{"command": "status", "x": "' + b"y" * 100_000 + b'"}\n', id="too_long"),
]  # fmt: skip


@pytest.mark.parametrize("request_bytes", BAD)
def test_bad_request_gets_a_clear_error_and_changes_nothing(
    lab: Lab, agent: Agent, request_bytes: bytes
) -> None:
    with suppress(ConnectionError):  # the daemon may hang up on what is too long before it was read
        reply = ask(agent, request_bytes)
        assert list(reply) == ["error"]
        assert len(reply["error"]) > 10
    assert_guards(lab, agent)
    status = ask(agent, b'{"command": "status"}\n')
    assert (status["state"], status["faults"], status["problems"]) == ("protected", 0, [])
    assert "Traceback" not in "\n".join(agent.lines)


def test_random_bytes_never_disturb_the_daemon(lab: Lab, agent: Agent) -> None:
    for length in (1, 7, 100, 4095, 4096, 4097, 65536):
        with connected(agent) as client, suppress(OSError):
            client.sendall(os.urandom(length))
    assert_guards(lab, agent)


def test_client_that_sends_byte_by_byte_is_served(lab: Lab, agent: Agent) -> None:
    with connected(agent) as client:
        for byte in b'{"command": "status"}\n':
            client.send(bytes([byte]))
        with client.makefile("rb") as stream:
            assert json.loads(stream.readline())["wall"] == "up"


def test_clients_that_say_nothing_or_do_not_read_keep_nobody_out(lab: Lab, agent: Agent) -> None:
    silent: list[socket.socket] = []
    try:
        for number in range(MANY):
            client = connected(agent)
            silent.append(client)
            if number % 2:
                with suppress(OSError):
                    client.send(b'{"command": "status"}\n')
        assert_guards(lab, agent)
    finally:
        for client in silent:
            client.close()
    assert_guards(lab, agent)

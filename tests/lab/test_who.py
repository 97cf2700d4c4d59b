"""The record says who sent it: real programs in cgroups as systemd, desktops and container managers make them."""

import os
import pwd
import shlex
import sys
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM

import pytest

from lab.addresses import BOX, CLIENT, COTURN, FAMILIES, NOBODY, PHYSICAL, STUN_SERVER, VPN, family_name
from lab.agent import Agent
from lab.cgroups import Cgroups
from lab.leaks import DEVICE, SOURCE_RULE, Leak
from lab.messages import binding_request
from lab.observe import assert_leaks, wait_event
from lab.probe import Binding, ask, connect, send
from lab.process import Process
from lab.topology import Lab
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn")

DOCKER = "0123456789abcdef" * 4
APPS = f"user.slice/user-{NOBODY}.slice/user@{NOBODY}.service/app.slice"
PATHS = {
    "service": (
        "system.slice/stunwall-lab.service",
        {"unit": "stunwall-lab.service", "app": "", "container": ""},
    ),
    "template": (
        "system.slice/system-stunwall.slice/stunwall@lab.service",
        {"unit": "stunwall@lab.service", "app": "", "container": ""},
    ),
    "Flatpak": (
        f"{APPS}/app-flatpak-org.stunwall.Lab-4711.scope",
        {"unit": "app-flatpak-org.stunwall.Lab-4711.scope", "app": "org.stunwall.Lab", "container": ""},
    ),
    "Docker, host's network": (
        f"system.slice/docker-{DOCKER}.scope",
        {"unit": f"docker-{DOCKER}.scope", "app": "", "container": DOCKER[:12]},
    ),
}
# Asks once, and ends as soon as it is refused, unless it is told to stay.
ASKS = """
import signal, socket, sys
family, address, source, request, stay = sys.argv[1:]
one = socket.socket(int(family), socket.SOCK_DGRAM)
one.bind((source, 0))
one.sendto(bytes.fromhex(request), (address, 3478))
print(one.getsockname()[1], flush=True)
one.recv(2048)
if stay == "stay":
    signal.pause()
"""


def command(family: int, stay: str = "") -> list[str]:
    """A program that asks from the physical address."""
    request = binding_request().hex()
    return [sys.executable, "-c", ASKS, str(family), STUN_SERVER[family], CLIENT[family], request, stay]


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
@pytest.mark.parametrize("place", PATHS)
def test_the_program_is_named_by_its_cgroup_user_and_process(
    lab: Lab, cgroups: Cgroups, place: str, family: int
) -> None:
    path, names = PATHS[place]
    with SOURCE_RULE.made(lab, family):
        assert_leaks(
            lab,
            lambda nonce: ask(
                lab.client, COTURN[family], binding_request(nonce), SOURCE_RULE.binding[family]
            ),
        )
        with Agent(lab) as agent, Wire(lab) as wire:
            as_nobody = ("setpriv", f"--reuid={NOBODY}", "--clear-groups")
            port = int(cgroups.printed(path, *as_nobody, *command(family)))
            event = wait_event(agent, source_port=port)
            assert not wire.stun()
    assert (
        event.items()
        >= (names | {"uid": NOBODY, "user": pwd.getpwuid(NOBODY).pw_name, "incoming": ""}).items()
    )


def test_a_process_that_is_there_is_named_with_its_command_line(lab: Lab, cgroups: Cgroups) -> None:
    path, _ = PATHS["service"]
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab) as agent:
        enter = f'echo 0 >{shlex.quote(str(cgroups.make(path)))}/cgroup.procs && exec "$@"'
        running = Process(lab.client, "sh", "-c", enter, "sh", *command(AF_INET, "stay"))
        try:
            event = wait_event(agent, unit="stunwall-lab.service")
            assert event["executable"] == str(Path(sys.executable).resolve())
            assert event["command"].startswith(f"{sys.executable} -c")
            assert len(event["command"]) <= 256
            assert event["who"] == ""
            assert Path(f"/proc/{event['pid']}/exe").resolve() == Path(sys.executable).resolve()
            assert str(event["source_port"]) in running.output
        finally:
            running.kill()
        printed = agent.cli("show", str(event["id"])).stdout
        for text in ("Unit       stunwall-lab.service", f"process {event['pid']}"):
            assert text in printed
        assert " stunwall-lab.service " in agent.cli("log").stdout


@pytest.mark.parametrize("leak", [SOURCE_RULE, DEVICE], ids=lambda leak: leak.name)
@pytest.mark.parametrize("kind", [SOCK_DGRAM, SOCK_STREAM], ids=["udp", "tcp"])
@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_however_its_socket_is_bound_this_process_is_found(
    lab: Lab, cgroups: Cgroups, leak: Leak, kind: int, family: int
) -> None:
    path, names = PATHS["service"]
    with (
        leak.made(lab, family),
        Agent(lab) as agent,
        cgroups.inside(path),
        connect(lab.client, COTURN[family], leak.binding[family], kind) as sock,
    ):
        send(sock, binding_request())
        event = wait_event(agent, source_port=sock.getsockname()[1])
    assert event.items() >= {**names, "uid": os.getuid(), "pid": os.getpid(), "who": ""}.items()


def test_of_two_sockets_on_one_port_the_one_that_sent_is_named(lab: Lab, cgroups: Cgroups) -> None:
    """Each is bound to an interface of its own, and different users have them."""
    with (
        SOURCE_RULE.made(lab, AF_INET),
        Agent(lab) as agent,
        lab.client.socket(AF_INET, SOCK_DGRAM) as one,
        lab.client.socket(AF_INET, SOCK_DGRAM) as other,
    ):
        for sock, owner, device in ((other, 1002, VPN), (one, 1001, PHYSICAL)):
            Binding(device=device, owner=owner).apply(sock)
            sock.bind(("0.0.0.0", 40_444))
        one.sendto(binding_request(), COTURN[AF_INET])
        assert wait_event(agent, source_port=40_444)["uid"] == 1001


def test_what_is_forwarded_has_the_senders_address_and_interface(lab: Lab) -> None:
    with lab.client.rule(f"from {BOX[AF_INET]} lookup main pref 100"), Agent(lab) as agent:
        ask(lab.box, COTURN[AF_INET], binding_request(), seconds=0.3)
        event = wait_event(agent, source=BOX[AF_INET])
    assert event["incoming"]
    assert (event["uid"], event["unit"], event["pid"], event["who"]) == (-1, "", 0, "")

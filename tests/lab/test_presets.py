"""The presets of `stunwall allow`: each lets its program send what it needs, and neither anything nor anybody else."""

import ctypes
import os
import shlex
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from socket import AF_INET, IPPROTO_UDP, SO_REUSEADDR, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, SOL_SOCKET

import pytest

from lab.addresses import CLIENT, NOBODY, STUN_PORT, STUN_SERVER, STUN_SERVER_ALTERNATE
from lab.agent import Agent
from lab.cgroups import Cgroups
from lab.leaks import SOURCE_RULE
from lab.messages import binding_request, transaction_of
from lab.observe import NO_LEAK, json_of, wait_event
from lab.probe import DEVICE_BOUND, send
from lab.process import Process
from lab.topology import Lab
from lab.wire import Wire
from stunwall.config import Allow
from stunwall.model import Transport
from stunwall.presets.places import Kind, Place
from stunwall.presets.table import Preset, presets

pytestmark = pytest.mark.usefixtures("vpn")

MANAGER = f"user.slice/user-{NOBODY}.slice/user@{NOBODY}.service"
BROWSER = f"{MANAGER}/app.slice/app-gnome-firefox-4069.scope"
# What the lab's coturn does not listen to arrives all the same: the wire shows it.
OTHER_PORT, OTHER_SOURCE = 19302, 20001  # the second is none that the kernel gives to others


@dataclass(frozen=True, slots=True)
class Request:
    """A Binding Request outside the VPN, from a program in the cgroup at `path`."""

    path: str
    user: int
    kind: int = SOCK_DGRAM
    port: int = STUN_PORT
    source_port: int = 0
    address: str = STUN_SERVER[AF_INET]

    def send(self, lab: Lab, cgroups: Cgroups) -> bytes:
        """Sends it, and returns its transaction ID."""
        request = binding_request()
        with cgroups.inside(self.path):
            sock = lab.client.call(self._socket)
        with sock:
            DEVICE_BOUND.apply(sock)
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            sock.bind(("", self.source_port))
            sock.settimeout(5)
            with suppress(OSError):  # no server listens there over TCP: then there is no request either
                sock.connect((self.address, self.port))
                send(sock, request)
        return transaction_of(request)

    def _socket(self) -> socket.socket:
        # Of this thread alone, which ends with the call. Rules ask who has opened the socket.
        ctypes.CDLL(None).setfsuid(self.user)
        return socket.socket(AF_INET, self.kind)


def leave(lab: Lab, cgroups: Cgroups, requests: list[Request]) -> list[Request]:
    """Those of the requests that leave outside the VPN."""
    with Wire(lab) as wire:
        sent = {request: request.send(lab, cgroups) for request in requests}
        wire.settle()
        return [request for request, transaction in sent.items() if wire.seen(transaction)]


def path_of(place: Place) -> str:
    """Where systemd, or a desktop, runs it."""
    name = place.name.replace("@.", "@nobody.")
    match place.kind:
        case Kind.UNIT:
            return f"system.slice/{name}"
        case Kind.USER_UNIT:
            return f"{MANAGER}/app.slice/{name}"
        case Kind.APP:
            return f"{MANAGER}/app.slice/app-gnome-{name}-4069.scope"


def user_of(place: Place) -> int:
    return 0 if place.kind is Kind.UNIT and not place.is_template else NOBODY


def wanted(rule: Allow, path: str, user: int) -> Request:
    """What a part of a preset is for."""
    kind = SOCK_STREAM if rule.protocol is Transport.TCP else SOCK_DGRAM
    return Request(path, user, kind, rule.port or STUN_PORT, rule.source_port or 0)


def unwanted(preset: Preset, path: str, user: int) -> Iterator[Request]:
    """What the same program may not send: over another protocol, to or from another port."""
    udp = [rule for rule in preset.allow if rule.protocol is Transport.UDP]
    if len(udp) == len(preset.allow):
        yield Request(path, user, SOCK_STREAM, source_port=udp[0].source_port or 0)
    if all(rule.port or rule.source_port for rule in udp):
        yield Request(path, user, port=80, source_port=OTHER_SOURCE)
    if all(rule.source_port for rule in preset.allow if rule.protocol is Transport.TCP):
        yield Request(path, user, SOCK_STREAM, source_port=OTHER_SOURCE)


def of_others(place: Place, request: Request) -> Iterator[Request]:
    """The same request of a browser, of a program without a unit, and of one in a unit that only has the name."""
    yield replace(request, path=BROWSER, user=NOBODY)
    yield replace(request, path=".")
    if place.kind is Kind.UNIT:
        yield replace(request, path=f"{MANAGER}/app.slice/{path_of(place).rpartition('/')[2]}", user=NOBODY)
    else:
        other = path_of(place).replace(str(NOBODY), "7")
        yield replace(request, path=other, user=7)


def drop_in(agent: Agent) -> str:
    """The drop-in of `stunwall allow`."""
    file = agent.folder / "conf.d" / "90-allow.toml"
    return file.read_text() if file.exists() else ""


TIED = [preset for preset in presets().values() if not preset.server_named]
NAMED = [preset for preset in presets().values() if preset.server_named]


@pytest.fixture
def agent(lab: Lab, cgroups: Cgroups) -> Iterator[Agent]:
    """A stunwalld that finds the cgroups, as they are mounted before it starts."""
    with Agent(lab) as agent:
        yield agent


KINDS = [
    (preset, place)
    for preset in TIED
    for kind in Kind
    if (place := next((each for each in preset.places if each.kind is kind), None)) is not None
]


@pytest.mark.parametrize(
    ("preset", "place"), KINDS, ids=lambda each: each.name if isinstance(each, Preset) else each.kind.name
)
def test_a_preset_is_for_its_program_its_protocol_and_its_ports(
    lab: Lab, cgroups: Cgroups, preset: Preset, place: Place
) -> None:
    path, user = path_of(place), user_of(place)
    cgroups.make(path)
    passing = [wanted(rule, path, user) for rule in preset.allow]
    others = [other for request in passing for other in of_others(place, request)]
    every = list(dict.fromkeys([*passing, *others, *unwanted(preset, path, user)]))
    left = leave(lab, cgroups, every)
    again = [request for request in every if request not in left]  # a port may have been in use
    assert leave(lab, cgroups, again) == again, NO_LEAK
    with Agent(lab) as agent:
        assert leave(lab, cgroups, every) == []
        done = agent.cli("allow", "preset", preset.name, "--user", "nobody")
        assert done.returncode == 0, done.stderr
        assert preset.reveals in " ".join(done.stdout.split())
        assert leave(lab, cgroups, every) == passing


def test_nothing_is_allowed_for_a_program_that_is_not_on_this_machine(
    lab: Lab, cgroups: Cgroups, agent: Agent
) -> None:
    for name in ("tailscale", "steam"):
        missing = agent.cli("allow", "preset", name, "--user", "nobody")
        assert (missing.returncode, drop_in(agent)) == (1, "")
        assert "so nothing was allowed" in missing.stderr


@pytest.mark.parametrize("preset", NAMED, ids=lambda preset: preset.name)
def test_a_preset_for_a_browser_is_for_one_server(
    lab: Lab, cgroups: Cgroups, agent: Agent, preset: Preset
) -> None:
    command = ("allow", "preset", preset.name, "--user", "nobody")
    for to in ((), ("--to", "0.0.0.0/0"), ("--to", "198.51.100.0/24")):
        refused = agent.cli(*command, *to)
        assert (refused.returncode, drop_in(agent)) == (1, "")
        assert "would show every page your real address" in refused.stderr
    passing = [wanted(rule, BROWSER, NOBODY) for rule in preset.allow]
    others = [replace(request, address=STUN_SERVER_ALTERNATE) for request in passing]
    others += [replace(request, port=OTHER_PORT) for request in passing]
    others += [replace(request, user=0) for request in passing]
    assert leave(lab, cgroups, [*passing, *others]) == []
    done = agent.cli(*command, "--to", STUN_SERVER[AF_INET])
    assert done.returncode == 0, done.stderr
    assert leave(lab, cgroups, [*passing, *others]) == passing


def test_netbird_sends_by_a_raw_socket(lab: Lab, cgroups: Cgroups, agent: Agent) -> None:
    """So that it can use WireGuard's port, which the kernel has."""

    def leaves() -> bool:
        request = binding_request()
        header = b"".join(number.to_bytes(2, "big") for number in (51820, STUN_PORT, 8 + len(request), 0))
        with cgroups.inside("system.slice/netbird.service"):
            sock = lab.client.socket(AF_INET, SOCK_RAW, IPPROTO_UDP)
        with Wire(lab) as wire:
            with sock, suppress(PermissionError):
                DEVICE_BOUND.apply(sock)
                sock.sendto(header + request, (STUN_SERVER[AF_INET], 0))
            return bool(wire.leaks(transaction_of(request)))

    assert not leaves()
    assert agent.cli("allow", "preset", "netbird").returncode == 0
    assert leaves()


# A real program

# It would announce itself, look for relays and report crashes to the Internet otherwise.
SYNCTHING = f"""
<configuration version="36">
    <gui enabled="false"/>
    <options>
        <listenAddress>quic://{CLIENT[AF_INET]}:22000</listenAddress>
        <stunServer>{STUN_SERVER[AF_INET]}:{STUN_PORT}</stunServer>
        <globalAnnounceEnabled>false</globalAnnounceEnabled>
        <localAnnounceEnabled>false</localAnnounceEnabled>
        <relaysEnabled>false</relaysEnabled>
        <natEnabled>true</natEnabled>
        <urAccepted>-1</urAccepted>
        <crashReportingEnabled>false</crashReportingEnabled>
    </options>
</configuration>
"""


@pytest.fixture
def syncthing(lab: Lab, cgroups: Cgroups) -> Iterator[Callable[[str], Process]]:
    """Starts Debian's Syncthing as a user's program, in the cgroup at a path."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "config.xml").write_text(SYNCTHING)
        for path in (Path(home), Path(home) / "config.xml"):
            os.chown(path, NOBODY, NOBODY)
        command = (
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            "syncthing",
            "serve",
        )
        started: list[Process] = []

        def start(path: str) -> Process:
            with cgroups.inside(path):
                options = (f"--home={home}", "--no-browser", "--no-restart", "--no-upgrade")
                # Monitored, so that it starts no other process, which would not end with this one.
                started.append(
                    Process(lab.client, *command, *options, env={"HOME": home, "STMONITORED": "yes"})
                )
            return started[-1]

        yield start
        for process in started:
            process.kill()


def proposed(agent: Agent) -> list[dict[str, str]]:
    """What doctor says about presets."""
    return [each for each in json_of(agent, "doctor") if each["check"] == "presets"]


def test_doctor_proposes_the_preset_of_the_program_that_was_blocked_and_it_helps(
    lab: Lab, cgroups: Cgroups, syncthing: Callable[[str], Process]
) -> None:
    unit = f"{MANAGER}/app.slice/syncthing.service"
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab) as agent:
        assert proposed(agent) == []
        blocked = syncthing(unit)
        event = wait_event(agent, unit="syncthing.service")
        assert (event["verdict"], event["executable"]) == ("blocked", "/usr/bin/syncthing")
        (found,) = proposed(agent)
        assert found["result"] == "note"
        assert found["what"].startswith(
            "Syncthing was blocked (syncthing.service of nobody; last to 198.51.100.3:3478, "
        )
        assert presets()["syncthing"].reveals in found["why"]
        explained = json_of(agent, "explain", str(event["id"]))["preset"]
        command = "sudo stunwall allow preset syncthing --user nobody"
        assert found["next"] == f"if you want that: {command}"
        assert (explained["name"], explained["command"]) == ("syncthing", command)
        assert command in " ".join(agent.cli("explain", str(event["id"])).stdout.split())
        allowed = agent.cli(*shlex.split(command)[2:])
        assert allowed.returncode == 0, allowed.stderr
        assert proposed(agent) == []
        blocked.kill()
        # It needs answers from both addresses of the server to see what the provider's NAT does.
        syncthing(unit).wait_line("detected NAT type: Symmetric NAT", 15)
        written = drop_in(agent)
        again = agent.cli(*shlex.split(command)[2:])
        assert (again.returncode, drop_in(agent)) == (0, written)
        assert "Nothing was changed." in again.stdout
        assert agent.cli("allow", "remove", "syncthing").returncode == 0
        assert [each["next"] for each in proposed(agent)] == [f"if you want that: {command}"]


def test_a_program_that_only_has_the_name_is_not_taken_for_it(
    lab: Lab, cgroups: Cgroups, syncthing: Callable[[str], Process]
) -> None:
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab) as agent:
        syncthing("user.slice/user-65534.slice/session-2.scope")
        event = wait_event(agent, unit="session-2.scope")
        (found,) = proposed(agent)
        assert found["what"].startswith(
            "a program called syncthing was blocked (in session-2.scope; last to 198.51.100.3:3478, "
        )
        assert found["what"].endswith("); it is known by its name only")
        assert json_of(agent, "explain", str(event["id"]))["preset"]["by_name_only"] is True

"""TCP's handshake: no connection leaves only because its socket is bound outside the VPN (README.md, bound_tcp)."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import AF_INET, IPPROTO_TCP, SOCK_STREAM

import pytest

from lab.addresses import (
    CLIENT,
    COTURN,
    ECHO_SERVER,
    FAMILIES,
    PHYSICAL,
    STUN_SERVER,
    VPN_SERVER,
    family_name,
)
from lab.agent import Agent
from lab.cgroups import Cgroups
from lab.echo import round_trip
from lab.frame import Packet
from lab.leaks import DEVICE, FWMARK, SOURCE_RULE, USER_RULE, Leak
from lab.messages import binding_request, reflexive_address
from lab.observe import address_seen, settled_events, wait_event
from lab.probe import SOURCE_BOUND, ask, connect, exchange, send
from lab.process import Process
from lab.sleeping import sleeping
from lab.topology import Lab
from lab.wire import Wire

PORTS = (3478, 80, 443)
SECONDS = 30  # until a piece of a lot of data comes
BOUND = [
    pytest.param(leak, family, id=f"{leak.name}-{family_name(family)}")
    for leak in (SOURCE_RULE, DEVICE)
    for family in FAMILIES
]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A browser runs, as far as can be told without tracing it: all programs here are in its cgroup."""
    with sleeping(tmp_path / "firefox-esr") as running:
        yield running


def opened(lab: Lab, leak: Leak, family: int, port: int = 3478, server: str = "") -> str:
    """What becomes of a connection: the name of the error, "" if it stands."""
    try:
        connect(lab.client, (server or STUN_SERVER[family], port), leak.binding[family], SOCK_STREAM).close()
    except OSError as error:
        return type(error).__name__
    return ""


def segments(wire: Wire, family: int) -> list[Packet]:
    """The TCP segments to the servers that left outside the VPN.

    Not those of connections to the second server that began before: curl's of an earlier test may still be sent again.
    """
    wire.settle()
    found = [each for each in wire.packets() if each.protocol == IPPROTO_TCP]
    begun = {each.source_port for each in found if each.opens}
    return [
        each
        for each in found
        if each.destination == STUN_SERVER[family]
        or (each.destination == ECHO_SERVER[family] and each.source_port in begun)
    ]


@contextmanager
def leaking(lab: Lab, leak: Leak, family: int) -> Iterator[None]:
    """The leak, which shows the real address without stunwall."""
    with leak.made(lab, family):
        with Wire(lab) as wire:
            assert not opened(lab, leak, family)
            assert segments(wire, family)
        yield


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize(("leak", "family"), BOUND)
def test_the_connection_of_a_bound_socket_of_a_browser_is_refused_before_it_leaves(
    lab: Lab, leak: Leak, family: int
) -> None:
    with leaking(lab, leak, family), Agent(lab) as agent, Wire(lab) as wire:
        for port in PORTS:
            assert opened(lab, leak, family, port) == "ConnectionRefusedError"
            event = wait_event(agent, verdict="blocked", destination_port=port)
            assert (event["protocol"], event["method"], event["reason"]) == ("tcp-handshake", "SYN", "bound")
        assert not segments(wire, family)


@pytest.mark.parametrize(("leak", "family"), BOUND)
def test_the_connection_of_another_program_goes_on(lab: Lab, leak: Leak, family: int) -> None:
    with leak.made(lab, family), Agent(lab) as agent, Wire(lab) as wire:
        assert not opened(lab, leak, family)
        assert segments(wire, family)
        assert not settled_events(lab, agent)
        agent.set(bound_tcp="all")
        assert agent.cli("reload").returncode == 0
        assert opened(lab, leak, family) == "ConnectionRefusedError"
        agent.set(bound_tcp="webrtc", webrtc_programs=["py*", "pytest"])
        assert agent.cli("reload").returncode == 0
        assert opened(lab, leak, family) == "ConnectionRefusedError"
        agent.set(bound_tcp="off", webrtc_programs=["py*", "pytest"])
        assert agent.cli("reload").returncode == 0
        assert not opened(lab, leak, family)


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
@pytest.mark.parametrize("leak", [FWMARK, USER_RULE], ids=lambda leak: leak.name)
def test_what_is_routed_outside_goes_on(lab: Lab, leak: Leak, family: int) -> None:
    """Split tunnels: not the binding of the socket takes it there."""
    with leak.made(lab, family), Agent(lab) as agent, Wire(lab) as wire:
        assert not opened(lab, leak, family)
        assert segments(wire, family)
        assert not settled_events(lab, agent)


@pytest.mark.usefixtures("browser")
def test_what_goes_through_the_vpn_or_to_the_own_network_is_not_even_queued(lab: Lab) -> None:
    lab.vpn.up(ipv6=True)
    with Agent(lab) as agent:
        before = lab.client.read("netfilter/nfnetlink_queue").split()[7]
        for family in FAMILIES:
            assert address_seen(lab, family, kind=SOCK_STREAM) == VPN_SERVER[family]
        assert lab.client.read("netfilter/nfnetlink_queue").split()[7] == before
        assert not settled_events(lab, agent)


@pytest.mark.usefixtures("browser")
def test_without_a_vpn_connections_are_left_alone(lab: Lab) -> None:
    lab.vpn.down()
    with Agent(lab) as agent:
        for leak in (SOURCE_RULE, DEVICE):
            assert not opened(lab, leak, AF_INET)
        assert not settled_events(lab, agent)


@pytest.mark.usefixtures("browser")
def test_an_exception_and_a_pause_let_it_go_on(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab) as agent:
        assert opened(lab, SOURCE_RULE, AF_INET) == "ConnectionRefusedError"
        added = agent.cli("allow", "add", "--to", STUN_SERVER[AF_INET], "--why", "a test")
        assert added.returncode == 0, added.stderr
        assert not opened(lab, SOURCE_RULE, AF_INET)
        assert opened(lab, SOURCE_RULE, AF_INET, 80, ECHO_SERVER[AF_INET]) == "ConnectionRefusedError"
        assert agent.cli("allow", "remove", "1").returncode == 0
        assert opened(lab, SOURCE_RULE, AF_INET) == "ConnectionRefusedError"
        assert agent.cli("pause", "1m").returncode == 0
        assert not opened(lab, SOURCE_RULE, AF_INET)


@pytest.mark.usefixtures("browser")
def test_with_a_dead_daemon_connections_go_on(lab: Lab) -> None:
    """They are no STUN; STUN on them is dropped."""
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab) as agent:
        assert opened(lab, SOURCE_RULE, AF_INET) == "ConnectionRefusedError"
        agent.kill()
        assert not opened(lab, SOURCE_RULE, AF_INET)
        assert address_seen(lab, binding=SOURCE_BOUND[AF_INET], kind=SOCK_STREAM) is None


def test_a_socket_that_is_closed_at_once_shows_nothing(lab: Lab) -> None:
    """A page could close its connection so fast that nobody knows any more whose it was."""
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab) as agent, Wire(lab) as wire:
        pid = agent.pid
        subprocess.run(["kill", "-STOP", str(pid)], check=True)
        with lab.client.socket(AF_INET, SOCK_STREAM) as own:
            SOURCE_BOUND[AF_INET].apply(own)
            own.setblocking(False)
            with suppress(BlockingIOError):
                own.connect(COTURN[AF_INET])
        subprocess.run(["kill", "-CONT", str(pid)], check=True)
        wait_event(agent, verdict="blocked", reason="bound")
        assert not segments(wire, AF_INET)


CURL = (
    *("curl", "-sv", "-m", "5", "--http0.9", "--interface", PHYSICAL),
    f"http://{ECHO_SERVER[AF_INET]}:8080/",
)
SSH = (
    *("ssh", "-v", "-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"),
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-b", CLIENT[AF_INET]),
    *(f"nobody@{STUN_SERVER[AF_INET]}", "true"),
)


@pytest.fixture
def sshd(lab: Lab, tmp_path: Path) -> Iterator[None]:
    """An SSH server, which lets nobody in."""
    key, address = str(tmp_path / "key"), STUN_SERVER[AF_INET]
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", key], check=True, capture_output=True)
    server = Process(lab.stun, "dropbear", "-F", "-E", "-r", key, "-P", f"{key}.pid", "-p", f"{address}:22")
    server.wait_line("Not backgrounding", 5)
    yield
    server.stop()


@pytest.mark.usefixtures("sshd")
@pytest.mark.parametrize(
    ("command", "answer"), [(CURL, "Connected to"), (SSH, "Connection established")], ids=["curl", "ssh"]
)
def test_curl_and_ssh_beside_a_browser_go_on_in_a_scope_of_their_own(
    lab: Lab, cgroups: Cgroups, browser: subprocess.Popen[bytes], command: tuple[str, ...], answer: str
) -> None:
    own, other = (f"stunwall-lab.slice/{name}.scope" for name in ("app-firefox-1", "app-terminal-2"))
    (cgroups.make(own) / "cgroup.procs").write_text(str(browser.pid))
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab) as agent, Wire(lab) as wire:
        refused = cgroups.printed(own, *command)
        assert "Connection refused" in refused
        assert answer not in refused
        assert not segments(wire, AF_INET)
        assert answer in cgroups.printed(other, *command)
        assert segments(wire, AF_INET)
        assert [event["reason"] for event in settled_events(lab, agent)] == ["bound"]


# mode = "redirect"


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_the_connection_of_a_bound_socket_is_moved_into_the_vpn(lab: Lab, family: int) -> None:
    with leaking(lab, SOURCE_RULE, family), Agent(lab, mode="redirect") as agent, Wire(lab) as wire:
        for port in (3478, 80):
            reply = ask(
                lab.client, (STUN_SERVER[family], port), binding_request(), SOURCE_BOUND[family], SOCK_STREAM
            )
            assert reflexive_address(reply) == VPN_SERVER[family]
            event = wait_event(agent, verdict="redirected", destination_port=port)
            assert (event["protocol"], event["reason"]) == ("tcp-handshake", "redirected")
        assert not segments(wire, family)


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_a_redirected_connection_carries_large_segments_and_stays_inside(lab: Lab, family: int) -> None:
    sent = os.urandom(300_000)
    with SOURCE_RULE.made(lab, family), Agent(lab, mode="redirect") as agent, Wire(lab) as wire:
        with connect(lab.client, (ECHO_SERVER[family], 8080), SOURCE_BOUND[family], SOCK_STREAM) as own:
            assert round_trip(own, sent, SECONDS) == sent
            assert not segments(wire, family)
            agent.kill()
            assert exchange(own, b"with a dead daemon") == b"with a dead daemon"
            lab.vpn.down()
            send(own, b"with the VPN down")
            assert not segments(wire, family)
        assert not segments(wire, family)


@pytest.mark.usefixtures("browser")
def test_what_cannot_be_moved_is_refused(lab: Lab) -> None:
    with DEVICE.made(lab, AF_INET), Agent(lab, mode="redirect") as agent, Wire(lab) as wire:
        assert opened(lab, DEVICE, AF_INET) == "ConnectionRefusedError"
        wait_event(agent, verdict="blocked", reason="bound")
        assert not segments(wire, AF_INET)

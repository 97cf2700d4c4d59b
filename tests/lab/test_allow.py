"""Exceptions of the user's: each lets through what it names and nothing else, in the kernel."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM
from typing import Any

import pytest

from lab.addresses import (
    BOX,
    CLIENT,
    FAMILIES,
    PHYSICAL,
    REAL,
    STUN_PORT,
    STUN_SERVER,
    STUN_SERVER_ALTERNATE,
    VPN_SERVER,
)
from lab.agent import Agent
from lab.deadline import until
from lab.kinds import DEVICE_BOUND
from lab.leaks import SOURCE_RULE
from lab.messages import binding_request, error_code, new_transaction, reflexive_address
from lab.observe import address_seen, json_of
from lab.probe import UNBOUND, Binding, ask, connect, send
from lab.senders import Senders
from lab.topology import Lab
from lab.wire import Wire

NOBODY = 65534
STUN_CLIENT = ("stun", STUN_SERVER[AF_INET], "1", "-i", CLIENT[AF_INET], "-v")
SERVED = f"mappedAddr={REAL[AF_INET]}"
WHY = "the lab's own server"


@dataclass(frozen=True, slots=True)
class Request:
    """A Binding Request around the VPN."""

    address: str = STUN_SERVER[AF_INET]
    port: int = STUN_PORT
    kind: int = SOCK_DGRAM
    binding: Binding = DEVICE_BOUND

    def passes(self, lab: Lab) -> bool:
        """Whether it is answered by the server, which then sees the client's real address; else it is refused."""
        reply = ask(lab.client, (self.address, self.port), binding_request(), self.binding, self.kind)
        seen = reflexive_address(reply)
        assert seen == REAL[AF_INET6 if ":" in self.address else AF_INET] or error_code(reply) == 403
        return seen is not None


TCP, SIX = Request(kind=SOCK_STREAM), Request(STUN_SERVER[AF_INET6])
ALTERNATE = Request(STUN_SERVER_ALTERNATE)
PORT_80, PORT_80_TCP = Request(port=80), Request(port=80, kind=SOCK_STREAM)
PORT_80_SIX = Request(STUN_SERVER[AF_INET6], port=80)
EVERY = (Request(), TCP, SIX, ALTERNATE, PORT_80, PORT_80_TCP, PORT_80_SIX)


@dataclass(frozen=True, slots=True)
class Case:
    """One exception, and what it lets through of EVERY."""

    name: str
    rule: dict[str, Any]
    passing: tuple[Request, ...] = field(default=())


CASES = (
    Case("address", {"to": STUN_SERVER[AF_INET]}, (Request(), TCP, PORT_80, PORT_80_TCP)),
    Case("network", {"to": "198.51.100.0/24"}, (Request(), TCP, ALTERNATE, PORT_80, PORT_80_TCP)),
    Case("ipv6_address", {"to": STUN_SERVER[AF_INET6]}, (SIX, PORT_80_SIX)),
    Case("ipv6_network", {"to": "2001:db8:3::/64"}, (SIX, PORT_80_SIX)),
    Case("another_network", {"to": "198.51.100.128/25"}),
    Case("port", {"port": 80}, (PORT_80, PORT_80_TCP, PORT_80_SIX)),
    Case("tcp", {"protocol": "tcp"}, (TCP, PORT_80_TCP)),
    Case("udp", {"protocol": "udp"}, (Request(), SIX, ALTERNATE, PORT_80, PORT_80_SIX)),
    Case("interface", {"interface": PHYSICAL}, EVERY),
    Case("another_interface", {"interface": "box0"}),
    Case("all_of_it", {"to": STUN_SERVER[AF_INET], "port": 80, "protocol": "udp", "interface": PHYSICAL}, (PORT_80,)),
    Case("of_all_one_differs", {"to": STUN_SERVER[AF_INET], "port": 80, "interface": "box0"}),
)  # fmt: skip


@contextmanager
def allowing(lab: Lab, *rules: dict[str, Any], **config: Any) -> Iterator[Agent]:
    """A ready stunwalld with these exceptions in a drop-in of its configuration."""
    agent = Agent(lab, **config)
    drop_in = agent.folder / "conf.d" / "50-lab.toml"
    drop_in.parent.mkdir()
    tables = (
        [f"{key} = {json.dumps(value)}" for key, value in {**rule, "why": WHY}.items()] for rule in rules
    )
    drop_in.write_text("".join("[[allow]]\n" + "\n".join(lines) + "\n" for lines in tables))
    with agent:
        yield agent


@pytest.fixture(autouse=True)
def vpn(lab: Lab) -> None:
    lab.vpn.up(ipv6=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exception_lets_through_what_it_names_and_nothing_else(lab: Lab, case: Case) -> None:
    with allowing(lab, case.rule) as agent:
        for request in EVERY:
            assert request.passes(lab) == (request in case.passing), request
        assert address_seen(lab) == VPN_SERVER[AF_INET]
        agent.kill()
        with Wire(lab) as wire:
            for request in EVERY:
                if request in case.passing:
                    assert request.passes(lab), "it stands in the kernel, so it needs no daemon"
            before = len(wire.stun())
            for request in EVERY:
                if request not in case.passing:
                    with connect(
                        lab.client, (request.address, request.port), request.binding, request.kind
                    ) as sock:
                        send(sock, binding_request())
            assert len(wire.stun()) == before


@pytest.mark.parametrize("mode", ["block", "redirect"])
def test_exception_for_a_user_lets_that_users_programs_through(lab: Lab, mode: str) -> None:
    with SOURCE_RULE.made(lab, AF_INET), allowing(lab, {"user": "nobody"}, mode=mode):
        assert SERVED in printed(lab, "setpriv", f"--reuid={NOBODY}", "--clear-groups", *STUN_CLIENT)
        assert SERVED not in printed(lab, *STUN_CLIENT)


def printed(lab: Lab, *command: str) -> str:
    done = lab.client.run(*command)
    return done.stdout + done.stderr


def test_exception_is_not_redirected(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET), allowing(lab, {"port": 80}, mode="redirect"):
        bound = Binding(source=CLIENT[AF_INET])
        assert Request(port=80, binding=bound).passes(lab)
        assert address_seen(lab, binding=bound) == VPN_SERVER[AF_INET]


# At run time


def test_exception_is_added_and_removed_at_run_time(lab: Lab) -> None:
    with allowing(lab, {"port": 80}) as agent:
        assert not Request().passes(lab)
        added = agent.cli("allow", "add", "--to", STUN_SERVER[AF_INET], "--port", str(STUN_PORT),
                          "--protocol", "udp", "--why", WHY)  # fmt: skip
        assert added.returncode == 0, added.stderr
        assert [request for request in EVERY if request.passes(lab)] == [
            Request(), PORT_80, PORT_80_TCP, PORT_80_SIX,
        ]  # fmt: skip
        listed = json_of(agent, "allow", "list")["allow"]
        assert [entry["port"] for entry in listed] == [80, STUN_PORT]
        assert listed[1]["to"].startswith(STUN_SERVER[AF_INET])
        assert all(entry["why"] == WHY for entry in listed)
        assert WHY in agent.cli("allow", "list").stdout
        removed = agent.cli("allow", "remove", "2")
        assert removed.returncode == 0, removed.stderr
        assert not Request().passes(lab)
        assert PORT_80.passes(lab)


def test_exception_added_at_run_time_is_kept_beside_the_configuration(lab: Lab) -> None:
    with Agent(lab) as agent:
        assert agent.cli("allow", "add", "--port", str(STUN_PORT), "--why", WHY).returncode == 0
        (drop_in,) = (agent.folder / "conf.d").glob("*.toml")
        assert WHY in drop_in.read_text()
        agent.stop()
        agent.start()
        assert Request().passes(lab)
        assert not PORT_80.passes(lab)
        assert agent.cli("allow", "remove", "1").returncode == 0
        agent.stop()
        agent.start()
        assert not Request().passes(lab)


def test_exception_counts_in_the_kernel_what_it_let_through(lab: Lab) -> None:
    with allowing(lab, {"port": 80}) as agent:
        for _ in range(3):
            assert PORT_80.passes(lab)
        counted = [rule["packets"] for rule in json_of(agent, "rules")["rules"] if rule["chain"] == "allowed"]
        assert counted == [3]


# allow_lan

ROUTER = "192.168.1.1"
BEHIND_THE_ROUTER = "10.77.0.1"


def reaches(lab: Lab, address: str) -> bool:
    """Whether a STUN message to `address` leaves the client on its physical interface."""
    transaction = new_transaction()
    with Wire(lab) as wire:
        with connect(lab.client, (address, STUN_PORT), DEVICE_BOUND) as sock:
            send(sock, binding_request(transaction))
        return bool(wire.leaks(transaction))


def box_hears(lab: Lab, family: int) -> bool:
    """Whether a STUN message to the container arrives there."""
    request = binding_request()
    with lab.box.socket(family, SOCK_DGRAM) as listener:
        listener.bind((BOX[family], STUN_PORT))
        listener.settimeout(0.3)
        with connect(lab.client, (BOX[family], STUN_PORT)) as sock:
            send(sock, request)
            try:
                return listener.recv(65535) == request
            except TimeoutError:
                return False


def test_stun_to_private_addresses_on_the_link_passes_only_with_allow_lan(lab: Lab) -> None:
    outside = (BEHIND_THE_ROUTER, STUN_SERVER[AF_INET], STUN_SERVER[AF_INET6], "2001:db8:1::1")
    assert all(reaches(lab, address) for address in (ROUTER, *outside))
    with Agent(lab):
        assert not any(reaches(lab, address) for address in (ROUTER, *outside))
        assert not any(box_hears(lab, family) for family in FAMILIES)
    with Agent(lab, allow_lan=True):
        assert reaches(lab, ROUTER)
        assert all(box_hears(lab, family) for family in FAMILIES)
        assert not any(reaches(lab, address) for address in outside)


def test_allow_lan_follows_the_addresses_of_the_machine(lab: Lab) -> None:
    with Agent(lab, allow_lan=True):
        assert not reaches(lab, BEHIND_THE_ROUTER)
        lab.client.ip(f"addr add 10.77.0.2/24 dev {PHYSICAL}")
        lab.isp.ip(f"addr add {BEHIND_THE_ROUTER}/24 dev home")
        try:
            until(lambda: reaches(lab, BEHIND_THE_ROUTER), 5, "the new network to be let through")
        finally:
            lab.client.ip(f"addr del 10.77.0.2/24 dev {PHYSICAL}")
            lab.isp.ip(f"addr del {BEHIND_THE_ROUTER}/24 dev home")
        until(lambda: not reaches(lab, BEHIND_THE_ROUTER), 5, "the old network to be shut out")


# systemd units

SLICE = Path("/sys/fs/cgroup/system.slice")
UNIT = "stunwall-lab.service"


@pytest.fixture
def cgroup(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cgroup of a unit, where systemd has them; the hierarchy is mounted in the tests' own mounts."""
    mounted = subprocess.run(
        ["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs cgroup v2: {mounted.stderr.strip()}")
    # `ip netns exec` mounts a /sys of its own, without the hierarchy.
    monkeypatch.setattr(
        lab.client, "command", lambda *arguments: ["nsenter", "--net=/run/netns/client", *arguments]
    )
    made = [folder for folder in (SLICE, SLICE / UNIT) if not folder.exists()]
    for folder in made:
        folder.mkdir()
    try:
        yield SLICE / UNIT
    finally:
        for folder in reversed(made):
            folder.rmdir()
        subprocess.run(["umount", "/sys/fs/cgroup"], check=True)


@pytest.mark.parametrize("mode", ["block", "redirect"])
def test_exception_for_a_unit_lets_that_units_programs_through(lab: Lab, cgroup: Path, mode: str) -> None:
    inside = ("sh", "-c", f'echo 0 >{cgroup}/cgroup.procs && exec "$@"', "sh", *STUN_CLIENT)
    with SOURCE_RULE.made(lab, AF_INET), allowing(lab, {"unit": UNIT}, mode=mode):
        assert SERVED in printed(lab, *inside)
        assert SERVED not in printed(lab, *STUN_CLIENT)
        assert SERVED in printed(lab, *inside)


# Wrong and changing exceptions

WRONG = [
    pytest.param(["--to", "198.51.100.3"], "why", id="no_reason"),
    pytest.param(["--why", WHY], "everything", id="no_condition"),
    pytest.param(["--to", "example.org", "--why", WHY], "address", id="a_name"),
    pytest.param(["--to", "198.51.100.3/24", "--why", WHY], "198.51.100.0/24", id="host_bits"),
    pytest.param(["--port", "0", "--why", WHY], "", id="port_0"),
    pytest.param(["--port", "65536", "--why", WHY], "", id="port_65536"),
    pytest.param(["--protocol", "icmp", "--why", WHY], "udp", id="protocol"),
    pytest.param(["--interface", 'x"; flush ruleset; #', "--why", WHY], "interface", id="interface"),
    pytest.param(["--user", "no such user", "--why", WHY], "user", id="user"),
    pytest.param(["--unit", "../../etc", "--why", WHY], "unit", id="unit"),
]


@pytest.fixture(scope="module")
def plain(lab: Lab) -> Iterator[Agent]:
    with Agent(lab) as agent:
        yield agent


# The module's agent runs from here on: what starts its own stands above, or ends it.
@pytest.mark.parametrize(("options", "said"), WRONG)
def test_wrong_exception_is_refused_with_the_reason_and_changes_nothing(
    lab: Lab, plain: Agent, options: list[str], said: str
) -> None:
    done = plain.cli("allow", "add", *options)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert json_of(plain, "allow", "list")["allow"] == []
    assert not Request().passes(lab)


@pytest.mark.parametrize("number", ["0", "1", "-1", "x", "99999999999999999999"])
def test_exception_that_does_not_exist_cannot_be_removed(lab: Lab, plain: Agent, number: str) -> None:
    done = plain.cli("allow", "remove", "--", number)
    assert done.returncode != 0
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_changing_exceptions_never_lets_anything_else_through(lab: Lab, plain: Agent) -> None:
    def change(*arguments: str) -> None:
        done = plain.cli("allow", *arguments)
        assert done.returncode == 0, done.stderr

    with Wire(lab) as wire, Senders(lab, DEVICE_BOUND, UNBOUND) as senders:
        for port in (80, 81):
            change("add", "--port", str(port), "--why", WHY)
            senders.wait()
            change("add", "--to", "203.0.113.7", "--why", WHY)
            senders.wait()
            change("remove", "1")
            senders.wait()
            change("remove", "1")
            senders.wait()
        assert not wire.stun()

"""The user's exceptions: each lets through what it names and nothing else, in the kernel."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM
from typing import Any

import pytest

from lab import second_lock
from lab.addresses import (
    COTURN,
    NOBODY,
    PHYSICAL,
    REAL,
    ROUTER,
    STUN_PORT,
    STUN_SERVER,
    STUN_SERVER_ALTERNATE,
    VPN_SERVER,
)
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import SOURCE_RULE
from lab.messages import REFUSED, binding_request, error_code, reflexive_address
from lab.observe import NO_LEAK, NOTICED, address_seen, json_of, on_wire
from lab.probe import DEVICE_BOUND, SOURCE_BOUND, UNBOUND, Binding, ask, connect, send
from lab.programs import STUN_CLIENT, maps_to
from lab.senders import Senders
from lab.topology import Lab
from lab.tunnel import INTERFACE, SERVER_INTERFACE, UNROUTED, proxy
from lab.wire import Wire

pytestmark = pytest.mark.usefixtures("vpn")

SERVED = maps_to(REAL[AF_INET])
WHY = "the lab's own server"
LENGTH = 8  # seconds that an exception lasts


@dataclass(frozen=True, slots=True)
class Request:
    """A Binding Request that bypasses the VPN."""

    address: str = STUN_SERVER[AF_INET]
    port: int = STUN_PORT
    kind: int = SOCK_DGRAM
    binding: Binding = DEVICE_BOUND

    def passes(self, lab: Lab) -> bool:
        """Whether the server answers it, and so sees the client's real address; otherwise stunwall refuses it."""
        reply = ask(lab.client, (self.address, self.port), binding_request(), self.binding, self.kind)
        seen = reflexive_address(reply)
        assert seen == REAL[AF_INET6 if ":" in self.address else AF_INET] or error_code(reply) == REFUSED
        return seen is not None

    def send(self, lab: Lab) -> None:
        with connect(lab.client, (self.address, self.port), self.binding, self.kind) as sock:
            send(sock, binding_request())


PLAIN = Request()
TCP = Request(kind=SOCK_STREAM)
IPV6 = Request(STUN_SERVER[AF_INET6])
ALTERNATE = Request(STUN_SERVER_ALTERNATE)
PORT_80 = Request(port=80)
PORT_80_TCP = Request(port=80, kind=SOCK_STREAM)
PORT_80_IPV6 = Request(STUN_SERVER[AF_INET6], port=80)
EVERY = (PLAIN, TCP, IPV6, ALTERNATE, PORT_80, PORT_80_TCP, PORT_80_IPV6)

ALL_CONDITIONS = {"to": STUN_SERVER[AF_INET], "port": 80, "protocol": "udp", "interface": PHYSICAL}


@dataclass(frozen=True, slots=True)
class Case:
    """One exception, and the requests of EVERY that it lets through."""

    name: str
    rule: dict[str, Any]
    passing: tuple[Request, ...] = field(default=())


CASES = (
    Case("address", {"to": STUN_SERVER[AF_INET]}, (PLAIN, TCP, PORT_80, PORT_80_TCP)),
    Case("network", {"to": "198.51.100.0/24"}, (PLAIN, TCP, ALTERNATE, PORT_80, PORT_80_TCP)),
    Case("ipv6_address", {"to": STUN_SERVER[AF_INET6]}, (IPV6, PORT_80_IPV6)),
    Case("ipv6_network", {"to": "2001:db8:3::/64"}, (IPV6, PORT_80_IPV6)),
    Case("another_network", {"to": "198.51.100.128/25"}),
    Case("port", {"port": 80}, (PORT_80, PORT_80_TCP, PORT_80_IPV6)),
    Case("tcp", {"protocol": "tcp"}, (TCP, PORT_80_TCP)),
    Case("udp", {"protocol": "udp"}, (PLAIN, IPV6, ALTERNATE, PORT_80, PORT_80_IPV6)),
    Case("interface", {"interface": PHYSICAL}, EVERY),
    Case("another_interface", {"interface": "box0"}),
    Case("all_conditions", ALL_CONDITIONS, (PORT_80,)),
    Case("one_condition_differs", ALL_CONDITIONS | {"interface": "box0"}),
)


@contextmanager
def allowing(lab: Lab, *rules: dict[str, Any], **config: Any) -> Iterator[Agent]:
    """A ready stunwalld with these exceptions in a drop-in of its configuration."""
    agent = Agent(lab, **config)
    tables = []
    for rule in rules:
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in {**rule, "why": WHY}.items()]
        tables.append("[[allow]]\n" + "".join(lines))
    agent.drop_in("50-lab.toml", "\n".join(tables))
    with agent:
        yield agent


@pytest.mark.parametrize("unattended", [False, True], ids=["daemon", "no_daemon"])
def test_an_exception_ends_by_itself_with_or_without_the_daemon(lab: Lab, unattended: bool) -> None:
    with Agent(lab) as agent:
        assert not PLAIN.passes(lab)
        length = ("--for", f"{LENGTH}s")
        added = agent.cli("allow", "add", "--to", STUN_SERVER[AF_INET], "--why", WHY, *length)
        assert added.returncode == 0, added.stderr
        assert PLAIN.passes(lab)
        if unattended:
            agent.kill()
            with Wire(lab) as wire:
                until(partial(unanswered, lab), LENGTH, "the end of the exception")
                leaked = len(wire.stun())
                assert unanswered(lab)
                assert len(wire.stun()) == leaked
            agent.start()
        until(lambda: not PLAIN.passes(lab), LENGTH, "the end of the exception")
        until(lambda: not json_of(agent, "allow", "list")["allow"], NOTICED, "it to be removed")


def unanswered(lab: Lab) -> bool:
    """Whether no answer comes to a request outside the VPN."""
    return ask(lab.client, COTURN[AF_INET], binding_request(), DEVICE_BOUND, seconds=0.5) is None


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
                    assert request.passes(lab), "the exception is in the kernel and needs no daemon"
            before = len(wire.stun())
            for request in EVERY:
                if request not in case.passing:
                    request.send(lab)
            assert len(wire.stun()) == before


@pytest.mark.parametrize("mode", ["block", "redirect"])
def test_exception_for_a_user_lets_that_users_programs_through(lab: Lab, mode: str) -> None:
    with SOURCE_RULE.made(lab, AF_INET), allowing(lab, {"user": "nobody"}, mode=mode):
        assert SERVED in lab.client.printed("setpriv", f"--reuid={NOBODY}", "--clear-groups", *STUN_CLIENT)
        assert SERVED not in lab.client.printed(*STUN_CLIENT)


def test_what_an_exception_lets_through_is_not_redirected(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET), allowing(lab, {"port": 80}, mode="redirect"):
        bound = SOURCE_BOUND[AF_INET]
        assert Request(port=80, binding=bound).passes(lab)
        assert address_seen(lab, binding=bound) == VPN_SERVER[AF_INET]


# At run time


def test_exception_can_be_added_and_removed_at_run_time(lab: Lab) -> None:
    with allowing(lab, {"port": 80}) as agent:
        assert not PLAIN.passes(lab)
        options = ("--to", STUN_SERVER[AF_INET], "--port", str(STUN_PORT), "--protocol", "udp", "--why", WHY)
        added = agent.cli("allow", "add", *options)
        assert added.returncode == 0, added.stderr
        assert {request for request in EVERY if request.passes(lab)} == {
            PLAIN,
            PORT_80,
            PORT_80_TCP,
            PORT_80_IPV6,
        }
        listed = json_of(agent, "allow", "list")["allow"]
        assert [entry["port"] for entry in listed] == [80, STUN_PORT]
        assert listed[1]["to"].startswith(STUN_SERVER[AF_INET])
        assert all(entry["why"] == WHY for entry in listed)
        assert WHY in agent.cli("allow", "list").stdout
        removed = agent.cli("allow", "remove", "2")
        assert removed.returncode == 0, removed.stderr
        assert not PLAIN.passes(lab)
        assert PORT_80.passes(lab)


def test_exception_added_at_run_time_outlives_the_daemon(lab: Lab) -> None:
    with Agent(lab) as agent:
        assert agent.cli("allow", "add", "--port", str(STUN_PORT), "--why", WHY).returncode == 0
        (drop_in,) = (agent.folder / "conf.d").glob("*.toml")
        assert WHY in drop_in.read_text()
        agent.stop()
        agent.start()
        assert PLAIN.passes(lab)
        assert not PORT_80.passes(lab)
        assert agent.cli("allow", "remove", "1").returncode == 0
        agent.stop()
        agent.start()
        assert not PLAIN.passes(lab)


def test_packets_that_an_exception_lets_through_are_counted(lab: Lab) -> None:
    with allowing(lab, {"port": 80}) as agent:
        for _ in range(3):
            assert PORT_80.passes(lab)
        counted = [
            rule["packets"] for rule in json_of(agent, "rules")["rules"] if rule["chain"] == "allow_rules"
        ]
        assert counted == [3]


# allow_lan

BEHIND_THE_ROUTER = "10.77.0.1"


def reaches(lab: Lab, address: str) -> bool:
    """Whether a STUN message to `address` leaves the client by its physical interface."""
    request = Request(address)

    def attempt(transaction: bytes) -> None:
        with connect(lab.client, (request.address, request.port), request.binding) as sock:
            send(sock, binding_request(transaction))

    return on_wire(lab, attempt)


NEIGHBOUR = "192.0.2.1"  # public IPv4, in a network of the interface: any network can say so of any address


@pytest.fixture
def neighbour(lab: Lab) -> Iterator[None]:
    lab.client.ip(f"addr add 192.0.2.2/24 dev {PHYSICAL}")
    lab.isp.ip(f"addr add {NEIGHBOUR}/24 dev home")
    yield
    lab.client.ip(f"addr del 192.0.2.2/24 dev {PHYSICAL}")
    lab.isp.ip(f"addr del {NEIGHBOUR}/24 dev home")


@pytest.fixture
def proxy_arp(lab: Lab) -> Iterator[None]:
    """A route without a gateway leads to a STUN server, as DHCP can give it; the provider answers ARP for it."""
    (home,) = json.loads(lab.isp.run("ip", "-j", "link", "show", "dev", "home").stdout)
    lab.client.ip(f"""
        route add {STUN_SERVER_ALTERNATE} dev {PHYSICAL}
        neigh add {STUN_SERVER_ALTERNATE} lladdr {home["address"]} dev {PHYSICAL}
    """)
    yield
    lab.client.ip(f"""
        neigh del {STUN_SERVER_ALTERNATE} dev {PHYSICAL}
        route del {STUN_SERVER_ALTERNATE} dev {PHYSICAL}
    """)


@pytest.mark.usefixtures("neighbour", "proxy_arp")
def test_stun_to_the_networks_of_the_link_passes_only_with_allow_lan(lab: Lab) -> None:
    here = tuple(ROUTER.values())
    outside = (NEIGHBOUR, BEHIND_THE_ROUTER, *STUN_SERVER.values(), STUN_SERVER_ALTERNATE)
    for address in (*here, *outside):
        until(lambda address=address: reaches(lab, address), 5, f"STUN to {address}: {NO_LEAK}")  # type: ignore[misc]
    with Agent(lab):
        assert not any(reaches(lab, address) for address in (*here, *outside))
    with Agent(lab, allow_lan=True):
        assert all(reaches(lab, address) for address in here)
        assert not any(reaches(lab, address) for address in outside)


def test_a_machine_of_tailscale_is_reached_with_allow_lan(lab: Lab) -> None:
    """Its tun has no default route, and a route without a gateway for each machine."""

    def arrives() -> bool:
        return second_lock.arrives(to_machine, (lab.server, SERVER_INTERFACE))

    def to_machine(payloads: list[bytes]) -> None:
        with connect(lab.client, ("100.101.102.103", STUN_PORT)) as sock:
            for payload in payloads:
                send(sock, payload)

    with proxy(lab, UNROUTED):
        lab.client.ip(f"route add 100.101.102.103 dev {INTERFACE}")
        assert arrives()
        with Agent(lab):
            assert not arrives()
        with Agent(lab, allow_lan=True):
            assert arrives()


def test_allow_lan_follows_the_addresses_of_the_machine(lab: Lab) -> None:
    with Agent(lab, allow_lan=True):
        assert not reaches(lab, BEHIND_THE_ROUTER)
        lab.client.ip(f"addr add 10.77.0.2/24 dev {PHYSICAL}")
        lab.isp.ip(f"addr add {BEHIND_THE_ROUTER}/24 dev home")
        try:
            until(lambda: reaches(lab, BEHIND_THE_ROUTER), 5, "STUN to the new network to pass")
        finally:
            lab.client.ip(f"addr del 10.77.0.2/24 dev {PHYSICAL}")
            lab.isp.ip(f"addr del {BEHIND_THE_ROUTER}/24 dev home")
        until(lambda: not reaches(lab, BEHIND_THE_ROUTER), 5, "STUN to the old network to be blocked")


# Invalid exceptions, and changes while STUN is sent. From here on the module's agent runs.

INVALID = [
    pytest.param(["--to", "198.51.100.3"], "why", id="no_reason"),
    pytest.param(["--why", WHY], "everything", id="no_condition"),
    pytest.param(["--to", "example.org", "--why", WHY], "address", id="host_name"),
    pytest.param(["--to", "198.51.100.3/24", "--why", WHY], "198.51.100.0/24", id="host_bits"),
    pytest.param(["--port", "0", "--why", WHY], "", id="port_0"),
    pytest.param(["--port", "65536", "--why", WHY], "", id="port_65536"),
    pytest.param(["--protocol", "icmp", "--why", WHY], "udp", id="protocol"),
    pytest.param(["--interface", 'x"; flush ruleset; #', "--why", WHY], "interface", id="interface"),
    pytest.param(["--user", "no such user", "--why", WHY], "user", id="user"),
    pytest.param(["--unit", "../../etc", "--why", WHY], "unit", id="unit"),
    pytest.param(["--unit", "*.service", "--why", WHY], "every unit", id="every_unit"),
    pytest.param(["--app", "*", "--user", "nobody", "--why", WHY], "application", id="app"),
    pytest.param(
        ["--unit", "a.service", "--app", "a", "--user", "nobody", "--why", WHY], "no unit", id="app_and_unit"
    ),
]


@pytest.mark.parametrize(("options", "said"), INVALID)
def test_invalid_exception_is_refused_with_the_reason_and_changes_nothing(
    lab: Lab, agent: Agent, options: list[str], said: str
) -> None:
    done = agent.cli("allow", "add", *options)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert json_of(agent, "allow", "list")["allow"] == []
    assert not PLAIN.passes(lab)


@pytest.mark.parametrize("number", ["0", "1", "-1", "x", "99999999999999999999"])
def test_removing_an_exception_that_does_not_exist_is_an_error(agent: Agent, number: str) -> None:
    done = agent.cli("allow", "remove", "--", number)
    assert done.returncode != 0
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_changing_exceptions_never_lets_anything_else_through(lab: Lab, agent: Agent) -> None:
    with Wire(lab) as wire, Senders(lab, DEVICE_BOUND, UNBOUND) as senders:
        for port in ("80", "81"):
            for change in (
                ("add", "--port", port, "--why", WHY),
                ("add", "--to", "203.0.113.7", "--why", WHY),
                ("remove", "1"),
                ("remove", "1"),
            ):
                done = agent.cli("allow", *change)
                assert done.returncode == 0, done.stderr
                senders.wait()
        assert not wire.stun()

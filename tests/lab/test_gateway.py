"""A router with 200 clients on its LAN: sealed, and each client's attempts are recorded under its own address.

IPv4 is translated, IPv6 is not. The clients' packets bypass the VPN by a routing rule for the LAN.
"""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, socket

import pytest

from lab import conntrack
from lab.addresses import COTURN, ECHO_SERVER, FAMILIES, VPN_SERVER
from lab.agent import CLI, Agent
from lab.deadline import until
from lab.dhcp import leased
from lab.echo import round_trip
from lab.flood import build
from lab.gateway import LAN, ROUTER, LanClient, bypass, gateway, lan_address
from lab.messages import REFUSED, binding_request, error_code, reflexive_address, transaction_of
from lab.observe import NO_LEAK, RECORDED, address_seen, events, status
from lab.probe import DEVICE_BOUND, UNBOUND, ask, connect, exchange, send
from lab.process import Process
from lab.topology import Lab
from lab.wire import Wire

CLIENTS = 200
BY_TCP = 5  # of them
ANSWERS = 10  # seconds in which all clients have their answers
AGAIN = 0.5  # seconds after which a request is sent again (RFC 8489 §6.2.1)
BYTES = 20_000  # of each client that are not STUN

# Without --no-ping it waits for an answer from the address first.
DHCP_SERVER = (
    "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= "
    f"--log-facility=- --bind-interfaces --no-ping --dhcp-authoritative --interface={LAN} --port=0 "
    "--dhcp-leasefile=/var/lib/misc/dnsmasq.leases --dhcp-range={address},{address}"
)

pytestmark = pytest.mark.usefixtures("vpn")


@pytest.fixture(scope="module")
def lan(lab: Lab) -> Iterator[list[LanClient]]:
    with gateway(lab, CLIENTS) as clients:
        yield clients


class Asking:
    """One request of each client, all at once, sent again until it is answered or the time is over."""

    def __init__(self, clients: list[LanClient], family: int, seconds: float = ANSWERS) -> None:
        self.requests = {each.number: binding_request() for each in clients}
        self.sent: Counter[str] = Counter()  # by the client's address
        self.replies: dict[int, bytes] = {}
        with ExitStack() as stack:
            open_ = {each: stack.enter_context(connect(each, COTURN[family], UNBOUND)) for each in clients}
            end = time.monotonic() + seconds
            while len(self.replies) < len(clients) and time.monotonic() < end:
                for each, sock in open_.items():
                    if each.number not in self.replies:
                        send(sock, self.requests[each.number])
                        self.sent[each.address[family]] += 1
                self._collect(open_, min(end, time.monotonic() + AGAIN))

    def _collect(self, open_: dict[LanClient, socket], end: float) -> None:
        for each, sock in open_.items():
            if each.number not in self.replies:
                sock.settimeout(max(end - time.monotonic(), 0.001))
                try:
                    self.replies[each.number] = sock.recv(2048)
                except (TimeoutError, ConnectionError):
                    continue

    def codes(self) -> Counter[int | None]:
        return Counter(error_code(reply) for reply in self.replies.values())

    def addresses(self) -> Counter[str | None]:
        """What the server says it has seen."""
        return Counter(reflexive_address(reply) for reply in self.replies.values())


def recorded(agent: Agent) -> dict[str, Counter[str]]:
    """The packets in the record by transport and sender's address; all of them STUN blocked on its way from the LAN."""
    found: dict[str, Counter[str]] = {"udp": Counter(), "tcp": Counter()}
    for event in events(agent):
        assert (event["verdict"], event["incoming"]) == ("blocked", LAN), event
        found[event["transport"]][event["source"]] += event["count"]
    return found


def are_recorded(agent: Agent, addresses: set[str]) -> bool:
    return addresses <= recorded(agent)["udp"].keys()


@pytest.mark.parametrize("mode", ["block", pytest.param("redirect", marks=pytest.mark.thorough)])
def test_a_gateway_is_sealed_and_records_each_client(lab: Lab, lan: list[LanClient], mode: str) -> None:
    with bypass(lab):
        leaked = {}
        with Wire(lab) as wire:
            for family in FAMILIES:
                asking = Asking(lan, family)
                leaked[family] = sum(
                    bool(wire.seen(transaction_of(request))) for request in asking.requests.values()
                )
                assert asking.addresses().total() == CLIENTS
        assert leaked == dict.fromkeys(FAMILIES, CLIENTS), NO_LEAK
        lab.client.delete_connections()

        with Agent(lab, mode=mode, inside=[LAN]) as agent, Wire(lab) as wire:
            sent: Counter[str] = Counter()
            for family in FAMILIES:
                asking = Asking(lan, family)
                assert asking.codes() == {REFUSED: CLIENTS}
                sent += asking.sent
            by_tcp: Counter[str] = Counter()
            for each in lan[:BY_TCP]:
                for family in FAMILIES:
                    refused_by_tcp(each, family)
                    by_tcp[each.address[family]] += 1
            assert echoed(lan[::10]) == dict.fromkeys(FAMILIES, CLIENTS // 10 * BYTES)
            assert not wire.stun()
            until(lambda: recorded(agent)["udp"] == sent, RECORDED, "each request in the record")
            until(lambda: recorded(agent)["tcp"].keys() == by_tcp.keys(), RECORDED, "those over TCP, too")
            found = events(agent)
            assert {event["mac"] for event in found} == {each.mac for each in lan}
            assert {event["reason"] for event in found} == {
                "forwarded" if mode == "redirect" else "outside-vpn"
            }
            assert len(sent) == CLIENTS * len(FAMILIES)
            listed = {entry["interface"] for entry in status(agent)["inside"]}
    assert listed >= {LAN}
    print(f"{mode}: leaked {leaked}, recorded {sent.total()} packets of {len(sent)} addresses")


def refused_by_tcp(client: LanClient, family: int) -> None:
    with connect(client, COTURN[family], UNBOUND, SOCK_STREAM) as sock:
        assert error_code(exchange(sock, binding_request())) == REFUSED


def echoed(clients: list[LanClient]) -> Counter[int]:
    """How many bytes that are not STUN come back to the clients, by family."""
    back: Counter[int] = Counter()
    for family in FAMILIES:
        for each in clients:
            with connect(each, (ECHO_SERVER[family], 80), UNBOUND, SOCK_STREAM) as sock:
                payload = os.urandom(BYTES)
                assert round_trip(sock, payload) == payload
                back[family] += len(payload)
    return back


def test_what_clients_ask_through_the_vpn_is_answered(lab: Lab, lan: list[LanClient]) -> None:
    with Agent(lab, inside=[LAN]) as agent, Wire(lab) as wire:
        for family in FAMILIES:
            assert Asking(lan, family).addresses() == {VPN_SERVER[family]: CLIENTS}
        assert not wire.stun()
        assert not events(agent)


def test_a_lan_that_is_not_called_inside_is_sealed_but_gets_no_refusals(
    lab: Lab, lan: list[LanClient]
) -> None:
    with bypass(lab), Agent(lab) as agent, Wire(lab) as wire:
        assert LAN not in {entry["interface"] for entry in status(agent)["inside"]}
        for family in FAMILIES:
            assert not Asking(lan[:5], family, seconds=0.5).replies
        assert not wire.stun()
        assert f'set inside = ["{LAN}"] in the configuration' in " ".join(agent.cli("doctor").stdout.split())


# Names


@contextmanager
def dhcp_server(lab: Lab, folder: Path) -> Iterator[None]:
    """dnsmasq on the router, with its leases where Debian's has them."""
    folder.chmod(0o755)
    subprocess.run(["mount", "--bind", str(folder), "/var/lib/misc"], check=True)
    command = DHCP_SERVER.format(address=lan_address(CLIENTS + 1))
    server = Process(lab.client, *command.split())
    try:
        server.wait_line("started", 10)
        yield
    finally:
        server.stop()
        subprocess.run(["umount", "/var/lib/misc"], check=True)


@contextmanager
def without_address(client: LanClient) -> Iterator[None]:
    """The client has no IPv4 address of its own."""
    address = f"{client.address[AF_INET]}/24 dev eth0"
    client.ip(f"addr del {address}")
    try:
        yield
    finally:
        client.ip(f"addr add {address}\nroute add default via {ROUTER[AF_INET]}")


def test_a_client_with_a_lease_has_its_name(lab: Lab, lan: list[LanClient], tmp_path: Path) -> None:
    printer, other = lan[-1], lan[0]
    with (
        without_address(printer),
        bypass(lab),
        dhcp_server(lab, tmp_path),
        leased(printer, "eth0", "--hostname=printer") as lease,
    ):
        assert lease.address == lan_address(CLIENTS + 1)
        with Agent(lab, inside=[LAN]) as agent:
            for family in FAMILIES:
                for each in (printer, other):
                    assert error_code(ask(each, COTURN[family], binding_request())) == REFUSED
            until(lambda: len(events(agent)) == 4, RECORDED, "each client's attempts")
            found = events(agent)
            assert [event["client"] for event in found] == ["printer", "", "printer", ""]
            assert [event["mac"] for event in found] == [printer.mac, other.mac] * 2
            assert found[0]["source"] == lease.address
            assert f"printer, {printer.mac}" in agent.cli("show", "1").stdout
            listing = [*agent.environment, "COLUMNS=120", *agent.command(CLI), "log"]
            assert f"printer@{LAN}" in lab.client.printed(*listing)
            summed = agent.cli("stats", "--by", "client").stdout
            assert f"{lease.address} (printer)" in summed
            hidden = agent.cli("log", "--redact", "--json").stdout
            assert "printer" not in hidden
            assert printer.mac not in hidden


# Floods, and a full table of connections


@pytest.fixture(scope="module")
def flood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("flood"))


def cpu_seconds(process: int) -> float:
    """What a process has used of the processors (proc_pid_stat(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("sockets", "servers", "rate"),
    [
        (0, 250, 20_000),
        *(
            pytest.param(*how, marks=pytest.mark.thorough)
            for how in ((1, 1, 0), (200, 1, 0), (200, 250, 0), (0, 1, 0), (0, 250, 0))
        ),
    ],
)
def test_a_client_that_floods_takes_nothing_from_the_others(
    lab: Lab, lan: list[LanClient], flood: Path, sockets: int, servers: int, rate: int
) -> None:
    flooder, others = lan[0], lan[1:101]
    how = ("0", flooder.address[AF_INET], "", str(sockets), str(servers), "20000000", str(rate))
    with bypass(lab), Agent(lab, inside=[LAN]) as agent, Wire(lab) as wire:
        process = Process(flooder, str(flood), *how)
        began, cpu = time.monotonic(), cpu_seconds(agent.pid)
        try:
            process.wait_line("flooding", 30)
            answered = {family: Asking(others, family) for family in FAMILIES}
            spent = (cpu_seconds(agent.pid) - cpu) / (time.monotonic() - began)
        finally:
            process.stop()
        overruns = status(agent)["daemon"]["queue_overruns"]
        assert not wire.stun()
        for family, asking in answered.items():
            assert asking.codes()[REFUSED] >= len(others) * 0.95
            wanted = {each.address[family] for each in others if each.number in asking.replies}
            until(partial(are_recorded, agent, wanted), RECORDED, "the others in the record")
    print(
        f"flood {sockets}, {servers}, {rate}: {process.lines[-1]}, refused "
        f"{[asking.codes()[REFUSED] for asking in answered.values()]} of {len(others)}, "
        f"overruns {overruns}, daemon {spent:.0%} of a core"
    )


@pytest.mark.thorough
def test_with_no_room_for_connections_nothing_leaves(lab: Lab, lan: list[LanClient]) -> None:
    with bypass(lab), Agent(lab, inside=[LAN]) as agent, Wire(lab) as wire:
        conntrack.fill(lab.client)
        try:
            for family in FAMILIES:
                asking = Asking(lan[:20], family, seconds=1)
                print(f"no room: {asking.sent.total()} sent, {len(asking.replies)} answered")
                assert not asking.replies
                assert address_seen(lab, family, DEVICE_BOUND, seconds=0.5) is None
            warning = "connection tracking is nearly full"
            assert warning in " ".join(agent.cli("doctor").stdout.split())
        finally:
            lab.client.delete_connections()
        assert not wire.stun()
        for family in FAMILIES:
            assert Asking(lan[:20], family).codes() == {REFUSED: 20}


# More flows than get an entry each


@pytest.mark.thorough
def test_each_client_is_in_the_record_even_if_all_ask_more_than_gets_entries(
    lab: Lab, lan: list[LanClient]
) -> None:
    with bypass(lab), Agent(lab, inside=[LAN]) as agent:
        sent: Counter[str] = Counter()
        for _ in range(5):
            asking = Asking(lan, AF_INET)
            assert asking.codes() == {REFUSED: CLIENTS}
            sent += asking.sent
        until(lambda: recorded(agent)["udp"].total() == sent.total(), RECORDED, "all packets")
        print(f"{len(events(agent))} entries, {len(recorded(agent)['udp'])} senders")
        assert recorded(agent)["udp"] == sent

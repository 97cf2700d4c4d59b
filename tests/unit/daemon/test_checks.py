"""daemon/checks.py: which servers are made up, for whom, for how long, and what is told of a request."""

import time
from ipaddress import ip_address, ip_network
from typing import Any, cast

import pytest

from stunwall.daemon import checks
from stunwall.daemon.checks import SECONDS, CheckError, Checks, made_up
from stunwall.judge import Judgement
from stunwall.model import Address, Arrival, Checked, Datagram, Hook, Reason, Verdict
from stunwall.stun import packet
from stunwall.wall import table
from stunwall.wall.nft import Nft, NftError
from unit.build import packet as build
from vectors.programs import message

DOCUMENTATION = [
    ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
]
OWN = [ip_address(text) for text in ("192.0.2.7", "2001:db8:1::2", "10.0.0.1")]


class Machine:
    """Checks, with the kernel's part and the clock in the test's hands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.kernel: list[tuple[str, list[tuple[Address, int]], int]] = []
        self.owner: int | None = 1000
        self.error: NftError | None = None
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(table, "check", self._check)
        monkeypatch.setattr(
            table, "end_check", lambda nft, servers: self.kernel.append(("end", list(servers), 0))
        )
        self.checks = Checks(cast(Nft, None), frozenset({4, 6}), lambda: OWN, lambda *_: self.owner)
        self.told: list[dict[str, Any]] = []

    def _check(self, nft: Nft, servers: Any, seconds: int) -> None:
        if self.error is not None:
            raise self.error
        self.kernel.append(("check", list(servers), seconds))

    def begin(self, uid: int = 1000) -> Any:
        hold = self.checks.begin(uid)
        hold.opened(self.told.append, hold.closed)
        return hold

    def arrival(self, server: dict[str, Any]) -> tuple[Datagram, Arrival]:
        sent = build("udp", message(0x0001), server["ip_version"], server["port"])
        datagram = packet.parse(sent)._replace(destination=ip_address(server["address"]))
        return datagram, Arrival(sent, "", "eth0", Hook.POSTROUTING, 0, 1.0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_two_servers_of_each_version_for_a_minute(machine: Machine) -> None:
    said = machine.begin().reply
    assert said["seconds"] == SECONDS
    assert [(each["ip_version"], each["as_usual"]) for each in said["servers"]] == [
        (4, False),
        (4, True),
        (6, False),
        (6, True),
    ]
    servers = [(ip_address(each["address"]), each["port"]) for each in said["servers"]]
    assert machine.kernel == [("check", servers, SECONDS)]
    for address, port in servers:
        assert any(address in network for network in DOCUMENTATION)
        assert 16384 <= port < 65536


def test_they_are_others_each_time_and_in_no_network_of_this_machine() -> None:
    own = frozenset(OWN)
    found = {made_up(version, own) for version in (4, 6) for _ in range(300)}
    assert len({each for each in found if each.version == 6}) == 300
    for each in found:
        assert any(each in network for network in DOCUMENTATION)
        assert each not in ip_network("192.0.2.0/24")
        assert each not in ip_network("2001:db8:1::/48")
        assert int(each) & 0xFF not in (0, 255) or each.version == 6


def test_with_addresses_in_all_of_them_there_is_no_check() -> None:
    own = frozenset(map(ip_address, ("192.0.2.1", "198.51.100.1", "203.0.113.1")))
    with pytest.raises(CheckError, match="no server can be made up"):
        made_up(4, own)


def test_one_a_user_and_eight_in_all(machine: Machine) -> None:
    machine.begin(1000)
    with pytest.raises(CheckError, match="you are checking a browser already"):
        machine.begin(1000)
    for uid in range(1001, 1008):
        machine.begin(uid)
    with pytest.raises(CheckError, match="too many users"):
        machine.begin(2000)
    machine.now += SECONDS + 2
    machine.begin(1000)


def test_it_ends_with_the_connection(machine: Machine) -> None:
    hold = machine.begin()
    (server, *_) = hold.reply["servers"]
    assert machine.checks.until > machine.now
    hold.closed()
    assert [what for what, _, _ in machine.kernel] == ["check", "end"]
    # What waits in the queue is no ordinary packet.
    assert machine.checks.find(*machine.arrival(server)) is not None
    machine.begin().closed()
    machine.now += 1
    assert machine.checks.find(*machine.arrival(server)) is None
    assert machine.checks.until <= machine.now


def test_who_begins_and_ends_checks_all_the_time_is_stopped(machine: Machine) -> None:
    for _ in range(64):
        machine.begin().closed()
    with pytest.raises(CheckError, match="too many"):
        machine.begin()
    machine.now += 1
    machine.begin()


def test_a_connection_whose_check_is_over_is_ended(machine: Machine) -> None:
    ended = []
    hold = machine.checks.begin(1000)
    hold.opened(machine.told.append, lambda: ended.append(True))
    machine.now += SECONDS + 2
    machine.begin(1001)
    assert ended == [True]


def test_it_ends_after_the_kernel_has_ended_it(machine: Machine) -> None:
    (server, *_) = machine.begin().reply["servers"]
    machine.now += SECONDS
    assert machine.checks.find(*machine.arrival(server)) is not None
    machine.now += 1
    assert machine.checks.find(*machine.arrival(server)) is None


def test_what_the_kernel_refuses_is_no_check(machine: Machine) -> None:
    machine.error = NftError("no")
    with pytest.raises(NftError):
        machine.begin()
    assert machine.checks.until <= machine.now


def test_a_wall_that_is_made_anew_gets_what_is_left(machine: Machine) -> None:
    machine.begin()
    machine.now += 20
    machine.checks.renew()
    assert machine.kernel[1][2] == SECONDS - 20
    machine.error = NftError("no")
    machine.checks.renew()  # a check that fails must not keep the wall down


def test_the_users_own_requests_get_a_label_that_stands_for_the_interface(machine: Machine) -> None:
    servers = machine.begin().reply["servers"]
    datagram, arrival = machine.arrival(servers[0])
    found = machine.checks.find(datagram, arrival)
    assert found is not None
    assert found.as_usual is False
    assert found == machine.checks.find(datagram, arrival)
    other = machine.checks.find(datagram, arrival._replace(outgoing="wg0"))
    assert other is not None
    assert len({found.label, other.label, *(ip_address(each["address"]) for each in servers)}) == 4
    usual = machine.checks.find(*machine.arrival(servers[1]))
    assert usual == Checked(found.label, as_usual=True)


@pytest.mark.parametrize(
    ("owner", "checker", "incoming", "answered"),
    [
        (1000, 1000, "", True),
        (1001, 1000, "", False),
        (None, 1000, "", False),
        (1001, 0, "", True),
        (0, 1000, "", False),
        (1000, 1000, "docker0", False),
    ],
)
def test_others_get_no_answer(
    machine: Machine, owner: int | None, checker: int, incoming: str, answered: bool
) -> None:
    (server, *_) = machine.begin(checker).reply["servers"]
    machine.owner = owner
    datagram, arrival = machine.arrival(server)
    found = machine.checks.find(datagram, arrival._replace(incoming=incoming))
    assert found is not None
    assert (found.label is not None) is answered


def test_what_became_of_a_request_is_told(machine: Machine) -> None:
    (server, *_) = machine.begin().reply["servers"]
    datagram, arrival = machine.arrival(server)
    found = machine.checks.find(datagram, arrival)
    assert found is not None
    judgement = Judgement(Verdict.BLOCK, Reason.OUTSIDE_VPN, would=Verdict.BLOCK)
    machine.checks.tell(datagram, arrival, judgement)
    assert machine.told == [
        {
            "ip_version": 4,
            "source": str(datagram.source),
            "source_port": datagram.source_port,
            "server_port": server["port"],
            "interface": "eth0",
            "label": str(found.label),
            "verdict": "blocked",
            "reason": "outside-vpn",
            "why": "it would have bypassed the VPN",
        }
    ]
    for _ in range(300):
        machine.checks.tell(datagram, arrival, judgement)
    assert len(machine.told) == checks._TOLD

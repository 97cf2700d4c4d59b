"""Checks of browsers: made-up servers for a user's page, for a minute, and a report of each request to them."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from random import SystemRandom  # `secrets` loads OpenSSL, which takes 3.5 MiB

from stunwall.config import Network
from stunwall.control.held import HangUp, Hold, Send
from stunwall.control.protocol import Status
from stunwall.judge import Judgement
from stunwall.model import Address, Arrival, Checked, Datagram, StunwallError
from stunwall.wall import table
from stunwall.wall.nft import Nft, NftError
from stunwall.wall.table import Server

SECONDS = 60  # that a check lasts: browsers gather in less than 40 s, whatever is dropped
_MOST = 8  # at the same time: the sets hold 64 servers, a check has four
_MOST_ENDED = 64  # with those that have just ended
_QUEUED = 1.0  # seconds that a packet waits in the queue at most
_TOLD = 200  # requests that are reported of a check
# Documentation addresses, which no server has: RFC 5737 §3, RFC 3849 §2, RFC 9637 §3.
_DOCUMENTATION: dict[int, tuple[Network, ...]] = {
    4: tuple(map(IPv4Network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"))),
    6: tuple(map(IPv6Network, ("2001:db8::/32", "3fff::/20"))),
}
_SITE = 48  # bits of the network of a site (RFC 6177 §2)
# No browser refuses these (Firefox: NS_CheckPortSafety; Chromium: 53, 80, 443 and 1024 up).
_PORTS = range(16384, 65536)
_random = SystemRandom()


class CheckError(StunwallError):
    """No check can be begun."""


@dataclass(slots=True, eq=False)
class _Check:
    """`servers`: the value says whether a request that is blocked is refused as usual. `until`: monotonic seconds."""

    uid: int
    until: float
    servers: dict[Server, bool]
    labels: dict[tuple[int, str], Address] = field(default_factory=dict)
    told: int = 0
    send: Send | None = None
    hang_up: HangUp = field(default=lambda: None)


class Checks:
    """The checks that go on.

    Args:
        nft: has the table with the sets of the servers.
        versions: the IP versions (4, 6) that the system has.
        own: returns this machine's addresses, whose networks are avoided.
        owner: returns the user whose packet it is, by the datagram and its outgoing interface; None if unknown.
    """

    def __init__(
        self,
        nft: Nft,
        versions: frozenset[int],
        own: Callable[[], Iterable[Address]],
        owner: Callable[[Datagram, str], int | None],
    ) -> None:
        self._nft = nft
        self._versions = versions
        self._own = own
        self._owner = owner
        self._checks: list[_Check] = []
        self.until = 0.0
        """Until when a packet may be a check's, in seconds of the monotonic clock."""

    def begin(self, uid: int) -> Hold:
        """Begin a check of a user's browser, which ends when the connection does. Raises CheckError or NftError."""
        now = time.monotonic()
        for late in [each for each in self._checks if each.until <= now]:
            late.hang_up()
        self._checks = [each for each in self._checks if each.until > now]
        going_on = [each for each in self._checks if each.send is not None]
        if any(each.uid == uid for each in going_on):
            raise CheckError("you are checking a browser already: end that check first")
        if len(going_on) >= _MOST or len(self._checks) >= _MOST_ENDED:
            raise CheckError("too many users are checking a browser: try again in a minute")
        servers = self._servers()
        table.check(self._nft, servers, SECONDS)
        # Longer than in the kernel, so that nothing of it is taken for an ordinary packet.
        check = _Check(uid, now + SECONDS + 1, servers)
        self._checks.append(check)
        self.until = check.until
        reply: Status = {
            "seconds": SECONDS,
            "servers": [
                {"ip_version": address.version, "address": str(address), "port": port, "as_usual": as_usual}
                for (address, port), as_usual in servers.items()
            ],
        }

        def opened(send: Send, hang_up: HangUp) -> None:
            check.send, check.hang_up = send, hang_up

        return Hold(reply, opened, lambda: self._end(check))

    def renew(self) -> None:
        """Put the servers into a table that was just loaded."""
        for check in self._checks:
            if (left := int(check.until - time.monotonic()) - 1) > 0:
                with suppress(NftError):  # a check fails, but the wall stands
                    table.check(self._nft, check.servers, left)

    def find(self, datagram: Datagram, arrival: Arrival) -> Checked | None:
        """Return what the check wants of a packet, None if it is for none."""
        server = datagram.destination, datagram.destination_port
        check = self._of(server)
        if check is None:
            return None
        mine = not arrival.incoming and check.uid in (0, self._owner(datagram, arrival.outgoing))
        label = self._label(check, datagram.family, arrival.outgoing) if mine else None
        return Checked(label, check.servers[server])

    def tell(self, datagram: Datagram, arrival: Arrival, judgement: Judgement) -> None:
        """Report what would have become of a packet that `find` knows, and that the check's user has sent."""
        check = self._of((datagram.destination, datagram.destination_port))
        if check is None or check.send is None or judgement.would is None or check.told >= _TOLD:
            return
        check.told += 1
        check.send(
            {
                "ip_version": datagram.family,
                "source": str(datagram.source),
                "source_port": datagram.source_port,
                "server_port": datagram.destination_port,
                "interface": arrival.outgoing,
                "label": str(self._label(check, datagram.family, arrival.outgoing)),
                "verdict": judgement.would.value,
                "reason": judgement.reason.value,
                "why": judgement.reason.sentence,
            }
        )

    def _end(self, check: _Check) -> None:
        check.send = None
        with suppress(NftError):  # the kernel has ended it: its time is over
            table.end_check(self._nft, check.servers)
        # What waits in the queue is still the check's, and must not be taken for an ordinary packet.
        check.until = min(check.until, time.monotonic() + _QUEUED)
        self.until = max(each.until for each in self._checks)

    def _of(self, server: Server) -> _Check | None:
        now = time.monotonic()
        return next((each for each in self._checks if server in each.servers and now < each.until), None)

    def _servers(self) -> dict[Server, bool]:
        own = frozenset(self._own())
        found: dict[Server, bool] = {}
        for version in sorted(self._versions):
            address = made_up(version, own)
            for as_usual in (False, True):
                port = next(each for each in iter(_port, None) if (address, each) not in found)
                found[address, port] = as_usual
        return found

    def _label(self, check: _Check, version: int, interface: str) -> Address:
        """Return the address that stands for an interface in a check."""
        known = check.labels
        while (version, interface) not in known:
            made = made_up(version, frozenset(self._own()))
            if made not in known.values() and all(made != address for address, _ in check.servers):
                known[version, interface] = made
        return known[version, interface]


def _port() -> int:
    return _random.choice(_PORTS)


def made_up(version: int, own: frozenset[Address]) -> Address:
    """Return a random documentation address, in a network in which this machine has none.

    Raises CheckError if it has addresses in all of them.
    """
    blocks = _DOCUMENTATION[version]
    if version == 4:
        blocks = tuple(block for block in blocks if not any(address in block for address in own))
    if not blocks:
        raise CheckError("this machine has addresses in all documentation networks: no server can be made up")
    sites = {ip_network(f"{address}/{_SITE}", strict=False) for address in own if address.version == 6}
    while True:
        block = _random.choice(blocks)
        # Neither the first nor the last: of an IPv4 network, they are no addresses of hosts.
        made = ip_address(int(block.network_address) + 1 + _random.randrange(block.num_addresses - 2))
        if not any(made in site for site in sites):
            return made

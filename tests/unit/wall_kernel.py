"""The wall in the kernel of the tests' own network namespace, and a way out that shows what passes it."""

import re
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_address, ip_network
from pathlib import Path

from stunwall.config import Allow, Config
from stunwall.model import Transport
from stunwall.wall import inspection, state
from stunwall.wall.contents import TABLE, Contents
from stunwall.wall.nft import Nft
from stunwall.wall.state import Wall
from vectors.programs import message

MASK = Config().mark_mask
VERSION_0_1_0 = (Path(__file__).parents[1] / "vectors" / "stunwall-0.1.0.nft").read_text()
QUEUE = 4781
LINK, ADDRESS4, ADDRESS6 = "stw0", "192.0.2.17", "2001:db8:17::17"
SERVER4, SERVER6 = "203.0.113.7", "2001:db8:7::7"
SENDER_PORT = 3999
TIMEOUT = 30  # seconds until a test fails that waits in vain
HIERARCHY = Path("/sys/fs/cgroup")
EMPTY = Contents(vpn=frozenset(), guard_ports=frozenset({3478, 5349}))


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def run_nft(*arguments: str, text: str | None = None) -> str:
    return subprocess.run(["nft", *arguments], input=text, capture_output=True, text=True, check=True).stdout


class Way:
    """A way to the servers, by an interface that is no VPN, and what comes out at its end."""

    def __init__(self) -> None:
        ip("link", "add", LINK, "type", "veth", "peer", "stw1")
        for name in (LINK, "stw1"):
            ip("link", "set", name, "up")
        ip("address", "add", f"{ADDRESS4}/24", "dev", LINK)
        ip("address", "add", f"{ADDRESS6}/64", "dev", LINK, "nodad")
        for family, server in (("-4", SERVER4), ("-6", SERVER6)):
            ip(family, "route", "add", server, "dev", LINK)
            ip(family, "neighbour", "add", server, "lladdr", "02:00:00:00:00:07", "dev", LINK)
        self._end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        self._end.bind(("stw1", 0))
        self._end.settimeout(TIMEOUT)

    def close(self) -> None:
        self._end.close()
        ip("link", "delete", LINK)

    def passes(self, server: str = SERVER4, port: int = 3478, payload: bytes = message(0x0001)) -> bool:
        """Send a datagram, and another of another flow that nobody stops; say whether the first comes before it."""
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.bind(("", SENDER_PORT))
            try:
                sender.sendto(payload, (server, port))
            except PermissionError:  # how the sender is told that it was dropped
                return False
            sender.sendto(b"no STUN either", (server, port + 1))
        seen: list[bytes] = []
        while not seen or not seen[-1].endswith(b"no STUN either"):
            seen.append(self._end.recv(65536))
        return any(packet.endswith(payload) for packet in seen[:-1])

    def wait_for(self, part: bytes) -> None:
        """Wait until a packet comes that has these bytes in it."""
        while part not in self._end.recv(65536):
            pass


def loaded() -> Wall:
    with closing(Nft()) as nft:
        wall = state.read(nft)
    assert wall is not None
    return wall


def listed() -> str:
    """The table as nft prints it, without the times that are left of elements."""
    return re.sub(r" expires \w+", "", run_nft("list", "table", *TABLE.split()))


def damage(contents: Contents = EMPTY, mask: int = MASK) -> tuple[str, ...]:
    """What is not as these contents make it, for a process that is not the daemon."""
    settings = Config(guard_ports=contents.guard_ports, allow=contents.allow, mark_mask=mask, queue=QUEUE)
    found = inspection.inspect(settings)
    assert found is not None
    assert found.complete
    return found.differences


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


FULL = Contents(
    vpn=frozenset({"wg0", "tun-1", "a.b:c@d_e"}),
    guard_ports=frozenset({443, 5349}),
    redirect=True,
    vpn_down_allowed=True,
    bound_tcp=True,
    families=frozenset({4, 6}),
    addresses=frozenset({("wg0", ip_address("10.9.8.7")), ("wg0", ip_address("fd00::7"))}),
    transport=frozenset({(ip_address(SERVER4), 51820), (ip_address(SERVER6), 51821)}),
    lan=frozenset({(ip_network("192.168.1.0/24"), "eth0"), (ip_network("fd00:1::/64"), "eth0")}),
    allow=(
        Allow("a", to=ip_network(f"{SERVER4}/32"), port=3478, protocol=Transport.UDP, interface="eth0"),
        Allow("b", to=ip_network("2001:db8::/32"), protocol=Transport.TCP, user=1000),
        Allow("c", unit="not-there.service"),
    ),
)


def counted(comment: str) -> int | None:
    return next((rule.packets for rule in loaded().rules if rule.comment == comment), None)

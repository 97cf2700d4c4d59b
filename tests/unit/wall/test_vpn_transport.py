"""Which packets the kernel's chain vpn_transport takes for the VPN's own, as a tunnel of the kernel makes them."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stunwall.wall import table
from stunwall.wall.contents import TABLE
from stunwall.wall.nft import Nft
from unit.wall_kernel import EMPTY, MASK, SERVER4, Way, counted, ip, run_nft, until

PORT, TUNNEL, NOBODY = 51820, "stwx", 65534
ALL_OF_IT = "to the VPN's server, in this test"


@pytest.fixture
def vpn() -> Iterator[None]:
    """A tunnel to the server, and the wall; whatever goes to the server asks chain vpn_transport."""
    with closing(Way()), closing(Nft()) as nft:
        ip("link", "add", TUNNEL, "type", "vxlan", "id", "7", "remote", SERVER4, "dstport", str(PORT))
        # Without IPv6, nothing is sent by it but what the test sends.
        Path(f"/proc/sys/net/ipv6/conf/{TUNNEL}/disable_ipv6").write_text("1")
        ip("link", "set", TUNNEL, "up")
        ip("address", "add", "10.9.9.1/24", "dev", TUNNEL)
        ip("neighbour", "add", "10.9.9.2", "lladdr", "02:00:00:00:00:09", "dev", TUNNEL)
        table.load(nft, EMPTY, MASK)
        run_nft(
            "-f",
            "-",
            text=f"""
            add element {TABLE} vpn {{ {TUNNEL} }}
            add element {TABLE} vpn_transport4 {{ {SERVER4} . {PORT} }}
            add chain {TABLE} all_of_it {{ type filter hook postrouting priority 200; }}
            add rule {TABLE} all_of_it udp dport {PORT} counter jump vpn_transport comment "{ALL_OF_IT}"
            """,
        )
        try:
            yield
        finally:
            table.remove(nft)
            ip("link", "delete", TUNNEL)


def send(server: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"no STUN", (server, port))


def send_as_nobody(server: str, port: int) -> None:
    child = os.fork()
    if not child:
        os.setuid(NOBODY)
        send(server, port)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.usefixtures("vpn")
def test_what_a_users_program_sends_by_the_tunnel_is_the_vpns_own_and_what_it_sends_itself_is_not() -> None:
    def seen() -> tuple[int, int]:
        both = counted(ALL_OF_IT), counted("the VPN's own, IPv4")
        return both[0] or 0, both[1] or 0

    send_as_nobody("10.9.9.2", 9)
    until(lambda: seen()[0] == 1)
    assert seen() == (1, 1)
    send(SERVER4, PORT)
    assert seen() == (2, 2)
    send_as_nobody(SERVER4, PORT)
    assert seen() == (3, 2)

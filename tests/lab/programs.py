"""Real STUN and TURN clients from Debian's packages, as command lines."""

from socket import AF_INET

from lab.addresses import CLIENT, STUN_SERVER
from lab.coturn import PASSWORD, USER
from lab.probe import ANSWER_SECONDS

STUN_CLIENT = ("timeout", f"{ANSWER_SECONDS}", "stun", STUN_SERVER[AF_INET], "1", "-i", CLIENT[AF_INET], "-v")
"""stun-client: RFC 3489, without a cookie, bound to the client's physical address.

It sends one request, and has no time-out of its own.
"""

RELAYED = "Total lost packets 0"
"""What turn_client prints if all its data came back through the relay."""


def maps_to(address: str) -> str:
    """What STUN_CLIENT prints if the server sees it at `address`."""
    return f"mappedAddr={address}"


def turn_client(family: int, *options: str) -> tuple[str, ...]:
    """coturn's TURN client, bound to the client's physical address; it relays data to itself."""
    account = ("-y", "-u", USER, "-w", PASSWORD)
    return ("turnutils_uclient", *account, *options, "-L", CLIENT[family], STUN_SERVER[family])

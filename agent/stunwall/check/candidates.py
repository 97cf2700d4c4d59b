"""ICE candidates as a page sees them. No I/O."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from stunwall.model import Address

_WORDS = 60  # of a candidate line: extensions are a few
# Addresses of this machine or a network near it: RFC 1918, RFC 6598, RFC 3927, RFC 1122 §3.2.1.3; RFC 4193, RFC 4291.
_LOCAL = tuple(
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
        *("127.0.0.0/8", "0.0.0.0/8", "fc00::/7", "fe80::/10", "::/127"),
    )
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate (RFC 8839 §5.1). `address` may be a name of mDNS; `related` is "" where there is none."""

    kind: str
    """host, srflx, prflx or relay."""
    transport: str
    address: str
    port: int
    related: str

    @property
    def shown(self) -> list[Address]:
        """The addresses that it shows to the page, without those that say nothing (0.0.0.0)."""
        found = map(parsed_address, (self.address, self.related))
        return [each for each in found if each is not None and not each.is_unspecified]


def parse(line: str) -> Candidate | None:
    """Return the candidate in a line such as `candidate:1 1 udp 1 192.0.2.1 9 typ host`, None if it is none."""
    words = line.removeprefix("a=").split()
    if len(words) > _WORDS or len(words) < 8 or not words[0].startswith("candidate:") or words[6] != "typ":
        return None
    if not re.fullmatch(r"\d{1,5}", words[5], re.ASCII):
        return None
    further = dict(zip(words[8::2], words[9::2], strict=False))
    return Candidate(words[7], words[2].lower(), words[4], int(words[5]), further.get("raddr", ""))


def parsed_address(text: str) -> Address | None:
    """Return the address that a text is, without its zone; None if it is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_public(address: Address) -> bool:
    """Whether an address tells who somebody is outside their own network."""
    return not any(address in network for network in _LOCAL)

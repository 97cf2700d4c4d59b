"""Pseudonyms of IP addresses that share a prefix where the addresses do. No I/O.

The scheme is Crypto-PAn's (Xu, Fan, Ammar, Moon, "Prefix-Preserving IP Address Anonymization", ICNP 2002): a bit of the
address is flipped, or not, by a keyed pseudorandom function of the bits before it. Here that is BLAKE2b (RFC 7693).

Ranges with a meaning keep it: a private address gets a private pseudonym, a public one gets a public pseudonym. For
that, a pseudonym that falls into another range is taken as an address once more, until it is in the right range. So
each range is mapped onto itself, one to one. Two public addresses that share LONGEST bits or more have pseudonyms that
share exactly as many. If they share fewer, that holds unless one of them was taken once more and the other was not.
"""

from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from stunwall.model import Address

# IANA's special-purpose address registries, RFC 6890; a narrower range precedes a wider one. The last of each IP
# version is for everything else.
_RANGES = {
    4: [
        *("0.0.0.0/32", "127.0.0.1/32", "255.255.255.255/32"),
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "192.0.0.0/24", "192.168.0.0/16"),
        *("169.254.0.0/16", "198.18.0.0/15", "172.16.0.0/12", "100.64.0.0/10", "0.0.0.0/8", "10.0.0.0/8"),
        *("127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "0.0.0.0/0"),
    ],
    6: [
        *("::/128", "::1/128", "::ffff:0:0/96", "64:ff9b::/96", "2001:2::/48", "2001::/32", "2001:db8::/32"),
        *("3fff::/20", "2002::/16", "fe80::/10", "ff00::/8", "fc00::/7", "2000::/3", "::/0"),
    ],
}
_NETWORKS = {version: [ip_network(each) for each in ranges] for version, ranges in _RANGES.items()}
LONGEST = {4: 24, 6: 48}
"""The bits of the longest special range that public addresses are next to, by IP version."""
KEY = 32  # bytes
_REMEMBERED = 100_000  # addresses whose pseudonym is kept, some 300 bytes each


class Addresses:
    """The pseudonyms under a secret key of KEY bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._remembered = lru_cache(_REMEMBERED)(self._pseudonym)

    def pseudonym(self, address: Address) -> Address:
        """Return the pseudonym of an address: always the same one, and no other address has it."""
        return self._remembered(address)

    def _pseudonym(self, address: Address) -> Address:
        kept = _range(address)
        bits = int(kept.hostmask)
        found = address
        while True:
            found = type(address)(int(address) & ~bits | int(self._scrambled(found)) & bits)
            if _range(found) == kept:
                return found

    def _scrambled(self, address: Address) -> Address:
        flips = bytearray()
        for at, byte in enumerate(address.packed):
            # One function value has a bit for each of the 255 beginnings of a byte: they are numbered as in a heap.
            value = blake2b(address.packed[:at], key=self._key, person=b"IPv%d" % address.version)
            bits = int.from_bytes(value.digest()[:32], "big")
            node, flip = 1, 0
            for place in range(7, -1, -1):
                flip = flip << 1 | bits >> node & 1
                node = node << 1 | byte >> place & 1
            flips.append(byte ^ flip)
        return ip_address(bytes(flips))


def _range(address: Address) -> IPv4Network | IPv6Network:
    return next(each for each in _NETWORKS[address.version] if address in each)

"""Names and numbers of people and machines in texts, and what stands for them. No I/O."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address, ip_network

from stunwall.redact.addresses import Addresses

ROOT = 0  # everybody has this user
_REMEMBERED = 10_000  # texts whose replacement is kept, some 300 bytes each
_PARTS = {
    "mac": r"(?<![0-9A-Fa-f:])[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}(?![0-9A-Fa-f:])",
    # systemd.net-naming-scheme(7): a name made of the hardware address.
    "named_by_mac": r"(?<=\b(?:en|wl|ww)x)[0-9a-f]{12}\b",
    "v6": r"(?<![0-9A-Fa-f:])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*(?:/\d{1,3})?",
    # With hyphens, as in the names that providers give their customers' addresses.
    "v4": r"(?<!\d)\d{1,3}(?P<dot>[.-])\d{1,3}(?P=dot)\d{1,3}(?P=dot)\d{1,3}(?:/\d{1,2})?(?!\d)",
    "user": r"(?<=/home/)[^/\s'\"]+",
    # Who has paused stunwall, as control/prompts.py writes it.
    "author": r"(?<=\bby user )\d+ \([^)]*\)",
    "uids": r"(?<=\buidrange )\d+-\d+",
    "uid": r"(?:(?<=\buser[ @-])|(?<=\bUID )|(?<=/run/user/)|(?<=\bskuid ))\d+",  # the last: nft(8)
    # systemd.unit(5): the instance of a template; and a virtual machine's name.
    "instance": r"(?<=@)\S{1,255}?(?=\.(?:service|socket|scope|slice|timer|target|mount|path|device)\b)",
    "machine": r"(?<=\bmachine-)\S{1,255}?(?=\.(?:scope|slice)\b)",
    # IDs of containers, of UUIDs, and of what a browser has installed (letters a to p).
    "id": (
        r"(?<![0-9A-Za-z])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{12,64}|[a-p]{32})"
        r"(?![0-9A-Za-z])"
    ),
}


class Texts:
    """The replacements under a secret key.

    Args:
        key: as of Addresses.
        users: the users whose names are to be replaced wherever they are, with their numbers.
        host: the name of the machine, "" for none.
    """

    def __init__(self, key: bytes, users: Mapping[str, int], host: str) -> None:
        self._key = key
        self.addresses = Addresses(key)
        self._users = {name.lower(): number for name, number in users.items() if number > ROOT}
        known = sorted(filter(None, (*self._users, host)), key=len, reverse=True)
        parts = [f"(?P<{name}>{pattern})" for name, pattern in _PARTS.items()]
        if known:
            names = "|".join(map(re.escape, known))
            # systemd.unit(5): in the name of a unit, \x2d is a hyphen.
            parts.insert(0, rf"(?i:(?:(?<![a-z0-9])|(?<=\\x2d))(?P<name>{names})(?![a-z0-9]))")
        self._pattern = re.compile("|".join(parts))
        self.text: Callable[[str], str] = lru_cache(_REMEMBERED)(self._text)

    def uid(self, number: int) -> int:
        """Return what stands for a user's number: another number of six digits; root's and -1 stay."""
        return number if number <= ROOT else 100_000 + self._value(f"uid {number}") % 900_000

    def user(self, name: str, number: int) -> str:
        """Return what stands for a user's name, which goes with `uid` if that is known."""
        if not name or number == ROOT:
            return name
        return f"user-{self.uid(number)}" if number > ROOT else self.name("user", name)

    def name(self, kind: str, name: str) -> str:
        """Return what stands for a name of some kind, such as `container-5f0c2a`; "" for ""."""
        return f"{kind}-{self._value(name) % 0x1000000:06x}" if name else ""

    def file(self, path: str) -> str:
        """Return a program's path: of one in a home folder, only the name of its file is kept."""
        home = re.match(r"(?:/var)?/home/|/run/user/|/media/|/mnt/", path)
        return f"{home[0]}.../{self.text(path.rpartition('/')[2])}" if home else self.text(path)

    def command(self, line: str) -> str:
        """Return a command line without its arguments, which can be anything: addresses, rooms, passwords."""
        program, _, arguments = line.partition(" ")
        return f"{self.file(program)} ..." if arguments else self.file(program)

    def _value(self, text: str) -> int:
        digest = blake2b(text.encode(errors="surrogatepass"), key=self._key, digest_size=8, person=b"text")
        return int.from_bytes(digest.digest(), "big")

    def _text(self, text: str) -> str:
        return self._pattern.sub(self._replaced, text)

    def _replaced(self, found: re.Match[str]) -> str:
        text, kind = found[0], str(found.lastgroup)
        if kind in ("v4", "v6"):
            return self._network(text)
        if kind in ("mac", "named_by_mac"):
            # IEEE 802: the second bit says that no manufacturer has given this address.
            hidden = b"\2" + self._value(text.lower()).to_bytes(8, "big")[:5]
            return hidden.hex(":") if kind == "mac" else hidden.hex()
        if kind == "author":
            number, _, name = text.partition(" ")
            return f"{self.uid(int(number))} ({self.user(name[1:-1], int(number))})"
        if kind in ("uid", "uids"):
            return "-".join(str(self.uid(int(each))) for each in text.split("-"))
        if kind == "name":
            return self.user(text, self._users[text.lower()]) if text.lower() in self._users else "host"
        return self.name(kind, text)

    def _network(self, text: str) -> str:
        """Return the pseudonym of an address or network, the text itself if it is none."""
        joint = "-" if "-" in text else "."
        address, slash, length = text.replace("-", ".").partition("/")
        # In a sentence, a colon or a full stop may follow.
        ends = [address] if slash or address[-1] not in ":." else [address, address[:-1]]
        for one in ends:
            with suppress(ValueError):
                hidden = self.addresses.pseudonym(ip_address(one))
                if slash:
                    return str(ip_network(f"{hidden}/{length}", strict=False))
                return str(hidden).replace(".", joint) + address[len(one) :]
        return text

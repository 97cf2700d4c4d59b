"""What rules/stunwall.nft says about a packet: the chains that find STUN, loaded into the kernel by themselves.

Packets go through them by raw sockets, so this shares no code with the agent, and nothing is left to a reading of the
rules.
"""

import errno
import json
import re
import socket
from pathlib import Path

from unit.build import DESTINATIONS
from unit.wall_kernel import ip, run_nft

FILE = Path(__file__).resolve().parents[2] / "rules" / "stunwall.nft"
SECOND = FILE.with_name("second_lock.nft")
_NEXT_HOP = "02:00:00:00:00:07"

# Not in Python's socket module: linux/in.h, linux/in6.h.
_IP_RECVERR, _IP_NODEFRAG, _IPV6_RECVERR, _IPV6_HDRINCL = 11, 22, 25, 36
_OPTIONS = {
    4: [(socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IP, _IP_NODEFRAG)],
    6: [(socket.IPPROTO_IPV6, _IPV6_RECVERR), (socket.IPPROTO_IPV6, _IPV6_HDRINCL)],
}
_HOOKS = {
    "inet": 'type filter hook postrouting priority 0; policy accept;\noifname != "{link}" accept\n',
    "netdev": 'type filter hook egress device "{link}" priority 0; policy accept;\n',
}


class Wall:
    """The chains that find STUN in a table of the family `inet` or `netdev`, at a way out of their own.

    `inbound`: the chains of the tripwire instead, at the same place, since they ask nothing but the packet's bytes.
    """

    def __init__(self, family: str = "inet", *, inbound: bool = False) -> None:
        name = "inbound" if inbound else family
        self._table, self._link = f"{family} test_{name}", f"{name}0"
        _make_link(self._link)
        hook = _HOOKS[family].format(link=self._link)
        make = _inbound if inbound else _outbound
        run_nft("-f", "-", text=make(self._table, hook, FILE.read_text()))
        self._sockets = {4: _raw(4, self._link), 6: _raw(6, self._link)}

    def close(self) -> None:
        for raw in self._sockets.values():
            raw.close()
        run_nft("delete", "table", *self._table.split())
        ip("link", "delete", self._link)

    def takes(self, packet: bytes) -> bool:
        """Whether the chains take a whole IP packet for STUN, or for ICMP that quotes it; else it passes.

        The kernel sets an IPv4 packet's length and checksum.
        """
        version = packet[0] >> 4
        try:
            self._sockets[version].sendto(packet, (DESTINATIONS[version], 0))
        except OSError as error:
            # How the sender is told of a drop: by inet and by netdev.
            if error.errno in (errno.EPERM, errno.ENOBUFS):
                return True
            raise
        return False

    def rule(self, packet: bytes) -> str | None:
        """The comment of the rule that takes the packet, None if it passes."""
        before = self._counts()
        taken = self.takes(packet)
        found = [comment for comment, count in self._counts().items() if count > before[comment]]
        assert len(found) == taken
        return found[0] if taken else None

    def _counts(self) -> dict[str, int]:
        listing = json.loads(run_nft("-j", "list", "table", *self._table.split()))["nftables"]
        rules = [item["rule"] for item in listing if "rule" in item]
        return {
            rule["comment"]: part["counter"]["packets"]
            for rule in rules
            for part in rule["expr"]
            if "counter" in part
        }


def _make_link(name: str) -> None:
    ip("link", "add", name, "mtu", "65535", "type", "veth", "peer", f"{name}peer", "mtu", "65535")
    for end in (name, f"{name}peer"):
        ip("link", "set", end, "up")
    for version, address in DESTINATIONS.items():
        # Another wall may have a route with another metric; each socket is bound to its own link.
        metric = str(1000 + len(name))
        ip(f"-{version}", "route", "add", address, "dev", name, "metric", metric)
        ip(f"-{version}", "neighbour", "add", address, "lladdr", _NEXT_HOP, "dev", name)


def _inbound(name: str, hook: str, text: str) -> str:
    chains = re.findall(r"^    chain tripwire_\w+ \{\n.*?^    \}\n", text, re.M | re.S)
    base = "".join(re.findall(r"^        meta l4proto [^\n]* goto tripwire_[^\n]*\n", text, re.M))
    return _table(name, text, [*chains, "chain response {\ndrop\n}\n"], hook + base)


def _outbound(name: str, hook: str, text: str) -> str:
    chains = re.findall(r"^    chain classify\w* \{\n.*?^    \}\n", text, re.M | re.S)
    chains = [chain for chain in chains if not chain.startswith("    chain classify_output ")]
    classify = 'jump classify comment "is it STUN?"\n'
    if name.startswith("inet"):
        chains += re.findall(r"^    chain drop_icmp_quotes \{\n.*?^    \}\n", text, re.M | re.S)
        icmp = _lines("meta l4proto [^\n]* goto drop_icmp_quotes", text)
        # What most packets meet, and what the others do, without the loopback and the VPN.
        chains.append(f"chain look {{\n{classify}{icmp}}}\n")
        base = _lines("[^\n]* goto look", text)
    else:
        base = _lines("meta l4proto [^\n]* goto classify_", SECOND.read_text()) + classify
    return _table(name, text, ["chain decide {\ndrop\n}\n", *chains], hook + base)


def _lines(rule: str, text: str) -> str:
    """The lines of a text that begin with such a rule."""
    found = re.findall(rf"^        {rule}[^\n]*\n", text, re.M)
    assert found
    return "".join(found)


def _table(name: str, text: str, chains: list[str], own: str) -> str:
    sets = re.findall(r"^    set (?:guard_ports|classic_\w+) \{\n.*?^    \}\n", text, re.M | re.S)
    elements = re.findall(r"^add element inet stunwall (?:guard_ports|classic_\w+) \{[^}]*\}\n", text, re.M)
    sets += [f"    set {each} {{\ntype ifname\n}}\n" for each in ("vpn", "inside")]
    return f"table {name} {{\n{''.join([*sets, *chains])}chain out {{\n{own}}}\n}}\n" + "".join(
        element.replace("inet stunwall", name) for element in elements
    )


def _raw(version: int, link: str) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
    for level, option in _OPTIONS[version]:
        raw.setsockopt(level, option, 1)
    return raw

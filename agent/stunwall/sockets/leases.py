"""Names of machines behind this one, from the leases of DHCP servers and from /etc/hosts. No I/O.

A machine chooses the name in its lease itself, and can call itself anything. So a name is for people only, and nothing
is decided by it.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple

# RFC 1123 §2.1, and the underscores that people use. What else a name may hold is for no terminal.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
# The last one is any other string, as a whole: a client chooses what is in its `uid`, and could write a lease there.
_ISC = re.compile(
    r'lease (\S+) \{|hardware ethernet (\S+);|client-hostname "([^"\\\n]*)";|binding state (\w+);|(\})'
    r'|"(?:[^"\\\n]|\\.)*+"?'
)


class Lease(NamedTuple):
    """Who has an address: its MAC address and name, each "" where the server does not say."""

    address: str
    mac: str
    name: str


def dnsmasq(text: str) -> Iterator[Lease]:
    """Yield the leases of dnsmasq: expiry, MAC address or IPv6's IAID, address, name or an asterisk, client ID."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 5:
            yield from _lease(fields[2], fields[1], fields[3])


def isc(text: str) -> Iterator[Lease]:
    """Yield the active leases of ISC's server (dhcpd.leases(5)), of each address the last one in the file."""
    last: dict[str, tuple[str, str, str]] = {}
    address, mac, name, state = "", "", "", ""
    for found in _ISC.finditer(text):
        begun, hardware, called, bound, ended = found.groups()
        if begun:
            address, mac, name, state = begun, "", "", ""
        mac, name = hardware or mac, called or name
        state = state or bound or ""  # not that of `next binding state`, which follows
        if ended and address:
            last[address] = mac, name, state
            address = ""
    for at, (hardware, called, bound) in last.items():
        if bound == "active":
            yield from _lease(at, hardware, called)


def kea(text: str) -> Iterator[Lease]:
    """Yield the leases of Kea's memfile, a CSV file with a header, of each address the last one in the file."""
    last: dict[str, dict[str, str]] = {}
    with suppress(csv.Error):  # a field that is longer than any of Kea's
        for row in csv.DictReader(text.splitlines()):
            last[row.get("address") or ""] = row
    for address, row in last.items():
        if row.get("state") == "0":
            yield from _lease(address, row.get("hwaddr") or "", (row.get("hostname") or "").rstrip("."))


def networkd(text: str) -> Iterator[Lease]:
    """Yield the leases of systemd-networkd's server, which are JSON."""
    with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
        for each in json.loads(text)["Leases"]:
            mac = ":".join(f"{byte:02x}" for byte in each.get("HardwareAddress", ())[:6])
            yield from _lease(".".join(map(str, each["Address"])), mac, str(each.get("Hostname", "")))


def hosts(text: str) -> Iterator[Lease]:
    """Yield the names in /etc/hosts (hosts(5)), of each address the first."""
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) > 1:
            yield from _lease(fields[0], "", fields[1])


Parser = Callable[[str], Iterator[Lease]]


def _lease(address: str, mac: str, name: str) -> Iterator[Lease]:
    """Yield the lease, unless its address is none; what else is not as it has to be counts as not known."""
    with suppress(ValueError):
        shown = str(ip_address(address))
        mac = mac.lower()
        yield Lease(shown, mac if _MAC.fullmatch(mac) else "", name if _NAME.fullmatch(name) else "")

"""Programs on this machine that relay the VPN to its server, and what stunwall blocks of them.

A VPN can ride on TURN: its endpoint is 127.0.0.1, where a program takes its packets and sends them on by a TURN server.
That bypasses the VPN, as it must, so it is blocked, and the VPN with it.
"""

import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from shlex import quote

from stunwall.control.protocol import Status
from stunwall.doctor.machine import user_name
from stunwall.model import Verdict
from stunwall.record.filter import Filter
from stunwall.record.reader import RecordReader
from stunwall.record.schema import RecordError
from stunwall.text import endpoint, printable

_PROC = Path("/proc")
_ANY = (IPv4Address(0), IPv6Address(0))
_TABLES = ("udp", "udp6", "tcp", "tcp6")
_RECENT = 3600  # seconds: what was blocked before that does not count
_EVENTS_MAX = 1000  # entries of the record
# Where a session's programs are together: logind's scopes, a terminal's, and the root without systemd.
_SHARED = re.compile(r"(session-.*\.scope|vte-spawn-.*\.scope|init\.scope)?")


@dataclass(frozen=True, slots=True)
class Relay:
    """A program that takes the VPN's packets at `endpoint`.

    `cgroup` is its path, "" for the root. `blocked`: the servers that it could not reach lately.
    """

    endpoint: str
    program: str
    pid: int
    uid: int
    cgroup: str
    blocked: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What it is, and what is blocked."""
        what = f": STUN to {', '.join(self.blocked[:3])}" if self.blocked else " if it is STUN or TURN"
        unit = self.cgroup.rpartition("/")[2]
        where = f", {unit}" if unit else ""
        return (
            f"the VPN's endpoint {self.endpoint} is on this machine, where {self.program} (pid {self.pid}{where}) "
            f"relays it; what that sends outside the VPN is blocked{what}"
        )

    @property
    def cure(self) -> str:
        """The command that makes an exception for this program, or how to make one possible."""
        unit = self.cgroup.rpartition("/")[2]
        allow = "sudo stunwall allow add"
        if self.uid and (_SHARED.fullmatch(unit) or "/user@" in self.cgroup):
            allow += f" --user {user_name(self.uid)}"
        if not _SHARED.fullmatch(unit):
            # A scope has a number that is another one next time.
            unit = re.sub(r"-[0-9a-f-]+\.scope$", "-*.scope", unit)
            return f'{allow} --unit {quote(unit)} --why "relays the VPN"'
        start = f"systemd-run {'--user ' if self.uid else ''}--scope --unit=relay COMMAND"
        return (
            f"start {self.program} in a unit of its own (`{start}`), then run "
            f'`{allow} --unit relay.scope --why "relays the VPN"`'
        )


def find(daemon: Status, state_dir: Path) -> list[Relay]:
    """Return the programs that relay the VPN, but for those that an exception is for. Only root sees other users'."""
    excepted = tuple(path for paths in daemon.get("cgroups", ()) for path in paths or ())
    endpoints = daemon.get("local_endpoints", ())
    sockets = {each.inode: each for table in _TABLES for each in _sockets(table)} if endpoints else {}
    found = []
    for address, port in endpoints:
        places = [(address, port), *((str(each), port) for each in _ANY)]
        listening = {inode for inode, each in sockets.items() if (each.address, each.port) in places}
        for process, own in _owners(listening):
            cgroup = _cgroup(process)
            if any(cgroup == path or cgroup.startswith(f"{path}/") for path in excepted):
                continue
            uid = sockets[min(own & listening)].uid
            blocked = _blocked(state_dir, {sockets[inode].port for inode in own & sockets.keys()})
            name = printable((process / "comm").read_text().strip())
            found.append(Relay(endpoint(address, port), name, int(process.name), uid, cgroup, blocked))
    return found


@dataclass(frozen=True, slots=True)
class _Socket:
    address: str
    port: int
    uid: int
    inode: int


def _sockets(table: str) -> Iterator[_Socket]:
    """Yield this network namespace's sockets (proc(5), /proc/net/udp)."""
    with suppress(OSError):
        for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            words = (int(address[at : at + 8], 16) for at in range(0, len(address), 8))
            own = ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
            yield _Socket(str(own), int(port, 16), int(fields[7]), int(fields[9]))


def _owners(inodes: set[int]) -> Iterator[tuple[Path, set[int]]]:
    """Yield the folder of each process that has one of these sockets, with the inodes of all its sockets."""
    for process in _PROC.glob("[0-9]*"):
        own = set()
        with suppress(OSError):
            for file in (process / "fd").iterdir():
                with suppress(OSError):
                    match = re.fullmatch(r"socket:\[(\d+)\]", str(file.readlink()))
                    own |= {int(match[1])} if match else set()
        if own & inodes:
            yield process, own


def _cgroup(process: Path) -> str:
    with suppress(OSError):
        for line in (process / "cgroup").read_text().splitlines():
            if line.startswith("0::/"):  # cgroups(7): the hierarchy of version 2
                return line[4:]
    return ""


def _blocked(state_dir: Path, ports: Iterable[int]) -> tuple[str, ...]:
    """Return the servers that were asked lately from these ports in vain."""
    found = {}
    with suppress(RecordError), closing(RecordReader(state_dir)) as record:
        for _, event in record.events(Filter(since=time.time() - _RECENT), limit=_EVENTS_MAX):
            if event.verdict == Verdict.BLOCK and event.source_port in ports:
                found[endpoint(event.destination, event.destination_port)] = True
    return tuple(found)

"""Notices changes that other programs make to the table, and says which program it was (nfnetlink)."""

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from errno import ENOBUFS

from stunwall.model import StunwallError

_TABLE = 1, b"stunwall"  # NFPROTO_INET (linux/netfilter.h), name
_NETLINK_NETFILTER = 12  # linux/netlink.h
_GROUP = 1 << (7 - 1)  # linux/netfilter/nfnetlink.h: NFNLGRP_NFTABLES, as a bit
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEWGEN = 15  # linux/netfilter/nf_tables.h: NFT_MSG_NEWGEN, which ends a transaction
_DELTABLE, _DELSET = 2, 11  # NFT_MSG_DELTABLE, NFT_MSG_DELSET: the elements are gone, too
# NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE, NFTA_OBJ_TABLE
_NAME = 1
_SET_NAME = 2  # NFTA_SET_NAME
_ANONYMOUS = b"__"  # how nft names the set of a rule, as in `dport { 1, 2 }` (nftables, src/rule.c)
_GEN_PID, _GEN_COMMAND = 2, 3  # NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME
_TYPE = 0x3FFF  # linux/netlink.h: NLA_TYPE_MASK
_HEADER, _FAMILY = 16, 4  # bytes: struct nlmsghdr, struct nfgenmsg
_BUFFER = 1 << 20  # bytes; removing and loading the table takes some 100 KiB
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; not in Python's socket module

_Message = tuple[int, int, int, dict[int, bytes]]  # type, netlink port of the sender, family, attributes


class MonitorError(StunwallError):
    """The kernel's rule changes cannot be monitored."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the table by another program, `who`, "" if unknown; `wiped`: sets of it are gone, too."""

    who: str
    wiped: bool


class RulesetMonitor:
    """Readable when a transaction has changed any table, in the namespace where this was made.

    `own_port` returns the netlink port of our own transactions, which are no changes. The kernel repeats it in its
    notifications, whichever process namespace we are in; the pid that it names is the one outside.
    """

    def __init__(self, own_port: Callable[[], int]) -> None:
        self._own_port = own_port
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.setblocking(False)
        self._touched = False
        self._wiped = False
        try:
            self._socket.bind((0, _GROUP))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except OSError as error:
            self._socket.close()
            raise MonitorError(
                f"cannot monitor the kernel's rule changes ({error.strerror}): this needs root (CAP_NET_ADMIN)"
            ) from error

    def close(self) -> None:
        """Stop following."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable once something changed."""
        return self._socket.fileno()

    def take(self) -> Change | None:
        """Return what others did to the table since the last call, None if nothing. Raises MonitorError."""
        change: Change | None = None
        while True:
            try:
                received = self._socket.recv(_BUFFER)
            except BlockingIOError:
                # `_touched` and `_wiped` keep what was seen of a transaction that has not ended yet.
                return change
            except OSError as error:
                if error.errno != ENOBUFS:
                    raise MonitorError(f"lost the kernel's rule-change notifications: {error}") from error
                # Some notifications were lost, perhaps about the table.
                change = change or Change("", wiped=False)
                continue
            own_port = self._own_port()
            for kind, port, family, attributes in _messages(received):
                if kind != _NEWGEN:
                    table = family, attributes.get(_NAME, b"").rstrip(b"\0")
                    touches = table == _TABLE and port != own_port
                    self._touched |= touches
                    self._wiped |= touches and _wipes(kind, attributes)
                elif self._touched:
                    if change is None or self._wiped:
                        change = Change(_program(attributes), self._wiped)
                    self._touched = self._wiped = False


def _messages(received: bytes) -> Iterator[_Message]:
    """Yield the nftables messages of a netlink datagram (RFC 3549 §2.2), up to one that is cut short."""
    start = 0
    while start + _HEADER + _FAMILY <= len(received):
        length, kind, _, _, port = struct.unpack_from("=IHHII", received, start)
        if length < _HEADER + _FAMILY:
            return
        if kind >> 8 == _SUBSYSTEM:
            family = received[start + _HEADER]  # struct nfgenmsg
            yield kind & 0xFF, port, family, _attributes(received[start + _HEADER + _FAMILY : start + length])
        start += length + 3 & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & _TYPE] = data[4:length]
        data = data[length + 3 & ~3 :]
    return found


def _wipes(kind: int, attributes: dict[int, bytes]) -> bool:
    return kind == _DELTABLE or (
        kind == _DELSET and not attributes.get(_SET_NAME, b"").startswith(_ANONYMOUS)
    )


def _program(attributes: dict[int, bytes]) -> str:
    """Return the program and its pid, as in `nft (pid 812)`, "" if the kernel does not say."""
    command = attributes.get(_GEN_COMMAND, b"").rstrip(b"\0").decode(errors="backslashreplace")
    if not command or len(attributes.get(_GEN_PID, b"")) != 4:
        return ""
    return f"{command} (pid {int.from_bytes(attributes[_GEN_PID])})"

"""Notices changes that other programs make to the table, and says which program it was (nfnetlink)."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENOBUFS

from stunwall.model import StunwallError

_TABLE = b"stunwall"
_NETLINK_NETFILTER = 12  # linux/netlink.h
_GROUP = 1 << (7 - 1)  # linux/netfilter/nfnetlink.h: NFNLGRP_NFTABLES, as a bit
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEWGEN = 15  # linux/netfilter/nf_tables.h: NFT_MSG_NEWGEN, which ends a transaction
_ELEMENTS = (12, 14)  # NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM: stunwalld fills sets all the time
# The sets whose elements the file defines: a change of them is a change of the rules.
_FIXED_SETS = (b"classic_lengths", b"classic_ipv4_lengths")
_DELTABLE, _DELSET = 2, 11  # NFT_MSG_DELTABLE, NFT_MSG_DELSET: the elements are gone, too
_NAME = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_OBJ_TABLE
_SET_NAME = 2  # NFTA_SET_NAME, NFTA_SET_ELEM_LIST_SET
_ANONYMOUS = b"__"  # how nft names the set of a rule, as in `dport { 1, 2 }` (nftables, src/rule.c)
_GEN_PID, _GEN_COMMAND = 2, 3  # NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME
_TYPE = 0x3FFF  # linux/netlink.h: NLA_TYPE_MASK
_HEADER, _FAMILY = 16, 4  # bytes: struct nlmsghdr, struct nfgenmsg
_BUFFER = 1 << 20  # bytes; removing and loading the table takes some 100 KiB
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; not in Python's socket module

_Message = tuple[int, dict[int, bytes]]  # type, attributes


class MonitorError(StunwallError):
    """The kernel's rule changes cannot be monitored."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the table by the program `who`, "" if unknown; `wiped`: sets of it are gone, too."""

    who: str
    wiped: bool


class RulesetMonitor:
    """Readable when a transaction has changed rules of any table, in the namespace where this was made."""

    def __init__(self) -> None:
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
        """Return what was done to the table since the last call, by us too, None if nothing. Raises MonitorError."""
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
            for kind, attributes in _messages(received):
                if kind != _NEWGEN:
                    ours = attributes.get(_NAME, b"").rstrip(b"\0") == _TABLE
                    if kind in _ELEMENTS:
                        ours &= attributes.get(_SET_NAME, b"").rstrip(b"\0") in _FIXED_SETS
                    self._touched |= ours
                    self._wiped |= ours and _wipes(kind, attributes)
                elif self._touched:
                    if change is None or self._wiped:
                        change = Change(_program(attributes), self._wiped)
                    self._touched = self._wiped = False


def _messages(received: bytes) -> Iterator[_Message]:
    """Yield the nftables messages of a netlink datagram (RFC 3549 §2.2), up to one that is cut short."""
    start = 0
    while start + _HEADER + _FAMILY <= len(received):
        length, kind = struct.unpack_from("=IH", received, start)
        if length < _HEADER + _FAMILY:
            return
        if kind >> 8 == _SUBSYSTEM:
            yield kind & 0xFF, _attributes(received[start + _HEADER + _FAMILY : start + length])
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

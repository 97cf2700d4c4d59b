"""Notices changes that other programs make to the table, and says which program it was (nfnetlink)."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from errno import ENOBUFS

from stunwall import netlink
from stunwall.model import StunwallError
from stunwall.netlink import Message

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
_FAMILY = 4  # bytes of struct nfgenmsg
_BUFFER = 1 << 20  # bytes; removing and loading the table takes some 100 KiB
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; not in Python's socket module


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
            for message in netlink.messages(received):
                kind, attributes = message.kind & 0xFF, _attributes(message)
                if message.kind >> 8 != _SUBSYSTEM:
                    continue
                if kind != _NEWGEN:
                    table = _family(message), attributes.get(_NAME, b"").rstrip(b"\0")
                    touches = table == _TABLE and message.port != own_port
                    self._touched |= touches
                    self._wiped |= touches and _wipes(kind, attributes)
                elif self._touched:
                    if change is None or self._wiped:
                        change = Change(_program(attributes), self._wiped)
                    self._touched = self._wiped = False


def _family(message: Message) -> int:
    return message.data[message.start] if message.end > message.start else 0  # struct nfgenmsg


def _attributes(message: Message) -> dict[int, bytes]:
    return netlink.attributes(message.data, message.start + _FAMILY, message.end)


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

"""Who is at the other end of a UNIX socket, as the kernel knows it."""

import errno
import grp
import os
import select
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from stunwall.control.protocol import ControlError
from stunwall.model import GROUP

_SO_PEERGROUPS, _SO_PEERPIDFD = 59, 77  # asm-generic/socket.h; not in Python's socket module
_GROUPS_BYTES = 1024  # the most that Python's getsockopt() takes: 256 groups


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks, as the kernel knows it (SO_PEERCRED); `may_change`: root, or of the group `stunwall`."""

    uid: int
    may_change: bool

    @property
    def is_root(self) -> bool:
        """Whether it is root, or the daemon's own user."""
        return self.uid in (0, os.geteuid())


@dataclass(frozen=True, slots=True)
class PeerProcess:
    """The process that connected, from making this to `close`: its pidfd, PID and user."""

    pidfd: int
    pid: int
    uid: int

    @property
    def lives(self) -> bool:
        """Whether it has not ended (pidfd_open(2): the descriptor then is readable)."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Forget it."""
        os.close(self.pidfd)


def peer_of(client: socket.socket) -> Peer:
    """Return who has connected."""
    _, uid, gid = _credentials(client)
    groups = b""
    with suppress(OSError):  # ERANGE: a member of more groups than that
        groups = client.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    try:
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        group = -1
    ids = {gid, *struct.unpack(f"{len(groups) // 4}I", groups)}
    return Peer(uid, uid in (0, os.geteuid()) or group in ids)


def process_of(client: socket.socket) -> PeerProcess:
    """Return the process that has connected. Raises ControlError if it has ended.

    Before Linux 6.5 the kernel has no pidfd of it (SO_PEERPIDFD). Then its PID is looked up: if it has ended since it
    connected, and another process got its PID, this is that one. `uid` always is of the process that connected.
    """
    pid, uid, _ = _credentials(client)
    try:
        try:
            pidfd = client.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            pidfd = os.pidfd_open(pid)
    except OSError as error:
        raise ControlError(f"the process that asked has ended ({error.strerror})") from error
    return PeerProcess(pidfd, pid, uid)


def _credentials(client: socket.socket) -> tuple[int, int, int]:
    """Return the PID, user and group when it connected."""
    pid, uid, gid = struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid, gid

"""What the kernel tells root of the queues in this network namespace."""

from dataclasses import dataclass
from pathlib import Path

_FILE = Path("/proc/net/netfilter/nfnetlink_queue")


@dataclass(frozen=True, slots=True)
class Row:
    """A queue that has a listener, whose netlink port is `port`.

    `waiting` packets have no verdict yet. Of the others the kernel dropped `full` because too many were waiting, and
    `unsent` because the listener's socket had no room.
    """

    queue: int
    port: int
    waiting: int
    full: int
    unsent: int


def rows() -> list[Row]:
    """Return the queues, or none if permission is denied: only root may read them."""
    # net/netfilter/nfnetlink_queue.c, seq_show: queue, port, waiting, copy mode, range, dropped in the
    # queue, dropped at the socket, last id, 1
    try:
        lines = _FILE.read_text().splitlines()
    except OSError:
        return []
    found = ([int(number) for number in line.split()] for line in lines)
    return [Row(queue, port, waiting, full, unsent) for queue, port, waiting, _, _, full, unsent, *_ in found]

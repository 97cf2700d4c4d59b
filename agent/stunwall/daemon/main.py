"""stunwalld: its command line, and the signals that stop it."""

import argparse
import os
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

from stunwall import __version__
from stunwall.config import Config
from stunwall.configfile.reader import DEFAULT_FILE, load
from stunwall.daemon import loop
from stunwall.daemon.journal import Journal
from stunwall.daemon.journal_socket import JournalSocket
from stunwall.daemon.parts import find_wall
from stunwall.model import StunwallError
from stunwall.queue import nfqueue
from stunwall.record import ledger
from stunwall.vpn import ip_versions
from stunwall.vpn.policy_route import PolicyRoute
from stunwall.wall import second_lock, table
from stunwall.wall.nft import Nft


def _signals() -> tuple[socket.socket, socket.socket]:
    """Return two sockets: the first becomes readable at SIGTERM or SIGINT, the second must stay open."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader, writer


def take_down(journal: Journal, state_dir: Path) -> None:
    """Remove what a daemon that has ended left in the kernel: the table, the routing rules and routes.

    Raises StunwallError, if one runs: it would put all of it back.
    """
    with closing(Nft()) as nft:
        wall, found = find_wall(nft)
        if wall is not None and wall.queue is not None and (port := nfqueue.listener(wall.queue)):
            raise StunwallError(
                f"stunwalld runs (process {port}): stop it first, then this removes what is left"
            )
        PolicyRoute(0, 0, ip_versions.available(), journal.notice).close()
        table.remove(nft)
        if failed := ledger.wall_removed(state_dir, found):
            journal.notice(failed)
        second_lock.remove(nft)
    journal.notice("the wall is removed: STUN is free to leave by any interface")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="stunwalld",
        description="Blocks STUN that would bypass the VPN, until SIGTERM or Ctrl-C.",
        epilog="Exits 0 stopped as requested, 1 failed, 2 usage, 3 configuration, 4 permission denied.",
    )
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_FILE, metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--version", action="version", version=f"stunwalld {__version__}")
    does = parser.add_mutually_exclusive_group()
    does.add_argument(
        "--leave-wall",
        action="store_true",
        help="leave the wall up when stopped: the service's unit decides whether it goes",
    )
    does.add_argument(
        "--take-down",
        action="store_true",
        help="remove what a stunwalld that has ended left in the kernel, and exit",
    )
    does.add_argument(
        "--stopped",
        action="store_true",
        help="as --take-down, but not with leave_wall_on_stop = true",
    )
    return parser.parse_args()


def main() -> None:
    """Run the command `stunwalld`. Its exit codes are those in `stunwalld --help`."""
    options = _options()
    # A descriptor of its own: the one of stderr leads to nowhere while libnftables runs.
    under_journald = "JOURNAL_STREAM" in os.environ
    journal = Journal(
        os.dup(sys.stderr.fileno()), under_journald, entries=JournalSocket() if under_journald else None
    )
    stopping, _writer = _signals()
    try:
        settings = Config() if options.take_down else load(options.config)
        if options.take_down or (options.stopped and not settings.leave_wall_on_stop):
            take_down(journal, settings.state_dir)
        elif not options.stopped:
            loop.run(settings, options.config, journal, stopping, options.leave_wall)
    except StunwallError as error:
        journal.error(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

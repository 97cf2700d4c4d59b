"""The folders of the record and the socket: created if missing, readable by the group `stunwall`."""

import grp
import os
import stat
from contextlib import suppress
from pathlib import Path

from stunwall.model import GROUP, StunwallError


def make_folder(folder: Path, mode: int) -> None:
    """Create a folder with these permissions if it does not exist. Raises StunwallError."""
    try:
        if not folder.is_dir():
            folder.mkdir(mode=mode, parents=True)
            give_to_group(folder)
    except OSError as error:
        raise StunwallError(
            f"cannot create the folder {folder}: {error.strerror}. Run as root, or set state_dir and run_dir"
        ) from error


def give_to_group(path: Path) -> None:
    """Let the group `stunwall` read. Where that group does not exist, only root can."""
    with suppress(KeyError, OSError):
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)


def hide(folder: Path, own_only: bool) -> None:
    """Let only the daemon's user into the record's folder, or again the group. Raises StunwallError."""
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if own_only:
            folder.chmod(mode & 0o700)
        elif mode == 0o700 and folder.stat().st_gid == grp.getgrnam(GROUP).gr_gid:
            folder.chmod(0o750)
    except KeyError:  # there is no such group
        pass
    except OSError as error:
        raise StunwallError(f"cannot change who may read {folder}: {error.strerror}") from error
